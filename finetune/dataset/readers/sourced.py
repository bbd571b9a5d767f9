"""What every reader of rows takes and gives."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from finetune.errors import UserError
from finetune.records.files import Row

MOST_FIELDS = 1000  # of a row
LONGEST = 64 << 20  # bytes of a row, which is read as a whole
_MOST_BLANK = 100_000  # lines after each other
_DEEPEST = 200  # lists and objects inside each other

SPLIT_NAMES = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}


@dataclass(frozen=True)
class SourcedRow:
    """A row as its source has it. Without ``row``: a line that is not a row, or, without ``problem`` too, a blank line."""

    place: str  # "rows.jsonl:12", for messages
    row: Row | None
    problem: str = ""
    split: str | None = None  # the source's own: train, valid or test
    text: str = ""  # the beginning of a line that is not a row
    mended: tuple[str, ...] = ()  # what was repaired to read it
    left: tuple[str, ...] = ()  # parts that no row can hold, such as a picture: "bytes in image"


@dataclass(frozen=True)
class Wanted:
    """What the command wants of its sources."""

    names: frozenset[str] = frozenset()  # of fields that a task or --column knows
    documents: bool = False  # whether a file of text is a row: {"text": ...}
    strict: bool = False


class BlankLines:
    """Counts lines without text that follow each other: a small compressed file can hold any number."""

    def __init__(self, place: str):
        self._place, self._count = place, 0

    def see(self, number: int, *, is_blank: bool) -> None:
        """UserError if there are too many."""
        self._count = self._count + 1 if is_blank else 0
        if self._count > _MOST_BLANK:
            raise UserError(f"{self._place}:{number}: more than {_MOST_BLANK:,} blank lines before it (remove them)")


def split_of(name: str) -> str | None:
    """The split that a name says, as train.jsonl, validation-00000-of-00001.parquet or train_sft."""
    return SPLIT_NAMES.get(name.split(".")[0].split("-")[0].split("_")[0].lower())


def row_problem(row: Row) -> str:
    """Why no row can be so, or ""."""
    if len(row) > MOST_FIELDS:
        return f"{len(row):,} fields, more than the {MOST_FIELDS:,} that a row can have (keep those that are used)"
    return "nested too deeply" if _is_deep(row) else ""


def _is_deep(row: Row) -> bool:
    values: list[Any] = [row]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for value in values:
            parts: Iterable[Any] = value.values() if isinstance(value, dict) else value
            inner += [part for part in parts if isinstance(part, (dict, list))]
        if not inner:
            return False
        values = inner
    return True


def demand_rows_fit(place: str, rows: int, most: int) -> None:
    """UserError if there are more rows than ``most``: all of a source are in memory while some are sampled."""
    if rows > most:
        remedy = "name a part of them, or raise --sample-size if the memory is there"
        raise UserError(f"{place}: more than {most:,} rows, which is what is sampled from ({remedy})")
