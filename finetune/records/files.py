"""The files between the stages: every name, every read and write. Writes are atomic; what is written says what made it."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from finetune.errors import UserError

SPLITS = ("train", "valid", "test")
DATASET_RECORD = "dataset.json"
ADAPTERS = "adapters.safetensors"
PEFT_ADAPTERS = "adapter_model.safetensors"  # as PEFT names them
ADAPTER_CONFIG = "adapter_config.json"
START = "start.safetensors"  # the adapters that the run went on from
RUN_RECORD = "run.json"
TRAINING_CONFIG = "training_config.txt"
METRICS = "metrics.jsonl"
CURVE = "loss.png"
STATE = "state"
STATE_RECORD = "state.json"
REJECTED = "rejected.jsonl"
LENGTHS = "lengths.png"
EVALUATION = "evaluation.json"
ANSWERS = "answers.jsonl"  # of an evaluation that is under way
BENCHMARK_ANSWERS = "benchmark_answers.jsonl"
BENCHMARK = "benchmark.json"
BENCHMARK_TABLE = "benchmark.csv"
HISTORY = "history"  # earlier benchmark.json files
REPORT = "report.html"

Row = dict[str, Any]


def split_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.jsonl"


def make_folder(folder: Path) -> None:
    """Create the folder, or say that it cannot be written (exit 4) before any work is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise UserError(f"{folder}: cannot be written: it is a file", exit_code=4) from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}", exit_code=4) from None


def check_targets(folder: Path, names: Iterable[str]) -> None:
    """UserError (exit 4), before any work is done, where something that is no file has the name of one to be written."""
    make_folder(folder)
    for name in names:
        if (folder / name).is_dir():
            raise UserError(f"{folder / name}: cannot be written: it is a folder", exit_code=4)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that becomes ``path`` when the block ends well, and vanishes when it does not.

    After a crash at any moment ``path`` is the old file or the new one, never half of one.
    """
    # the suffix stays last: writers such as mx.save_safetensors choose the format by it
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}", exit_code=4) from None
    finally:
        temporary.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        # the name of a file may hold bytes that are no text
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """A row a line. Half a character, which only a rejected row may hold, becomes its escape in JSON."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def append_jsonl(path: Path, row: Row) -> None:
    """Add a row at the end of the file; a last line that lacks its end gets it first."""
    try:
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}", exit_code=4) from None


def read_json(path: Path, made_by: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    """A record that an earlier stage wrote, with these keys; ``made_by`` is the command that would make it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found (run: {made_by})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error} (run again: {made_by})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a record (run again: {made_by})")
    if missing := [key for key in keys if key not in value]:
        raise UserError(f"{path}: no {', '.join(missing)} in it (run again: {made_by})")
    return value


_RAW = 10_000  # bytes kept of a line that is no row


class Line(NamedTuple):
    number: int  # from 1
    row: Row | None  # None for a blank line too
    problem: str = ""
    text: str = ""  # of a line with a problem, its beginning


def json_lines(path: Path) -> Iterator[Line]:
    """Each line of the file with its row, or with what is wrong with it. UserError where the file cannot be read."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                read = _line(number, line)
                yield (
                    read._replace(text=line[:_RAW].decode(errors="backslashreplace").rstrip()) if read.problem else read
                )
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
        return Line(number, None, "half a character (a \\ud800 to \\udfff without its other half)")
    except UnicodeDecodeError:
        return Line(number, None, "not UTF-8 text (save the file as UTF-8)")
    except (ValueError, RecursionError) as error:
        return Line(number, None, f"not JSON: {error}")
    if not isinstance(row, dict):
        return Line(number, None, "not a JSON object (one row a line, in braces)")
    return Line(number, row)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def read_jsonl(path: Path) -> list[tuple[int, Row]]:
    """The file's rows with their line numbers from 1; blank lines are passed over. UserError names the first bad line."""
    rows: list[tuple[int, Row]] = []
    for line in json_lines(path):
        if line.problem:
            raise UserError(f"{path}:{line.number}: {line.problem}")
        if line.row is not None:
            rows.append((line.number, line.row))
    return rows


def file_hash(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
