"""The voice of a question: which words, quotes and forms of dates it uses."""

import random
from collections.abc import Sequence
from datetime import date
from typing import TypeVar

from finetune.tasks.sql.rows.database import Field, Value, literal

T = TypeVar("T")

MONTHS = "January February March April May June July August September October November December".split()
NUMBER_WORDS = "zero one two three four five six seven eight nine ten".split()


class Unsuitable(Exception):
    """This database has no column or value for the question a pattern was about to ask; another may have."""


class Voice:
    """The manner of one question: every choice of words comes from ``rng``."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self._quotes = rng.random() < 0.35
        self._iso_dates = rng.random() < 0.7
        self._digits = rng.random() < 0.5

    def pick(self, choices: Sequence[T]) -> T:
        if not choices:
            raise Unsuitable
        return choices[self.rng.randrange(len(choices))]

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def say(self, wordings: Sequence[str], **words: str) -> str:
        """One of the wordings, filled in, with a capital at the start."""
        text = self.pick(wordings).format_map(words)
        return text[0].upper() + text[1:]

    def count(self, number: int) -> str:
        return str(number) if self._digits or number >= len(NUMBER_WORDS) else NUMBER_WORDS[number]

    def text(self, value: Value, predicate: str = "") -> str:
        """A text value as it stands in the question; a predicate that has its own quotes gets none."""
        return f"'{value}'" if self._quotes and "'" not in predicate else str(value)

    def amount(self, field: Field, value: Value) -> str:
        """A number with its unit, a year, or a date."""
        if field.column.kind == "date":
            return self.day(str(value))
        unit = field.column.unit
        if value == 1:
            unit = unit.removesuffix("s")
        return f"{literal(value)} {unit}".strip()

    def day(self, iso: str) -> str:
        if self._iso_dates:
            return iso
        day = date.fromisoformat(iso)
        return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def listing(words: Sequence[str], conjunction: str = "and") -> str:
    """a, b and c"""
    return f" {conjunction} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


def negated(that: str) -> str:
    verb, _, rest = that.partition(" ")
    return f"{verb} not {rest}" if verb in ("are", "were") else f"do not {that}"
