"""A look at sources before anything is prepared: some of their rows, and what the values of every field look like."""

import contextlib
import io
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finetune.dataset.readers.content import kind_of
from finetune.dataset.readers.folders import searched
from finetune.dataset.readers.other_texts import described
from finetune.dataset.readers.parts import Part
from finetune.dataset.readers.sourced import Wanted
from finetune.dataset.sources import DOCUMENTS, looks_local, read_local, wanted_of
from finetune.errors import UserError, path_of, shortened
from finetune.records.files import Row
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS
from finetune.tasks.classify.columns import Columns
from finetune.tasks.classify.survey import flat
from finetune.terminal import counted

MOST_ROWS = 20_000  # that are looked at
_KEPT = 400  # of them, for a closer look
_FIRST = 100  # of these, from the beginning
_BEGIN = 1 << 15  # bytes


@dataclass
class Look:
    """What was seen of one or several sources with rows, or that they are documents."""

    documents: int = 0
    rows: int = 0
    whole: bool = True  # all rows were looked at
    samples: list[Row] = field(default_factory=list)  # rows, a random choice of those looked at
    columns: Columns = field(default_factory=Columns)  # of rows, a conversation of one question as text and label
    splits: Counter[str] = field(default_factory=Counter)  # rows of each split that the sources name
    unreadable: Counter[str] = field(default_factory=Counter)  # why what stands in a line is no row -> lines

    def see(self, row: Row, chooser: random.Random) -> None:
        self.rows += 1
        if len(self.samples) < _KEPT:
            self.samples.append(row)
        elif (at := chooser.randrange(_FIRST, self.rows)) < _KEPT:
            self.samples[at] = row
        with contextlib.suppress(ValueError):
            row = flat(row)
        self.columns.see(row)


def look(names: Sequence[str]) -> Look:
    """Look at files and folders with rows or with documents. UserError that says what a file is if it is neither."""
    found, chooser = Look(), random.Random(0)
    for name in names:
        if not looks_local(name):
            raise UserError(f"{shortened(name)}: no such file")
        path = path_of(name, "FILE")
        if count := _documents(path):
            found.documents += count
        else:
            _look_at_rows(name, found, chooser)
    if found.documents and found.rows:
        raise UserError("some of these are texts, and others are rows (name those of one kind)")
    if not found.documents and not found.rows:
        raise UserError(_why_none(names, found))
    return found


def _look_at_rows(name: str, found: Look, chooser: random.Random) -> None:
    known = wanted_of(DatasetConfig(), ROW_KINDS["sql"]).names.union(
        *(wanted_of(DatasetConfig(), kind).names for kind in ROW_KINDS.values())
    )
    with contextlib.redirect_stderr(io.StringIO()):  # notes are told when the rows are prepared
        for sourced in read_local(name, [], Wanted(known)).rows:
            if sourced.row is None:
                found.unreadable.update([sourced.problem] if sourced.problem else [])
                continue
            found.see(sourced.row, chooser)
            found.splits.update([sourced.split] if sourced.split else [])
            if found.rows >= MOST_ROWS:
                found.whole = False
                return


def _why_none(names: Sequence[str], found: Look) -> str:
    place = ", ".join(map(shortened, names))
    if found.unreadable:
        problem, count = found.unreadable.most_common(1)[0]
        return f"{place}: no rows: {counted(count, 'line')}: {problem}"
    return f"{place}: no rows in it, only the names of columns or nothing (write a row a line below them)"


def _documents(path: Path) -> int:
    """How many documents a file, or a folder that holds nothing else, has; 0 if it is to be read as rows."""
    if path.is_dir():
        with contextlib.suppress(UserError):
            texts = searched(path, lambda name: name.lower().endswith(DOCUMENTS), documents=True)
            rows = searched(path, _is_rows, documents=False)
            if texts.paths and not rows.paths:
                return len(texts.paths)
        return 0
    if not path.is_file():
        return 0
    if not path.stat().st_size:
        raise UserError(f"{path}: an empty file (give one with rows, or with text)")
    part = Part(path)
    if kind_of(part):
        return 0
    with part.open() as file:
        begin = file.read(_BEGIN).decode("utf-8-sig", "replace")
    if found := described(part.suffix, begin):
        raise UserError(f"{path}: {found[0]}, not rows ({found[1]})")
    return int(part.suffix in DOCUMENTS and begin.lstrip()[:2] not in ('{"', "[{"))


def _is_rows(name: str) -> bool:
    return Path(name).suffix.lower() in (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".zip")
