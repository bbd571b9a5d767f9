"""What benchmark.py measured, as tables for people and as a CSV for programs."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from finetune.terminal import results

Record = Mapping[str, Any]

MEASURES = {  # of benchmark.json: what, unit, how it is written
    "first_token_ms": ("first token", "ms", "{:.0f}"),
    "prompt_tokens_per_second": ("prompt", "tokens/s", "{:.0f}"),
    "decode_tokens_per_second": ("decode", "tokens/s", "{:.1f}"),
    "batch_1_tokens_per_second": ("batch of 1", "tokens/s", "{:.1f}"),
    "batch_4_tokens_per_second": ("batch of 4", "tokens/s", "{:.1f}"),
    "batch_16_tokens_per_second": ("batch of 16", "tokens/s", "{:.1f}"),
}
_WIDE = 96  # columns that the ratios need


def print_benchmark(record: Record) -> None:
    console = results()
    console.print(_speed(record, console.width >= _WIDE))
    if record["ratios"] and console.width >= _WIDE:
        console.print("By base: median of the pairs (least to most).", style="dim")
    console.print(_latency(record))
    console.print(_memory(record))
    if record["lengths"]:
        console.print(_lengths(record))
    if "history" in record:
        _print_history(console, record["history"])


def as_csv(record: Record) -> str:
    """A line for each number: what, side, measure, unit, median, min, max."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("part", "side", "measure", "unit", "median", "min", "max"))
    for side, measures in record["speed"].items():
        for key, value in measures.items():
            writer.writerow(("speed", side, key, MEASURES[key][1], value["median"], value["min"], value["max"]))
    for side, measures in record["ratios"].items():
        for key, value in measures.items():
            writer.writerow(("ratio to base", side, key, "", value["median"], value["min"], value["max"]))
    for side, shares in record["latency_ms"].items():
        for key in ("p50", "p95", "p99"):
            writer.writerow(("latency", side, key, "ms", shares[key], "", ""))
    for stage, values in record["memory_mb"].items():
        for key, value in values.items():
            writer.writerow(("memory", stage, key, "MB", value, "", ""))
    for at in record["lengths"]:
        writer.writerow(
            ("prompt length", "tuned", f"first_token_ms at {at['tokens']}", "ms", at["first_token_ms"], "", "")
        )
        writer.writerow(
            (
                "prompt length",
                "tuned",
                f"peak_above_weights at {at['tokens']}",
                "MB",
                at["peak_above_weights_mb"],
                "",
                "",
            )
        )
    return text.getvalue()


def _table(title: str, *columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table


def _speed(record: Record, wide: bool) -> Any:
    by_base = record["ratios"] if wide else {}
    columns = list(record["speed"]) + [f"{side} / base" for side in by_base]
    table = _table("Speed: median (least to most)" if wide else "Speed: median", "", *columns)
    for key, (what, unit, form) in MEASURES.items():
        cells = []
        for side in record["speed"].values():
            low, middle, high = (form.format(side[key][part]) for part in ("min", "median", "max"))
            cells.append(middle if low == high or not wide else f"{middle} ({low} to {high})")
        for side in by_base.values():
            cells.append("{median:.2f} ({min:.2f} to {max:.2f})".format(**side[key]))
        table.add_row(f"{what}, {unit}", *cells)
    return table


def _latency(record: Record) -> Any:
    table = _table("A whole answer, seconds", "", *record["latency_ms"])
    for key, what in (
        ("p50", "half take no longer than"),
        ("p95", "95 % no longer than"),
        ("p99", "99 % no longer than"),
    ):
        table.add_row(what, *(f"{side[key] / 1e3:.2f}" for side in record["latency_ms"].values()))
    count = len(next(iter(record["latency_ms"].values()))["all"])
    table.caption = f"{count} answers each"
    return table


def _memory(record: Record) -> Any:
    table = _table("Memory, MB", "", "held", "peak", "kept for reuse", "process")
    for stage, values in record["memory_mb"].items():
        table.add_row(stage, *(f"{values[key]:.0f}" for key in ("active", "peak", "cache", "process")))
    step = record["memory_mb"].get("training step", {})
    if "estimate" in step:
        off = step["estimate"] / step["peak"] - 1
        table.caption = f"Estimate of train.py --dry-run for the training step: {step['estimate']:.0f} MB ({off:+.0%})"
    return table


def _lengths(record: Record) -> Any:
    table = _table("Long prompts (tuned)", "tokens", "first token, s", "memory above the weights, MB")
    for at in record["lengths"]:
        table.add_row(f"{at['tokens']:.0f}", f"{at['first_token_ms'] / 1e3:.2f}", f"{at['peak_above_weights_mb']:.0f}")
    return table


def _print_history(console: Any, found: Record) -> None:
    """The earlier benchmarks, and what changed since the last that can be compared."""
    table = _table("Earlier benchmarks", "made", "adapters", "right", "first token, ms", "decode, tokens/s")
    for made in found["made"]:
        table.add_row(
            _minute(made),
            made["adapter_path"],
            "-" if made["accuracy"] is None else f"{made['accuracy']:.1%}",
            f"{made['first_token_ms']['median']:.0f}",
            f"{made['decode_tokens_per_second']['median']:.1f}",
        )
    if found["older"]:
        table.caption = f"and {found['older']} older"
    console.print(table)
    if found["left_out"]:
        console.print(f"Left out, not written by this version: {', '.join(found['left_out'])}.")
    if answers := found["answers"]:
        of_difference = " of a difference" if answers["verdict"] == "no evidence" else ""
        console.print(
            f"Right since {_minute(answers)}: {answers['then']:.1%} -> {answers['now']:.1%} of the same"
            f" {answers['scored']} rows; {answers['verdict']}{of_difference}: {answers['explanation']}."
        )
    else:
        console.print("None was made with these rows: answers are not compared.")
    speeds = found["speeds"]
    if speeds is None:
        console.print(
            "None was made with these rows on this machine with this model and these versions: speeds are not compared."
        )
        return
    if not speeds["enough"]:
        console.print("Too few repeats for the speeds ({} and {}): chance looks like a change.".format(*speeds["runs"]))
        return
    changed = [
        (side, measure, at["then"], at["now"])
        for side, measures in speeds["measures"].items()
        for measure, at in measures.items()
        if at["changed"]
    ]
    for side, measure, then, now in changed:
        what, unit, form = MEASURES[measure]
        console.print(
            f"Changed beyond the spread: {side}, {what}: {form.format(then)} -> {form.format(now)} {unit}"
            f" ({now / then - 1:+.0%})"
        )
    if not changed:
        console.print(f"No speed changed beyond the spread since {_minute(speeds)}.")


def _minute(record: Record) -> str:
    """When it was made, without seconds and zone."""
    return str(record["created"][:16].replace("T", " "))
