"""dataset.json and the rows that it vouches for: data/train.jsonl, valid.jsonl, test.jsonl."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from finetune.errors import UserError, shell_command
from finetune.records import files, lock
from finetune.records.files import Row
from finetune.records.record import Record

_SPLIT_FILES = tuple(f"{split}.jsonl" for split in files.SPLITS)
_REJECTED = "rejected_sha256"
_UNFINISHED = ".unfinished.json"  # hashes of the rows of a dataset.py that is writing, or was killed while it did


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
    split: str | None = None  # its splits, if others than train were asked for
    only: tuple[str, ...] | None = None  # its files that were read, if the sample needed only some
    sha256: str | None = None  # hash of the one file
    files: Mapping[str, str] | None = None  # hash of each file, if there are several
    not_read: tuple[str, ...] | None = None  # files of the folder or archive that were not read, the first thousand
    own_answers: OwnAnswers | None = None  # set for pairs of a model's own answers


@dataclass(frozen=True)
class Turns:
    """How many turns of the assistant are learned."""

    assistant: int = 0  # turns of the assistant in the rows
    learned: int = 0  # of them, in the loss
    context: int = 0  # of them, only context: by weight 0 or by --learn
    rewritten: int | None = None  # of them, in examples of their own (rewritten later); null without tokenizer

    def __add__(self, other: "Turns") -> "Turns":
        known = None if self.rewritten is other.rewritten is None else (self.rewritten or 0) + (other.rewritten or 0)
        return Turns(
            self.assistant + other.assistant, self.learned + other.learned, self.context + other.context, known
        )


@dataclass(frozen=True)
class Pieces:
    """How documents were cut, for rows of plain text."""

    model: str  # model whose tokenizer cut them, as given or by default
    tokenizer_sha256: str  # hash of its vocabulary and of what it makes of a sample
    max_seq_length: int  # tokens of a piece, at most
    overlap: int  # tokens that a piece repeats of the one before, at most; they are not in the loss
    begin: str | None  # special token before the first piece of a document; null if this tokenizer puts none
    end: str | None  # special token after the last piece of a document
    documents: int  # documents that were cut


@dataclass(frozen=True)
class Labels:
    """The labels of rows of type classify, and how they are asked for."""

    text: str  # fields of the source that the text was read from, with + between several
    label: str  # field that the label was read from
    rows: Mapping[str, Mapping[str, int]]  # label -> split -> rows that have it, in the order of the labels
    prompt: str  # system message before each text, which must be sent later too
    in_prompt: bool  # whether it names the labels
    several: bool = False  # rows can have several labels (--multi-label), one on each line of an answer
    separator: str | None = None  # what was between several labels of a row; null for lists
    merged: Mapping[str, str] = field(default_factory=dict)  # spelling -> label that it was read as
    near_rows: int = 0  # rows whose texts are nearly those of others, and are in one split with them


@dataclass(frozen=True)
class FieldOfRows:
    """A field of the objects that are to be extracted."""

    name: str  # its path, such as "customer.name"
    about: str  # what it may be, in words
    present: int  # objects that have it; of a field of inner objects, these
    objects: int  # objects that could have it


@dataclass(frozen=True)
class PartOfRows:
    """One of several sources."""

    source: Source  # where its rows came from
    given: str  # as --dataset-name gave it: [TYPE:]NAME[=WEIGHT]
    type: str  # task that scores its rows; if it is not that of the dataset, each row says so as type
    rows_read: int  # rows in the source
    kept: int  # rows of it that were kept
    rows: Mapping[str, int]  # split -> rows in it
    share_asked: float | None  # of all rows that were kept, 0 to 1, by the weights; null without weights: all rows
    share: float  # what it got


@dataclass(frozen=True)
class DatasetRecord(Record):
    """What `dataset.py` wrote and what became of every row that it read."""

    FORMAT: ClassVar[int] = 2
    MADE_BY: ClassVar[str] = "python dataset.py"
    FOLDER_FLAG = "--output-dir"

    type: str  # task whose score holds for the rows: sql, alpaca, riscv, chat, extract, text
    source: Source  # where the rows came from
    files: Mapping[str, str]  # file name -> its SHA-256
    rejected_sha256: str | None = None  # SHA-256 of rejected.jsonl, if there is one
    seed: int | None = None  # random seed of the sample and the splits
    split_rule: str = ""  # how the rows were divided, in words
    rows_read: int = 0  # rows in the source: those kept and those dropped; for pairs of own answers, rows answered
    kept: int = 0  # rows that were kept; for pairs of own answers, pairs
    rows: Mapping[str, int] = field(default_factory=dict)  # split -> rows in it
    dropped: Mapping[str, int] = field(default_factory=dict)  # reason -> rows that were dropped
    mended: Mapping[str, int] = field(default_factory=dict)  # repair -> rows read with it, kept or not
    noted: Mapping[str, int] = field(default_factory=dict)  # remark -> rows that were kept as they are and it holds for
    dialect: str | None = None  # SQL dialect of all rows; null for SQLite, and if rows differ
    schema: str | None = None  # file of --schema: of SQL rows the tables of all, of `extract` rows the JSON schema
    schema_sha256: str | None = None  # its hash
    unused: Mapping[str, int] = field(
        default_factory=dict
    )  # field -> rows in which it was neither learned nor used for scoring
    learn: str = "all"  # turns of the assistant that are learned: all, last or marked
    thinking: str = "learn"  # what became of thinking before answers: learn, keep (as context) or drop
    turns: Turns | None = None  # how many they are; null for pairs of own answers, and from older versions
    added_system: str | None = None  # system message of rows that had none (--system), to be sent later too
    blank_lines: int = 0  # blank lines that were skipped
    first_places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # reason or repair -> its first places
    recognised: tuple[str, ...] = ()  # row formats that were recognised
    pieces: Pieces | None = None  # how documents were cut; null for other rows
    sources: tuple[PartOfRows, ...] | None = None  # each source, if there are several; source then only names them
    labels: Labels | None = None  # labels of rows of type classify; null for other rows
    fields: tuple[FieldOfRows, ...] | None = None  # of `extract` rows: what is extracted; null for other rows
    json_schema: Mapping[str, object] | None = None  # of `extract` rows: the schema of the answers
    system: str | None = None  # of `extract` rows: the system message with the fields, the one to send in production

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


def check_output(folder: Path) -> None:
    """UserError if a file that dataset.py has not written, or a link, is in the place of one of the rows' in ``folder``.

    Rows that were edited since they were written count as somebody's own. Nothing is made.
    """
    files.check_names(folder, (*_SPLIT_FILES, files.REJECTED, files.DATASET_RECORD))
    ours = _written(folder)
    remedy = "so it will not be replaced (move it away, or use another --output-dir)"
    for path in (folder / name for name in (*_SPLIT_FILES, files.REJECTED)):
        if path.exists() and files.file_hash(path) not in ours:
            what = "changed since dataset.py wrote it" if ours else "not written by dataset.py"
            raise UserError(f"{path}: {what}, {remedy}")
    if (record := folder / files.DATASET_RECORD).exists() and not ours:
        raise UserError(f"{record}: not written by dataset.py, {remedy}")


def _written(folder: Path) -> set[str]:
    """Hashes of the files that dataset.py wrote here, also if it was killed in the middle."""
    found: set[str] = set()
    for name in (files.DATASET_RECORD, _UNFINISHED):
        try:
            value = json.loads((folder / name).read_text(encoding="utf-8"))
            found.update(value["files"].values())
            if _REJECTED not in value and (folder / files.REJECTED).exists():  # older versions recorded no hash of it
                value[_REJECTED] = files.file_hash(folder / files.REJECTED)
            found.add(value[_REJECTED])
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
    return found - {None}


def write_dataset(
    folder: Path, splits: Mapping[str, Iterable[Row]], rejected: Collection[Row], record: DatasetRecord
) -> DatasetRecord:
    """Write the rows, one after the other, and, last, the record that vouches for them, with the hashes of what was written.

    UserError if another process writes there, or if a file of somebody else is in the place of one; (exit 4) if the folder
    cannot be written.
    """
    files.make_output(folder)
    with lock.demanded(folder / ".lock", f"{folder}: another dataset.py is writing here (use another --output-dir)"):
        check_output(folder)
        contents = {files.split_file(folder, split).name: splits[split] for split in files.SPLITS}
        if rejected:
            contents[files.REJECTED] = rejected
        hashes: dict[str, str] = {}
        with ExitStack() as stack:  # all of them get their names when all are written
            for name, rows in contents.items():
                hashes[name] = files.write_rows(stack.enter_context(files.atomic(folder / name)), rows)
            # if we are killed, whoever comes next knows by these hashes what is ours
            ours = sorted(_written(folder) | {*hashes.values()})
            unfinished = {"files": {str(at): sha256 for at, sha256 in enumerate(ours)}, _REJECTED: None}
            files.write_json(folder / _UNFINISHED, unfinished)
        record = replace(record, rejected_sha256=hashes.pop(files.REJECTED, None), files=hashes)
        try:
            if not rejected:
                (folder / files.REJECTED).unlink(missing_ok=True)
            record.write(folder / files.DATASET_RECORD)
            (folder / _UNFINISHED).unlink()
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error.strerror}", exit_code=4) from None
    return record


def read_split(folder: Path, split: str, record: DatasetRecord, *, may_be_empty: bool = False) -> list[tuple[int, Row]]:
    """The rows of a split with their line numbers, from 1; UserError if the file is not the one that dataset.py checked."""
    path = files.split_file(folder, split)
    rows = files.read_jsonl(path)
    if not rows and not may_be_empty:
        raise UserError(f"{path}: no rows (run: {DatasetRecord.made_by(path.parent)})")
    if files.file_hash(path) != record.files.get(path.name):
        raise UserError(
            f"{path}: changed since dataset.py checked it (restore it, or {_check_again(path, rows, record)})"
        )
    return rows


def _check_again(path: Path, rows: Sequence[tuple[int, Row]], record: DatasetRecord) -> str:
    """How changed rows become rows that can be trained on. dataset.py reads what it wrote, unless that is made of something
    else: pairs, pieces of documents, or rows of several kinds."""
    kinds = {part.type for part in record.sources or ()}
    if record.pieces or len(kinds) > 1 or any("rejected" in row for _, row in rows):
        return "change the rows that it was made of, and run dataset.py again"
    command = shell_command("python", "dataset.py", "--type", record.type, "--dataset-name", path)
    return f"have the changed rows checked: {command} --output-dir ANOTHER_FOLDER"
