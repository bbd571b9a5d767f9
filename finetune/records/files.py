"""The files between the stages: their names, atomic writes, JSON lines, hashes."""

import hashlib
import json
import os
import stat
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from finetune.errors import UserError
from finetune.records import leftovers

SPLITS = ("train", "valid", "test")
DATASET_RECORD = "dataset.json"
ADAPTERS = "adapters.safetensors"
PEFT_ADAPTERS = "adapter_model.safetensors"  # as PEFT names them
ADAPTER_CONFIG = "adapter_config.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")  # of a run that added tokens
START = "start.safetensors"  # the adapters that --from-adapter named
RUN_RECORD = "run.json"
TRAINING_CONFIG = "training_config.txt"
METRICS = "metrics.jsonl"
CURVE = "loss.png"
STATE = "state"
STATE_RECORD = "state.json"
REJECTED = "rejected.jsonl"
EVALUATION = "evaluation.json"
BLIND = "blind.json"  # which of two answers a person preferred
ANSWERS = "answers.jsonl"  # of a running evaluation
BENCHMARK_ANSWERS = "benchmark_answers.jsonl"
BENCHMARK = "benchmark.json"
BENCHMARK_TABLE = "benchmark.csv"
HISTORY = "history"  # earlier benchmark.json files
REPORT = "report.html"
EXPORT_RECORD = "export.json"
MODELFILE = "Modelfile"

Row = dict[str, Any]  # a JSON object: a line of a JSON lines file, or a whole file


def split_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.jsonl"


def make_folder(folder: Path) -> None:
    """Create the folder; UserError (exit 4), before any work is done, if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        problem = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise UserError(f"{folder}: cannot be written: {problem}", exit_code=4) from None


def check_targets(folder: Path, names: Sequence[str]) -> None:
    """UserError (exit 4), before any work is done, if one of these files of ``folder`` cannot be written."""
    make_folder(folder)
    check_names(folder, names)


def check_names(folder: Path, names: Sequence[str]) -> None:
    """UserError (exit 4) if a folder is in the place of one of these files, or (exit 2) a symbolic link."""
    refuse_links(folder, names)
    for name in names:
        if (path := folder / name).is_dir():
            raise UserError(f"{path}: cannot be written: it is a folder", exit_code=4)


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """UserError if one of these files of ``folder`` is a symbolic link: what it leads to is not ours to write."""
    for name in names:
        if os.path.islink(path := folder / name):  # noqa: PTH114  unlike Path.is_symlink it takes any name
            raise UserError(f"{path}: a symbolic link, which will not be written through (remove it)")


def check_apart(flag: str, folder: Path, others: Mapping[str, Path]) -> None:
    """UserError if ``folder``, which ``flag`` names, is one of the ``others``, or lies in it, or the other way round."""
    here = folder.resolve()
    for what, other in others.items():
        there = other.resolve()
        if here == there:
            raise UserError(f"{flag}: {folder} is {what} (use a folder of its own)")
        if here in there.parents:
            raise UserError(f"{flag}: {what}, {other}, is inside {folder} (use a folder of its own)")
        if there in here.parents:
            raise UserError(f"{flag}: {folder} is inside {what}, {other} (use a folder of its own)")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path that replaces ``path`` when the block ends, and is removed if the block raises.

    After a crash at any moment ``path`` is the old file or the new one, whole. UserError (exit 4) if it cannot be written, or
    if it is a symbolic link.
    """
    refuse_links(path.parent, [path.name])
    leftovers.remove(path)  # of a process that was killed in this block
    temporary = path.with_name(leftovers.name_for(path))
    try:
        _create(temporary)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}", exit_code=4) from None
    try:
        yield temporary
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}", exit_code=4) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _create(path: Path) -> None:
    """Make an empty file; OSError if anything has the name: nobody's file is taken for ours, and no link is followed."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o666))


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode(errors="backslashreplace"))  # file names can hold bytes that are not text


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


class EncodedRows(Sequence[Row]):
    """Rows that are kept as JSON."""

    @abstractmethod
    def texts(self) -> Iterator[str]:
        """Each row as ``encoded`` would write it."""


def encoded(row: Row) -> str:
    """The row in one line of JSON."""
    return json.dumps(row, ensure_ascii=False)


def write_rows(path: Path, rows: Iterable[Row]) -> str:
    """Write one row a line to ``path``, one after the other, and return the SHA-256 of what was written. OSError as ``open``.

    Half of a surrogate pair, which only a rejected row can hold, becomes its escape in JSON.
    """
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for text in rows.texts() if isinstance(rows, EncodedRows) else map(encoded, rows):
            line = text.encode(errors="backslashreplace") + b"\n"
            digest.update(line)
            file.write(line)
    return digest.hexdigest()


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    with atomic(path) as temporary:
        write_rows(temporary, rows)


def append_jsonl(path: Path, row: Row) -> None:
    """Add a row at the end of the file, after the line end that a last line may lack."""
    refuse_links(path.parent, [path.name])
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_RDWR, 0o666), "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}", exit_code=4) from None


def read_json(path: Path, made_by: str) -> Row:
    """The JSON object in ``path``; ``made_by`` is the command that writes it, for the UserError if it is missing or damaged."""
    if is_special(path):
        raise UserError(f"{path}: not a regular file (run again: {made_by})")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found (run: {made_by})") from None
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror} (make it readable for this user)") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error} (run again: {made_by})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object (run again: {made_by})")
    return value


_LONGEST = 64 << 20  # bytes of a line, which is read as a whole
_RAW = 10_000  # bytes kept of a line with a problem


class Line(NamedTuple):
    number: int  # from 1
    row: Row | None  # None for a blank line and for a line with a problem
    problem: str = ""
    text: str = ""  # the beginning of a line with a problem


def json_lines(path: Path) -> Iterator[Line]:
    """Each line of the file with its row, or with its problem. UserError if the file cannot be read."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b""), start=1):
                if len(line) == _LONGEST and not line.endswith(b"\n"):
                    raise UserError(f"{path}:{number}: a line of more than {_LONGEST >> 20} MB, which is no row")
                read = _line(number, line)
                text = line[:_RAW].decode(errors="backslashreplace").rstrip() if read.problem else ""
                yield read._replace(text=text)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _line(number: int, line: bytes) -> Line:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        row = json.loads(text, parse_constant=_no_constant) if text else None
        if row is None and text != "null":
            return Line(number, None)
        if b"\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return Line(number, None, "half of a surrogate pair (\\ud800 to \\udfff without its other half)")
    except UnicodeDecodeError:
        return Line(number, None, "not UTF-8 text (save the file as UTF-8)")
    except (ValueError, RecursionError) as error:
        return Line(number, None, f"not JSON: {error}")
    if not isinstance(row, dict):
        return Line(number, None, "not a JSON object (one row a line, in braces)")
    return Line(number, row)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def read_jsonl(path: Path) -> list[tuple[int, Row]]:
    """The file's rows with their line numbers from 1, without blank lines. UserError names the first bad line."""
    rows = []
    for line in json_lines(path):
        if line.problem:
            raise UserError(f"{path}:{line.number}: {line.problem}")
        if line.row is not None:
            rows.append((line.number, line.row))
    return rows


def is_special(path: Path) -> bool:
    """Whether there is a pipe, a socket or a device: reading it could wait, or go on, for ever."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):  # whoever opens it will say so
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def file_hash(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
