"""Speed and memory of a run's models, as numbers and as a table."""

import time
from typing import Any

from finetune.artifacts import Row
from finetune.comparison import TunedRun
from finetune.progress import Progress, results
from finetune.speed import TOKENS, alternate, spread

_BATCH_ROWS = 8  # rows of the batch measurement

Speed = dict[str, dict[str, dict[str, float]]]  # side -> measure -> median, min, max


def measure_speed(run: TunedRun, rows: list[Row], runs: int, base: bool) -> Speed:
    """Load time, memory and rates of the tuned model and, where ``base``, of the base model."""
    sides = ("base", "tuned") if base else ("tuned",)
    conversations = [row["messages"][:-1] for row in rows[:_BATCH_ROWS]]
    load_seconds, memory = {}, {}
    for name in sides:
        run.backend.reset_peak_memory()
        started = time.perf_counter()
        model = run.load(tuned=name == "tuned")
        load_seconds[name] = time.perf_counter() - started
        model.answers(conversations, max_tokens=TOKENS, stops=False)
        memory[name] = run.backend.peak_memory_mb()
        del model
    tuned = run.load()
    models = {name: tuned if name == "tuned" else tuned.without_adapter() for name in sides}
    with Progress("Speed", (runs + 1) * len(sides), "runs") as bar:
        measured = alternate(models, conversations, runs, bar.advance)
    return {
        name: {
            "load_seconds": spread([load_seconds[name]]),
            **{key: spread(values) for key, values in measured[name].items()},
            "peak_memory_mb": spread([memory[name]]),
        }
        for name in sides
    }


_LABELS = {
    "load_seconds": ("load", "s", "{:.2f}"),
    "first_token_ms": ("first token", "ms", "{:.0f}"),
    "prompt_tokens_per_second": ("prompt", "tokens/s", "{:.0f}"),
    "decode_tokens_per_second": ("decode", "tokens/s", "{:.1f}"),
    "batch_tokens_per_second": (f"batch of {_BATCH_ROWS}, prompts included", "tokens/s", "{:.1f}"),
    "peak_memory_mb": ("peak memory", "MB", "{:.0f}"),
}


def print_speed(speed: Speed) -> None:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        title="Speed and memory: median (least to most)",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("")
    for name in speed:
        table.add_column(name, justify="right")
    for key, (label, unit, form) in _LABELS.items():
        cells: list[Any] = [f"{label}, {unit}"]
        for side in speed.values():
            low, middle, high = (form.format(side[key][part]) for part in ("min", "median", "max"))
            cells.append(middle if low == high else f"{middle} ({low} to {high})")
        table.add_row(*cells)
    results().print(table)
