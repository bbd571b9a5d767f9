"""--column: which field of the rows is which of the task's."""

from collections import Counter

from finetune.errors import UserError
from finetune.records.files import Row
from finetune.tasks.base import BadRow, RowKind
from finetune.tasks.conversations import column_remedy
from finetune.tasks.values import text_of


def parsed_columns(text: str | None) -> dict[str, str]:
    """ "new=old,new=old" of --column, as old -> new. UserError if a field is named twice on either side."""
    columns: dict[str, str] = {}
    for pair in (text or "").split(","):
        if not pair:
            continue
        new, _, old = map(str.strip, pair.partition("="))
        if not new or not old or "=" in old:
            raise UserError(f"--column: {text!r} does not have the form sql=query,sql_prompt=question")
        if old in columns:
            raise UserError(f"--column: {old!r} cannot be both {columns[old]} and {new} (one column for one field)")
        if new in columns.values():
            other = next(name for name, field in columns.items() if field == new)
            raise UserError(f"--column: {new} cannot be read from both {other!r} and {old!r} (give one column)")
        columns[old] = new
    return columns


def used(task: RowKind) -> tuple[str, ...]:
    """The fields of a row that a task does something with."""
    several = ("accepted",) if task.several_answers else ()
    return (*task.required, *task.optional, *task.known, *several)


def check_fields(row: Row, task: RowKind) -> None:
    """Make text of the values of a task's fields, in place. BadRow, with its remedy, if a required one is missing."""
    if absent := [name for name in task.required if name not in row]:
        flags = ",".join(f"{name}=FIELD" for name in absent)

        def remedy(source: Row) -> str:
            other = f"for prompts and answers of another kind: --type chat, and {column_remedy(source)}"
            return f"if the field has another name: --column {flags}; {other}"

        raise BadRow(f"no field {' and no field '.join(absent)}", remedy)
    for name in task.required:
        row[name] = text_of(row[name], name)
    for name in task.optional:
        if row.get(name) is not None and not isinstance(row[name], str):
            row[name] = text_of(row[name], name)


def renamed(row: Row, columns: dict[str, str], task: RowKind, recognised: Counter[str]) -> Row:
    """The row with the task's own field names: those that --column gives, else those known to mean the same."""
    names = {old: new for old, new in columns.items() if old in row}
    for name in (*task.required, *task.optional):
        if name not in row and name not in columns.values():
            for other in task.aliases.get(name, ()):
                if other in row and other not in names:
                    names[other] = name
                    recognised[f"'{other}' read as {name}"] += 1
                    break
    kept = {name: value for name, value in row.items() if name in names or name not in names.values()}
    return {names.get(name, name): value for name, value in kept.items()} if names else row


def hidden(row: Row, columns: dict[str, str]) -> list[str]:
    """The fields of a row whose names another one has, by --column."""
    return [new for old, new in columns.items() if old in row and new in row and new not in columns]
