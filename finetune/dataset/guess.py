"""What rows may be, and the rows as the rules of recognition see them: some of them, and what each field looks like."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.dataset.looking import Look
from finetune.records.files import Row
from finetune.tasks.classify.columns import Column
from finetune.tasks.values import is_empty

MOST = 0.7  # share of the values that look alike
_SQL = re.compile(
    r"\s*(?:```\w*\s+|sql(?: query)?:\s*)?(?:select\b.+|with\b.+?\bas\s*\(.+|insert\s+into\b.+|update\b.+?\bset\b.+|"
    r"delete\s+from\b.+|create\s+(?:table|view|index)\b.+)",
    re.IGNORECASE | re.DOTALL,
)
_TABLES = re.compile(r"\bcreate\s+table\b", re.IGNORECASE)
NUMBER = re.compile(r"[-+]?[\d.,]+(?:[eE][-+]?\d+)?%?")


@dataclass(frozen=True)
class Guess:
    """A type that fits, with the flags that dataset.py needs for it."""

    type_: str  # of --type
    kind: str  # for people: classify, extract, sql, tools, chat, preference, text
    why: str
    parts: Mapping[str, str] = field(default_factory=dict)  # part, such as "label" -> field of the rows
    flags: Mapping[str, object] = field(default_factory=dict)  # further settings of dataset.py, by key

    @property
    def column(self) -> str | None:
        """The value of --column; None if all fields have the names of their parts."""
        pairs = [f"{part}={name}" for part, name in self.parts.items() if part != name]
        return ",".join(pairs) or None


def same(one: Guess, other: Guess) -> bool:
    return one.type_ == other.type_ and dict(one.parts) == dict(other.parts)


class Rows:
    """Some of the rows, and their fields."""

    def __init__(self, seen: Look):
        self.samples: Sequence[Row] = seen.samples
        self.columns: Mapping[str, Column] = seen.columns.found
        self.count = seen.rows

    def values(self, name: str) -> list[Any]:
        return [row[name] for row in self.samples if not is_empty(row.get(name))]

    def has(self, name: str) -> bool:
        """Whether most rows have the field."""
        return len(self.values(name)) > MOST * len(self.samples)

    def share(self, name: str, test: Callable[[Any], bool]) -> float:
        values = self.values(name)
        return sum(map(test, values)) / len(values) if values else 0.0

    def texts(self) -> list[str]:
        """The fields whose values are sentences or longer, those of other names too."""
        return [name for name, column in self.columns.items() if self.has(name) and column.looks_like_texts]

    def length(self, name: str) -> float:
        """Characters of its texts, on average."""
        column = self.columns[name]
        return column.characters / max(1, column.texts)

    def named(self, names: Sequence[str], among: Sequence[str]) -> str | None:
        """The first of the fields with one of these names, or a name that ends with one."""
        simple = {name: re.sub(r"[\s-]+", "_", name.strip().lower()) for name in among}
        for wanted in names:
            for name in among:
                if simple[name] == wanted or simple[name].endswith(f"_{wanted}"):
                    return name
        return None


def is_sql(value: Any) -> bool:
    return isinstance(value, str) and _SQL.match(value) is not None


def has_tables(value: Any) -> bool:
    return isinstance(value, str) and _TABLES.search(value) is not None


def is_words(value: Any) -> bool:
    return isinstance(value, str) and len(value.split()) > 1


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_object(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number or (isinstance(value, str) and NUMBER.fullmatch(value.strip()) is not None)
