"""What benchmark.py measured, as tables on the terminal and as a CSV for programs."""

import csv
import io
from typing import Any

from finetune.records.benchmark import BenchmarkRecord, HistoryRecord
from finetune.report import costs
from finetune.report.costs import LATENCIES, MEMORY, SPEEDS
from finetune.report.texts import minute, number, percent, plain, ratio
from finetune.terminal import counted, results

_WIDE = 96  # columns that the ranges and the ratios need


def print_benchmark(record: BenchmarkRecord) -> None:
    """Print the tables to stdout."""
    console = results()
    console.print(_speed(record, wide=console.width >= _WIDE))
    console.print(_latency(record))
    console.print(_memory(record))
    if record.lengths:
        console.print(_lengths(record))
    if record.history:
        _print_history(console, record.history)


def as_csv(record: BenchmarkRecord) -> str:
    """A line for each number: part, side, measure, unit, median, min, max."""
    rows: list[tuple[object, ...]] = [("part", "side", "measure", "unit", "median", "min", "max")]
    for side, measures in record.speed.items():
        rows += [("speed", side, key, SPEEDS[key].unit, at.median, at.min, at.max) for key, at in measures.items()]
    for side, measures in record.ratios.items():
        rows += [("ratio to base", side, key, "", at.median, at.min, at.max) for key, at in measures.items()]
    for side, times in record.latency_ms.items():
        rows += [("latency", side, key, "ms", getattr(times, key), "", "") for key in LATENCIES]
    for stage, memory in record.memory_mb.items():
        found = {key: value for key, value in vars(memory).items() if value is not None}
        rows += [("memory", stage, key, "MB", value, "", "") for key, value in found.items()]
    for at in record.lengths:
        start = ("prompt length", "tuned")
        rows.append((*start, f"first_token_ms at {at.tokens}", "ms", at.first_token_ms, "", ""))
        rows.append((*start, f"peak_above_weights at {at.tokens}", "MB", at.peak_above_weights_mb, "", ""))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _table(title: str, *columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for at, name in enumerate(columns):
        table.add_column(name, justify="right" if at else "left", overflow="fold")
    return table


def _speed(record: BenchmarkRecord, *, wide: bool) -> Any:
    ratios = list(record.ratios) if wide else []
    columns = [*record.speed, *(f"{side} / base" for side in ratios)]
    table = _table("Speed: median (range of the repeats)" if wide else "Speed: median", "", *columns)
    for row in costs.speed(record).values():
        cells = [*row.cells.values(), *(row.ratios[side] for side in ratios)]
        shown = (f"{cell.text} ({cell.detail})" if wide and cell.detail else cell.text for cell in cells)
        table.add_row(f"{row.measure.label}, {row.measure.unit}", *(plain(one).replace(" x base", "") for one in shown))
    return table


def _latency(record: BenchmarkRecord) -> Any:
    table = _table("Latency of whole answers, s", "", *record.latency_ms)
    for key, label in LATENCIES.items():
        table.add_row(label, *(f"{getattr(side, key) / 1e3:.2f}" for side in record.latency_ms.values()))
    count = len(next(iter(record.latency_ms.values())).all)
    table.caption = f"{counted(count, 'answer')} each"
    return table


def _memory(record: BenchmarkRecord) -> Any:
    table = _table("Memory, MB", "", *MEMORY.values())
    for stage, memory in record.memory_mb.items():
        table.add_row(stage, *(f"{getattr(memory, key):.0f}" for key in MEMORY))
    step = record.memory_mb.get("training step")
    if step and step.estimate:
        off = ratio(step.estimate, step.peak) - 1
        table.caption = f"train.py --dry-run estimates {step.estimate:.0f} MB for the training step ({off:+.0%})"
    return table


def _lengths(record: BenchmarkRecord) -> Any:
    table = _table("Long prompts (tuned)", "tokens", "time to first token, s", "memory above the weights, MB")
    for at in record.lengths:
        table.add_row(f"{at.tokens}", f"{at.first_token_ms / 1e3:.2f}", f"{at.peak_above_weights_mb:.0f}")
    return table


def _print_history(console: Any, history: HistoryRecord) -> None:
    """The earlier benchmarks, and what changed since the last comparable one."""
    first_token, decode = (
        f"{SPEEDS[k].label}, {SPEEDS[k].unit}" for k in ("first_token_ms", "decode_tokens_per_second")
    )
    table = _table("Earlier benchmarks", "made", "adapters", "right", first_token, decode)
    for made in history.made:
        right = "-" if made.accuracy is None else plain(percent(made.accuracy))
        speeds = (number(made.first_token_ms.median), number(made.decode_tokens_per_second.median))
        table.add_row(minute(made.created), made.adapter_path, right, *speeds)
    if history.older:
        table.caption = f"and {history.older} older"
    console.print(table)
    if history.left_out:
        console.print(f"Skipped because not readable as benchmarks: {', '.join(history.left_out)}.")
    if found := history.answers:
        of_difference = " of a difference" if found.verdict == "no evidence" else ""
        console.print(
            f"Right answers since {minute(found.created)}: {found.then:.1%} -> {found.now:.1%} of the same"
            f" {found.scored} rows; {found.verdict}{of_difference}: {found.explanation}."
        )
    else:
        console.print("No earlier benchmark used these rows: right answers are not compared.")
    for line in _changes(history):
        console.print(line)


def _changes(history: HistoryRecord) -> list[str]:
    """What changed in the speeds, a line each."""
    speeds = history.speeds
    if speeds is None:
        return [
            "No earlier benchmark used these rows on this machine, with this model and these versions:"
            " speeds are not compared."
        ]
    if not speeds.enough:
        return ["{} and {} repeats are too few to tell a change of speed from chance.".format(*speeds.runs)]
    lines = [
        f"Changed by more than the range of the repeats: {side}, {SPEEDS[key].label}:"
        f" {number(at.then)} -> {number(at.now)} {SPEEDS[key].unit} ({ratio(at.now, at.then) - 1:+.0%})"
        for side, key, at in speeds.changed
    ]
    return lines or [f"No speed changed by more than the range of the repeats since {minute(speeds.created)}."]
