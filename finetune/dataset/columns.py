"""--column: which field of the rows is which of the task's."""

from finetune.errors import UserError


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
