"""The result of an evaluation for people: some answers, the measures side by side, and the verdict last."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.errors import visible
from finetune.terminal import results

_WIDE = 72  # columns of a terminal that has room for the differences
_WORSE = 5  # rows that got worse, named
_VERDICTS = {
    "better": "{tuned} is better than {base}.",
    "worse": "{tuned} is worse than {base}.",
    "no evidence": "no evidence that {tuned} differs from {base}.",
}
Record = Mapping[str, Any]


def print_comparison(record: Record, examples: int) -> None:
    console = results()
    sides = [name for name in ("base", "tuned") if name in record]
    for index in _telling(record, examples):
        console.print(_example(record["rows"][index], index, sides))
    console.print(_measures(record, sides, console.width >= _WIDE))
    if record["unscored"]:
        left_out = ", ".join(f"{count} {kind}" for kind, count in record["unscored"].items())
        console.print(f"Left out, because they cannot be judged: {left_out}.")
    for name in sides:
        if kinds := record[name]["kinds"]:
            console.print(f"{name}: {', '.join(f'{kind} {count}' for kind, count in kinds.items())}")
    if "verdict" not in record:
        return
    if worse := record["worse_rows"]:
        console.print(
            f"\nGot worse: {len(worse)} of {record['n']} rows" + ("; the first:" if len(worse) > _WORSE else ":")
        )
        for index in worse[:_WORSE]:
            console.print(f"  row {index + 1}: {visible(record['rows'][index]['question'])[: console.width - 16]}")
    if "general" in record and "verdict" in record["general"]:
        console.print(f"\n{_of_general(record['general'])}", style="bold" if _forgot(record) else "")
    if record["changes_nothing"]:
        console.print("\nThe adapter changes nothing: it is as it was before the first step.")
    names = {"tuned": "the tuned model", "base": "the base model"}
    if record["against"]:
        names = {"tuned": record["adapter_path"], "base": record["against"]}
        console.print(f"\nHere base stands for the adapters of {record['against']}.")
    console.print(f"\nVerdict: {_VERDICTS[record['verdict']].format(**names)}", style="bold")
    console.print(f"{record['explanation']}.")


def _telling(record: Record, count: int) -> list[int]:
    """Rows worth a look: one that was mended, those that got worse, then others from the beginning."""
    rows = range(len(record["rows"]))
    if "base" not in record:
        return list(rows[:count])
    right = {i: (_value(record, i, "base") == 1.0, _value(record, i, "tuned") == 1.0) for i in rows}
    fixed = [i for i in rows if right[i] == (False, True)]
    others = [i for i in rows if i not in fixed and i not in record["worse_rows"]]
    return [*fixed[:1], *record["worse_rows"][:1], *fixed[1:2], *others][:count]


def _value(record: Record, index: int, side: str) -> float | None:
    value: float | None = record["rows"][index][side]["value"]
    return value


def _example(row: Record, index: int, sides: Sequence[str]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.HORIZONTALS,
        show_header=False,
        title=f"Row {index + 1}: {visible(row['question'])}",
        title_justify="left",
        title_style="bold",
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("reference", visible(row["reference"][:400]))
    for name in sides:
        side = row[name]
        mark = {1.0: "right", None: "not scored"}.get(side["value"], "wrong")
        text = f"{side['answer'][:400]}\n[{mark}: {side['kind']}] {side['reason'][:160]}".rstrip()
        table.add_row(name, visible(text), style={"right": "green"}.get(mark, ""))
    return table


def _measures(record: Record, sides: Sequence[str], wide: bool) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in sides:
        table.add_column(name, justify="right")
    differences = record.get("differences", {}) if wide else {}
    if differences:
        table.add_column("difference (95 %)", justify="right")

    def add(title: str, cells: Sequence[str], difference: str = "") -> None:
        table.add_row(title, *cells, *([difference] if differences else []))

    shown = [record[name] for name in sides]
    if record["scored"]:
        cells = [f"{side['accuracy']:.1%}" for side in shown]
        add(record["metric"], cells, _points(differences.get(record["metric"])))
        if any(side["score"] != side["accuracy"] for side in shown):
            add("  mean score", [f"{side['score']:.3f}" for side in shown])
        add("  95 % interval", [f"{side['interval'][0]:.0%} to {side['interval'][1]:.0%}" for side in shown])
        add("  right", [f"{side['right']} of {record['scored']}" for side in shown])
    for part in shown[-1]["parts"]:
        cells = [f"{side['parts'].get(part, 0):.2f}" for side in shown]
        add(part, cells, _spread(differences.get(part), 2))
    cells = [f"{side['loss_per_token']:.3f}" for side in shown]
    add("loss per token", cells, _spread(differences.get("loss per token"), 3))
    if record["scored"]:
        add("keeps to the form", [f"{side['formatted']:.0%}" for side in shown])
    add("stops by itself", [f"{side['stopped']:.0%}" for side in shown])
    add("repeats itself", [f"{side['repetition']:.0%}" for side in shown])
    add("tokens of an answer", [f"{side['mean_tokens']:.0f}" for side in shown])
    if "general" in record:
        general = record["general"]
        add("general questions right", [f"{general[name]['right']} of {general['n']}" for name in sides])
    return table


def _points(difference: Record | None) -> str:
    if difference is None:
        return ""
    change, low, high = (100 * difference[name] for name in ("difference", "low", "high"))
    return f"{change:+.1f} ({low:+.1f} to {high:+.1f})"


def _spread(difference: Record | None, digits: int) -> str:
    if difference is None:
        return ""
    if difference["low"] is None:
        return f"{difference['difference']:+.{digits}f} (too few rows)"
    change, low, high = (f"{difference[name]:+.{digits}f}" for name in ("difference", "low", "high"))
    return f"{change} ({low} to {high})"


def _forgot(record: Record) -> bool:
    return bool(record["general"]["verdict"] == "worse")


def _of_general(general: Record) -> str:
    base, tuned, n = general["base"]["right"], general["tuned"]["right"], general["n"]
    words = {
        "worse": "The tuned model has forgotten some of what the base model knew",
        "better": "The tuned model answers general questions better",
        "no evidence": "No evidence that the tuned model has forgotten anything",
    }
    return f"{words[general['verdict']]}: general questions right {base} before, {tuned} after, of {n}."
