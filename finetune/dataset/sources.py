"""Rows from local files: JSON lines, JSON, CSV, Parquet, and folders and globs of them."""

import codecs
import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.errors import UserError, first_line, path_of, shortened
from finetune.records.dataset import Source
from finetune.records.files import DATASET_RECORD, REJECTED, Row, file_hash, json_lines
from finetune.records.plain_path import plain_path
from finetune.tasks.conversations import FORMATS, named
from finetune.terminal import say

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


def looks_local(name: str) -> bool:
    """Whether a --dataset-name is a path; else it is the name of a Hub dataset."""
    return (
        name.startswith((".", "/", "~"))
        or Path(name).suffix.lower() in _READERS
        or any(mark in name for mark in "*?[")
        or os.path.exists(name)  # noqa: PTH110  unlike Path.exists it takes any text for a name
    )


def read_local(name: str, written: Sequence[Path], most: int) -> tuple[Iterator[SourcedRow], Source]:
    """The rows of a file, a folder or a glob, and what identifies them.

    UserError if there is no such file, if one is among the files that will be ``written``, or if there are more than ``most``
    rows in a Parquet file.
    """
    paths = _files(name)
    if own := {path.resolve() for path in written} & {path.resolve() for path in paths}:
        raise UserError(
            f"--output-dir: {min(own)} is a source of the rows and would be overwritten (choose another folder)"
        )
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: not a regular file (write the rows to one)")
        try:
            with path.open("rb") as file:
                if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                    raise UserError(f"{path}: UTF-16 text (save the file as UTF-8)")
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        if path.suffix.lower() == ".parquet":  # a small file can hold any number of rows
            demand_rows_fit(str(path), _open_parquet(path).metadata.num_rows, most)
    if len(paths) == 1:
        source = Source(name, sha256=file_hash(paths[0]))
    else:
        source = Source(name, files={str(path): file_hash(path) for path in paths})
    return (row for path in paths for row in _READERS.get(path.suffix.lower(), _unknown)(path)), source


def demand_rows_fit(place: str, rows: int, most: int) -> None:
    """UserError if there are more rows than ``most``: all of a source are in memory while some are sampled."""
    if rows > most:
        remedy = "name a part of them, or raise --sample-size if the memory is there"
        raise UserError(f"{place}: more than {most:,} rows, which is what is sampled from ({remedy})")


def _files(name: str) -> list[Path]:
    try:
        path = path_of(name, "--dataset-name")
        found = _matching(path)
    except (OSError, ValueError) as error:
        raise UserError(f"--dataset-name: {shortened(name)!r} cannot be looked up: {first_line(error)}") from None
    if not found:
        raise UserError(f"{path}: no such file")
    return found


def _matching(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(
            p
            for p in path.rglob("*")
            if p.suffix.lower() in _READERS and p.name not in (DATASET_RECORD, REJECTED) and p.is_file()
        )
        if not found:
            raise UserError(f"{path}: no rows in this folder (no file ends with {', '.join(_READERS)})")
        return found
    if path.exists():
        return [path]
    root = Path(path.anchor)
    return sorted(p for p in root.glob(str(path.relative_to(root))) if p.is_file())


def _split_of(path: Path) -> str | None:
    """The split that a file's name says, as train.jsonl or validation-00000-of-00001.parquet."""
    return SPLIT_NAMES.get(path.stem.split("-")[0].split("_")[0].lower())


_MOST_JSON = 1 << 30  # bytes; as objects they take up to twenty times as much memory
_MOST_FIELD = 1 << 26  # characters of a CSV field
_BATCH = 100  # rows of a Parquet file: a long text that is there once can be the value of all of them


def _json_lines(path: Path) -> Iterator[SourcedRow]:
    split = _split_of(path)
    for line in json_lines(path):
        yield SourcedRow(f"{path}:{line.number}", line.row, line.problem, split, line.text)


def _json(path: Path) -> Iterator[SourcedRow]:
    """An array of rows, alone or as the one list of rows in an object; anything else is read as JSON lines."""
    if path.stat().st_size > _MOST_JSON:
        raise UserError(f"{path}: larger than 1 GB, and JSON is read as a whole (write one row a line, as .jsonl)")
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        first = next(json_lines(path), None)
        if isinstance(error, json.JSONDecodeError) and (first is None or first.problem):
            raise UserError(f"{path}:{error.lineno}: not JSON: {first_line(error)}") from None
        yield from _json_lines(path)
        return
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list) and part]
        rows = [part for part in lists if all(isinstance(row, dict) for row in part)]
        is_a_row = any(all(name in value for name in names) for names in FORMATS)
        value = rows[0] if len(rows) == 1 and not is_a_row else [value]
    for number, row in enumerate(value if isinstance(value, list) else [value], start=1):
        place = f"{path} row {number}"
        if isinstance(row, dict):
            yield SourcedRow(place, row, split=_split_of(path))
        else:
            yield SourcedRow(place, None, "not a JSON object")


def _unknown(path: Path) -> Iterator[SourcedRow]:
    """A file whose name says nothing is read as JSON lines, unless its first two lines show that it is something else."""
    begin = list(islice((line for line in json_lines(path) if line.row is not None or line.problem), 2))
    if begin and all(line.problem for line in begin):
        first = begin[0]
        kind = f"{path.suffix!r} is not a file type that can be read" if path.suffix else "not JSON lines"
        if "\t" in first.text:
            raise UserError(f"{path}: {kind}, and its first line has tabs (save it as .csv, with commas)")
        raise UserError(f"{path}: {kind} (use {', '.join(_READERS)}; other names are read as JSON lines)")
    yield from _json_lines(path)


_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def _csv(path: Path) -> Iterator[SourcedRow]:
    csv.field_size_limit(_MOST_FIELD)
    # a byte that is not UTF-8 becomes half a surrogate pair, which is found with its row
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            names = [name.strip() for name in next(reader, [])]
            _check_header(path, names)
            begin = reader.line_num + 1
            for fields in reader:
                place, begin = f"{path}:{begin}", reader.line_num + 1
                if not fields:
                    yield SourcedRow(place, None)
                elif len(fields) > len(names):
                    yield SourcedRow(place, None, "more fields than the first line names", _split_of(path))
                else:
                    row = dict.fromkeys(names) | dict(zip(names, fields, strict=False))
                    yield SourcedRow(place, row, split=_split_of(path))
        except csv.Error as error:  # where the next row begins cannot be told
            raise UserError(f"{path}:{reader.line_num}: not CSV: {error} (an unpaired quote?)") from None


def _check_header(path: Path, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}:1: more than one column is named {shortened(twice[0], 40)!r}")
    if len(names) == 1 and (found := [delimiter for delimiter in _DELIMITERS if delimiter in names[0]]):
        raise UserError(
            f"{path}:1: the columns are separated by {_DELIMITERS[found[0]]}, not by commas"
            " (save the file with commas, or as JSON lines)"
        )


def _parquet(path: Path) -> Iterator[SourcedRow]:
    file = _open_parquet(path)
    with _explained(path):
        plain = plain_columns(path, {field.name: _is_plain_arrow(field.type) for field in file.schema_arrow})
        number = 0
        for batch in file.iter_batches(batch_size=_BATCH, columns=plain):
            for row in batch.to_pylist():
                number += 1
                yield SourcedRow(f"{path} row {number}", as_json(row), split=_split_of(path))


def plain_columns(place: object, are_plain: Mapping[str, bool]) -> list[str]:
    """The columns that can be read; a note names the others, such as images."""
    if left := [name for name, is_plain in are_plain.items() if not is_plain]:
        say(
            f"Note: {place}: columns that are not read, because they are no text, numbers or lists of these: {named(left)}"
        )
    return [name for name, is_plain in are_plain.items() if is_plain]


def as_json(value: Any) -> Any:
    """The value with texts for what JSON does not have: times and decimal numbers."""
    if isinstance(value, dict):
        return {name: as_json(part) for name, part in value.items()}
    if isinstance(value, list):
        return [as_json(part) for part in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _open_parquet(path: Path) -> Any:
    from pyarrow import parquet  # comes with datasets

    with _explained(path), plain_path(path) as readable:
        return parquet.ParquetFile(readable)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as Parquet: {first_line(error)}") from None


def _is_plain_arrow(kind: Any) -> bool:
    """Text, numbers, times, columns of nulls, and lists and records of these: no task needs images."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind):
        return _is_plain_arrow(kind.value_type)
    if types.is_dictionary(kind):
        return _is_plain_arrow(kind.value_type)
    if types.is_struct(kind):
        return all(_is_plain_arrow(kind.field(at).type) for at in range(kind.num_fields))
    tests = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_boolean,
        types.is_integer,
        types.is_floating,
        types.is_decimal,
        types.is_temporal,
        types.is_null,
    )
    return any(test(kind) for test in tests)


_READERS: dict[str, Callable[[Path], Iterator[SourcedRow]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
