"""What an evaluation says of each label, on the terminal: a table, the confusion matrix, and sentences below them."""

from collections.abc import Iterator
from typing import Any

from finetune.errors import shortened
from finetune.records.classes import Classes, SideClasses
from finetune.records.evaluation import EvaluationRecord
from finetune.report import labels
from finetune.report.texts import plain

_MOST_ROWS = 40  # of the table; of more labels the worst are shown
_LONGEST = 24  # characters of a label
_CELL = 4  # columns of a cell of the matrix
_NONE = "none"


def print_labels(record: EvaluationRecord, classes: Classes, console: Any) -> None:
    """Print the table, the matrix if it fits the terminal, and what a reader should know."""
    console.print(_table(classes))
    matrix = list(_matrix(classes.tuned, console.width))
    if matrix:
        console.print("Confusion matrix of the tuned model (a row for each label, a column for each answer):")
        for line in matrix:
            console.print(line)
        console.print()
    if confused := labels.confused(classes.tuned):
        console.print(f"Most often confused: {', '.join(map(_ascii, confused))}.")
    for sentence in (*labels.remarks(record, classes), *labels.confidence(classes)):
        console.print(_ascii(sentence))


def print_warnings(classes: Classes, console: Any) -> None:
    """Print what the verdict hides."""
    for sentence in labels.warnings(classes):
        console.print(f"But {_ascii(sentence[0].lower() + sentence[1:])}", style="bold red")


def _ascii(text: str) -> str:
    return plain(text).replace("→", "->").replace("“", '"').replace("”", '"')


def _table(classes: Classes) -> Any:
    from rich import box
    from rich.table import Table

    rows = labels.label_rows(classes)
    if len(rows) > _MOST_ROWS:
        worst = labels.worst_first(dict(classes.tuned.labels))[:_MOST_ROWS]
        rows = [row for row in rows if row.label in worst]
    title = None if len(rows) == len(labels.label_rows(classes)) else f"the {len(rows)} labels with the lowest F1"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("label", overflow="fold")
    for name in (*(f"{side} right" for side in classes.sides), "precision", "recall", "F1"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cells = map(plain, (*row.right, *row.cells))
        table.add_row(shortened(row.label, 40), *cells, style="red" if row.css_class else "")
    return table


def _matrix(side: SideClasses, width: int) -> Iterator[Any]:
    """The lines of the matrix; none if it does not fit."""
    from rich.text import Text

    if not side.confusion:
        return
    names = [shortened(label, _LONGEST) for label in side.labels]
    some = [at for at, row in enumerate(side.confusion) if sum(row) or any(other[at] for other in side.confusion)]
    has_none = any(row[-1] for row in side.confusion)
    columns = [*some, *([len(names)] if has_none else [])]
    first = max(len(names[at]) for at in some) + 4
    if first + _CELL * len(columns) + 2 > width:
        return
    numbers = {at: str(number) for number, at in enumerate(some, start=1)} | {len(names): _NONE}
    yield Text(
        " " * first + "".join(f"{numbers[at]:>{_CELL if at < len(names) else _CELL + 1}}" for at in columns), "dim"
    )
    for row in some:
        line = Text(f"{numbers[row]:>2}  ", "dim")
        line.append(f"{names[row]:<{first - 4}}", "default")
        for column in columns:
            count = side.confusion[row][column]
            cell = f"{count or '.':>{_CELL if column < len(names) else _CELL + 1}}"
            line.append(cell, "dim" if not count else "bold green" if row == column else "bold red")
        yield line
