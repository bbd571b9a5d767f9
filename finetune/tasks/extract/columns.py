"""Columns of a table as the fields of an object: texts become numbers, or true and false, where all of a column are."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from finetune.errors import shortened
from finetune.records.files import Row
from finetune.tasks.extract.schema import Node, is_of
from finetune.tasks.values import parsed

# 12E4 is the code of an article more often than a number
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]\d+)?")
_COMMA = re.compile(r"-?\d+,\d+")
_DIGITS = 15  # of a number that a float holds exactly
_WORDS = {"true": True, "false": False}


def number_of(text: str) -> int | float | None:
    """The number that a text is as it stands, with all its digits; None if it is none, such as "007" or "1,000"."""
    text = text.strip()
    if not _NUMBER.fullmatch(text) or len(re.sub(r"\D", "", text)) > _DIGITS:
        return None
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    try:
        value = float(text)
        return value if Decimal(repr(value)) == Decimal(text) else None
    except (OverflowError, InvalidOperation):
        return None


def structure_of(text: str) -> list[Any] | dict[str, Any] | None:
    """The list or object that a text is in JSON, or as Python writes it; None if it is none."""
    if not text.strip().startswith(("[", "{")):
        return None
    try:
        found = parsed(text, "a cell", python=True)
    except ValueError:
        return None
    return found if isinstance(found, list | dict) else None


@dataclass
class _Column:
    texts: int = 0  # values that are text, but for empty ones
    numbers: int = 0
    words: int = 0  # true or false
    structures: int = 0  # lists and objects
    others: int = 0  # values that are no text
    commas: int = 0  # numbers with a decimal comma
    odd: str = ""  # the first text that is no number, with its place

    @property
    def kind(self) -> str:
        if self.texts and self.numbers == self.texts:
            return "number"
        if self.texts and self.structures == self.texts:
            return "structure"
        return "boolean" if self.texts and self.words == self.texts else ""


@dataclass
class ColumnTypes:
    """What the columns of the rows are read as."""

    names: tuple[str, ...]
    columns: dict[str, _Column] = field(default_factory=dict)

    def see(self, row: Mapping[str, Any], place: str) -> None:
        for name in self.names:
            column, value = self.columns.setdefault(name, _Column()), row.get(name)
            if not isinstance(value, str):
                column.others += value is not None
            elif value.strip():
                column.texts += 1
                column.words += value.strip().lower() in _WORDS
                column.structures += structure_of(value) is not None
                is_number = number_of(value) is not None
                column.numbers += is_number
                column.commas += _COMMA.fullmatch(value.strip()) is not None
                if not is_number and not column.odd:
                    column.odd = f"{shortened(value, 20)!r} at {place}"

    def told(self) -> Iterator[str]:
        """The columns of which most values are numbers, and not all; and those of lists and objects."""
        for name, column in self.columns.items():
            if column.kind == "structure":
                yield f"'{shortened(name)}': lists and objects written as text are read as lists and objects"
            elif column.structures > column.texts / 2:
                wrong = column.texts - column.structures
                yield f"'{shortened(name)}' stays text: {wrong} of {column.texts} values are no list and no object"
            if column.commas and column.commas + column.numbers == column.texts:
                what = f"its numbers have decimal commas ({column.odd}); write points to have them learned as numbers"
                yield f"'{shortened(name)}' stays text: {what}"
            elif column.texts > column.numbers > column.texts / 2:
                wrong = column.texts - column.numbers
                yield f"'{shortened(name)}' stays text: {wrong} of {column.texts} values are no numbers ({column.odd})"

    def object_of(self, row: Mapping[str, Any], node: Node | None = None) -> Row:
        """The object of a row. With ``node`` its types decide what a text is read as. What is empty is null."""
        found = {}
        for name in self.names:
            value = row.get(name)
            if isinstance(value, str):
                types = node.properties[name].types if node and name in node.properties else ()
                value = _read(value, types, self.columns[name].kind if name in self.columns else "")
            found[name] = value
        return found


def _read(value: str, types: tuple[str, ...], kind: str) -> Any:
    text = value.strip()
    if not text:
        return None
    if "string" in types or (not types and not kind):
        return value
    if kind == "structure" or {"array", "object"} & {*types}:
        found = structure_of(text)
        return value if found is None else found
    if kind == "boolean" or "boolean" in types:
        return _WORDS.get(text.lower(), value)
    number = number_of(text)
    return value if number is None or (types and not is_of(number, types)) else number
