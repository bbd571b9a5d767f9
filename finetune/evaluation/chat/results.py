"""The result of the SQL in an answer, run on the tables of the chat."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from finetune.errors import visible
from finetune.tasks.sql.judging.answer import find_statements
from finetune.tasks.sql.judging.execution import Outcome, Value, WorkerKilled
from finetune.tasks.sql.judging.shell import SqlTables

_ROWS, _CHARACTERS = 20, 200  # shown of a result, of a value


def results_of(tables: SqlTables, context: str, answer: str) -> RenderableType:
    """A table for each statement in the answer, or the reason there is none. Each runs on freshly created tables."""
    statements = find_statements(answer)
    if not statements:
        return Text("(no SQL in the answer)", style="dim")
    try:
        return Group(*map(_shown, tables.run(context, statements)))
    except WorkerKilled as error:
        return Text(f"SQL error: {error}", style="red")


def _shown(outcome: Outcome) -> RenderableType:
    if outcome.error is not None:
        only = ": only queries are run" if outcome.denied else ""
        return Text(f"SQL error: {visible(' '.join(outcome.message.split()))}{only}", style="red")
    if not outcome.columns:
        return Text("(no result)", style="dim")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for column, name in enumerate(outcome.names):
        numbers = bool(outcome.rows) and all(isinstance(row[column], int | float) for row in outcome.rows)
        table.add_column(Text(_cut(name)), overflow="fold", justify="right" if numbers else "left")
    for row in outcome.rows[:_ROWS]:
        table.add_row(*map(_value, row))
    if 0 < len(outcome.rows) <= _ROWS:
        return table
    note = f"(the first {_ROWS} of {len(outcome.rows)} rows)" if outcome.rows else "(no rows)"
    return Group(table, Text(note, style="dim"))


def _value(value: Value) -> Text:
    if value is None:
        return Text("NULL", style="dim")
    if isinstance(value, tuple):
        return Text(_cut(f"x'{value[1]}'"))
    return Text(_cut(str(value)))


def _cut(text: str) -> str:
    return visible(text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}...")
