"""dataset.json and the rows that it vouches for: data/train.jsonl, valid.jsonl, test.jsonl."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from finetune.errors import UserError
from finetune.records import files
from finetune.records.files import Row
from finetune.records.record import Record


@dataclass(frozen=True)
class OwnAnswers:
    """How pairs were made of a model's own answers."""

    adapter: str  # folder of the adapters that answered
    rows: str  # folder of the rows that were answered
    rows_source: "Source"  # where those rows came from
    answers: int  # completions sampled for each prompt
    temperature: float  # sampling temperature
    max_tokens: int  # token limit of a completion


@dataclass(frozen=True)
class Source:
    """Where rows came from."""

    source: str  # file, folder, glob or Hub dataset as given; "builtin"; or "answers of FOLDER"
    revision: str | None = None  # commit of the Hub dataset
    subset: str | None = None  # its configuration
    sha256: str | None = None  # hash of the one file
    files: Mapping[str, str] | None = None  # hash of each file, if there are several
    own_answers: OwnAnswers | None = None  # set for pairs of a model's own answers


@dataclass(frozen=True)
class DatasetRecord(Record):
    """What `dataset.py` wrote and what became of every row that it read."""

    FORMAT: ClassVar[int] = 2
    MADE_BY: ClassVar[str] = "python dataset.py"
    FOLDER_FLAG = "--output-dir"

    type: str  # task whose score holds for the rows: sql, alpaca, riscv, chat
    source: Source  # where the rows came from
    files: Mapping[str, str]  # file name -> its SHA-256
    seed: int | None = None  # random seed of the sample and the splits
    split_rule: str = ""  # how the rows were divided, in words
    rows_read: int = 0  # rows in the source: those kept and those dropped; for pairs of own answers, rows answered
    kept: int = 0  # rows that were kept; for pairs of own answers, pairs
    rows: Mapping[str, int] = field(default_factory=dict)  # split -> rows in it
    dropped: Mapping[str, int] = field(default_factory=dict)  # reason -> rows that were dropped
    mended: Mapping[str, int] = field(default_factory=dict)  # repair -> rows that were kept with it
    blank_lines: int = 0  # blank lines that were skipped
    first_places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # reason or repair -> its first places
    recognised: tuple[str, ...] = ()  # row formats that were recognised

    @classmethod
    def upgrade(cls, value: Row, written: int) -> None:
        """Format 1 called the rows read ``read``, and had the settings of own answers beside the name of the source."""
        value["rows_read"] = value.get("read", 0)
        value["source"] = upgraded_source(value["source"])


def upgraded_source(source: Row) -> Row:
    """``source`` of format 1 as it is today, also the source of the rows that own answers were sampled for."""
    if "adapter" not in source:
        return source
    names = ("adapter", "rows", "answers", "temperature", "max_tokens")
    rows_source = upgraded_source(source["rows_source"])
    return {**source, "own_answers": {**{name: source[name] for name in names}, "rows_source": rows_source}}


def read_dataset_record(folder: Path) -> DatasetRecord:
    """The record of the rows in ``folder``; UserError if it is missing or damaged."""
    return DatasetRecord.read(folder / files.DATASET_RECORD)


def write_dataset(
    folder: Path, splits: Mapping[str, Sequence[Row]], rejected: Sequence[Row], record: DatasetRecord
) -> DatasetRecord:
    """Write the rows and, last, the record that vouches for them, with the hashes of the files.

    UserError (exit 4) if the folder cannot be written.
    """
    files.make_folder(folder)
    paths = {split: files.split_file(folder, split) for split in files.SPLITS}
    for split, path in paths.items():
        files.write_jsonl(path, splits[split])
    if rejected:
        files.write_jsonl(folder / files.REJECTED, rejected)
    else:
        try:
            (folder / files.REJECTED).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{folder / files.REJECTED}: cannot be removed: {error.strerror}", exit_code=4) from None
    record = replace(record, files={path.name: files.file_hash(path) for path in paths.values()})
    record.write(folder / files.DATASET_RECORD)
    return record


def read_split(folder: Path, split: str, record: DatasetRecord, *, may_be_empty: bool = False) -> list[tuple[int, Row]]:
    """The rows of a split with their line numbers, from 1; UserError if the file is not the one that dataset.py checked."""
    path = files.split_file(folder, split)
    rows = files.read_jsonl(path)
    if not rows and not may_be_empty:
        raise UserError(f"{path}: no rows (run: {DatasetRecord.made_by(path.parent)})")
    if files.file_hash(path) != record.files.get(path.name):
        raise UserError(
            f"{path}: changed since dataset.py checked it (restore the file, or prepare the rows again with dataset.py)"
        )
    return rows
