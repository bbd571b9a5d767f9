"""The result of an evaluation on the terminal: some answers, the measures side by side, and the verdict last."""

from collections.abc import Iterable, Mapping
from typing import Any

from finetune.errors import shortened, visible
from finetune.evaluation.label_tables import print_labels, print_warnings
from finetune.records.blind import BlindRecord
from finetune.records.evaluation import NOTHING, EvaluationRecord, GeneralRecord, RowRecord, TurnRecord
from finetune.report import answers, asked, drafts, field_table, preferred
from finetune.report.answers import POINTS
from finetune.report.texts import plain
from finetune.terminal import counted, results

_WIDE = 72  # columns of a terminal that has room for the differences
_WORSE = 5  # rows that got worse, named
_MOST = 400  # characters of a text in an example
_TURNS = 4  # turns before the question of an example
_VERDICTS = {
    "better": "{tuned} is better than {base} by {by}.",
    "worse": "{tuned} is worse than {base} by {by}.",
    "no evidence": "no evidence that {tuned} differs from {base} by {by}.",
}
_QUOTES = str.maketrans("“”", '""')


def print_comparison(record: EvaluationRecord, examples: int, blind: BlindRecord | None = None) -> None:
    """Print the tables, ``examples`` of the rows that tell most, the verdict and what a person preferred to stdout."""
    console = results()
    plain_text = record.tuned.bits_per_byte is not None
    if told := answers.base_told(record):
        console.print(f"The base model is asked with {told}.")
    console.print(_measures(record, blind, wide=console.width >= _WIDE))
    for remark in drafts.remarks(record):
        console.print(plain(remark).translate(_QUOTES))
    if record.classes:
        print_labels(record, record.classes, console)
    if (skipped := answers.skipped(record)) and not plain_text:  # of plain text nothing is scored but the loss
        console.print(plain(f"Not judged: {skipped}."))
    if record.fields:
        console.print(_fields(record, wide=console.width >= _WIDE))
    if record.restricted:
        console.print(_restricted(record))
        for line in field_table.restriction(record):
            console.print(line)
    for name, side in record.sides.items():
        if side.kinds:
            kinds = (f"{count} × {answers.in_words(kind, record.task)}" for kind, count in side.kinds.items())
            console.print(plain(f"{name}: {', '.join(kinds)}"))
    _print_examples(record, examples, console)
    if record.verdict is None:
        return
    if worse := record.worse_rows:
        first = "; the first:" if len(worse) > _WORSE else ":"
        console.print()
        console.print(f"Got worse: {len(worse)} of {counted(record.n, 'row')}{first}")
        for index in worse[:_WORSE]:
            console.print(f"  row {index + 1}: {record.rows[index].question[: console.width - 16]}")
    if record.general and record.general.base:
        console.print()
        console.print(_forgotten(record.general), style="bold" if record.general.verdict == "worse" else "")
    if record.changes_nothing:
        console.print()
        console.print("The adapters change nothing: they are untrained.")
    names = {"tuned": "the tuned model", "base": f"the base model (asked with {told})" if told else "the base model"}
    if record.scorer:
        console.print()
        console.print(f"Scored by {record.scorer.file}.")
    if record.against:
        names = {"tuned": record.adapter_path, "base": record.against}
        console.print()
        console.print(f'In the table, "base" stands for the adapters in {record.against}.')
    console.print()
    console.print(f"Verdict: {_verdict(record, names)}", style="bold")
    console.print(f"{record.explanation}.")
    if record.classes:
        print_warnings(record.classes, console)
    if blind and blind.result:
        console.print()
        console.print(plain(f"{preferred.sentence(record, blind.result)}."), style="bold")
        for remark in preferred.remarks(record, blind, blind.result):
            console.print(remark)


def _verdict(record: EvaluationRecord, names: Mapping[str, str]) -> str:
    if record.verdict is None or record.decided_by == NOTHING:
        return "cannot be judged."
    return _VERDICTS[record.verdict].format(**names, by=answers.decided_by(record))


def _telling(record: EvaluationRecord) -> list[int]:
    """The rows: one that was fixed, the one that got worse most, another fixed one, then the others in order."""
    rows = range(len(record.rows))
    if record.base is None:
        return list(rows)
    fixed = [i for i, row in enumerate(record.rows) if row.tuned.value == 1.0 and row.base and row.base.value != 1.0]
    others = [i for i in rows if i not in fixed and i not in record.worse_rows]
    return [*fixed[:1], *record.worse_rows[:1], *fixed[1:2], *others]


def _print_examples(record: EvaluationRecord, count: int, console: Any) -> None:
    from rich.text import Text

    system, shown = asked.common_system(record), _telling(record)[:count]
    if system and shown:
        console.print()
        console.print("System message of all rows:", style="bold")
        console.print(Text(visible(answers.shortened(system, _MOST))))
    for index in shown:
        console.print()
        console.print(_example(record, index, system))


def _example(record: EvaluationRecord, index: int, system: str) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    row, plain_text = record.rows[index], record.tuned.bits_per_byte is not None
    title = f"Row {index + 1}"
    table = Table(box=box.HORIZONTALS, show_header=False, title=title, title_justify="left", title_style="bold")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    what, reference = ("text", "goes on") if plain_text else ("question", "reference")
    for name, text in (*_earlier(row, system), (what, row.question), *_turns(row.after), (reference, row.reference)):
        table.add_row(name, Text(visible(answers.shortened(text, _MOST))))
    for name, side in row.sides.items():
        mark = "not scored" if side.value is None else "right" if side.value == 1.0 else "wrong"
        style = "green" if mark == "right" else ""
        table.add_row(name, Text(visible(answers.shortened(side.answer, _MOST))), style=style)
        if plain_text:
            continue
        kind = answers.in_words(side.kind, record.task)
        table.add_row(f"  {mark}", f"{kind}: {shortened(side.reason, 160)}" if side.reason else kind, style=style)
    return table


def _earlier(row: RowRecord, system: str) -> list[tuple[str, str]]:
    """The system message, the functions and the newest turns before the question; a line says how many are left out."""
    turns = _turns(asked.history(row))
    left = len(turns) - _TURNS
    cut = [("", f"[{counted(left, 'earlier turn')} not shown]")] if left > 0 else []
    return [*_turns(asked.told(row, system)), *cut, *turns[-_TURNS:]]


def _turns(turns: Iterable[TurnRecord]) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in turns]


def _measures(record: EvaluationRecord, blind: BlindRecord | None, *, wide: bool) -> Any:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in record.sides:
        table.add_column(name, justify="right")
    with_differences = wide and record.base is not None
    if with_differences:
        table.add_column("difference (95 %)", justify="right")
    below = []

    def add(label: str, cells: list[str], difference: str = "") -> None:
        table.add_row(label, *map(plain, cells), *([plain(difference)] if with_differences else []))
        if difference and not wide:
            below.append(f"  {label}: {plain(difference)}")

    for row in (*answers.measures(record), *drafts.measures(record), *preferred.measure(record, blind)):
        # a terminal of 80 columns has no room for the unit
        change = f"{row.difference.text.removesuffix(POINTS)} ({row.difference.detail})" if row.difference else ""
        add(row.label, [cell.text for cell in row.cells], change)
        if row.cells[0].detail:
            add("  95 % interval", [cell.detail for cell in row.cells])
    if record.general:
        add(
            "general questions right", [f"{side.right} of {record.general.n}" for side in record.general.sides.values()]
        )
    if not below:
        return table
    return Group(table, "Differences (95 %):", *below)


def _fields(record: EvaluationRecord, *, wide: bool) -> Any:
    """The fields that were to be extracted: how often each is right, and what is wrong with it most often."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("field", overflow="fold")
    table.add_column("rows", justify="right")
    for name in record.sides:
        table.add_column(name, justify="right")
    if wide:
        table.add_column("most frequent fault", overflow="fold")
    for row in field_table.rows(record):
        cells = [plain(row.cells[name].text) for name in record.sides]
        fault = [plain(visible(row.about if not row.n else row.fault))] if wide else []
        table.add_row(visible(row.name), str(row.n) if row.n else "-", *cells, *fault)
    return table


def _restricted(record: EvaluationRecord) -> Any:
    """Free answers beside those under --restrict."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in record.sides:
        table.add_column(name, justify="right")
        table.add_column("restricted", justify="right")
    for row in field_table.restricted(record):
        table.add_row(row.label, *(plain(cell.text) for pair in row.cells.values() for cell in pair))
    return table


def _forgotten(general: GeneralRecord) -> str:
    words = {
        "worse": "The tuned model has forgotten some of what the base model knew",
        "better": "The tuned model answers general questions better",
    }
    before = general.base.right if general.base else 0
    word = words.get(general.verdict or "", "No evidence that the tuned model has forgotten anything")
    return f"{word}: {before} general questions right before, {general.tuned.right} after, of {general.n}."
