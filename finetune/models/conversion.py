"""A GGUF file is converted once: the folder made from it stays in the cache under its name and its hash.

A folder counts when its record is there and every file has the size that the record says. It appears by one
rename, so a crash leaves no half of one, and two processes may convert the same file at once. The folder that a conversion
works in is held by it: what nobody holds is what a killed one has left.
"""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from finetune.cli import UserError
from finetune.models.gguf import convert

RECORD = "conversion.json"
WORK_PREFIX = ".converting-"  # of the folders that conversions work in
VERSION = 1  # of what the converter writes; raise it when that changes, and old folders are made anew


def convert_once(gguf: Path, sha256: str, models: Path, say: Callable[[str], None]) -> Path:
    """The model folder made from ``gguf``, below ``models``.

    Raises ``UserError``: exit 2 for a file that is not understood, 4 where the cache cannot be written.
    """
    if folder := converted_folder(models, gguf.name, sha256):
        return folder
    say(f"Preparing {gguf.name} (once) ...")
    try:
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=models) as work, held(Path(work)):
            draft = Path(work) / "model"
            draft.mkdir()
            convert(gguf, draft)
            files = {file.name: file.stat().st_size for file in draft.iterdir()}
            record = {"from": gguf.name, "sha256": sha256, "version": VERSION, "files": files}
            (draft / RECORD).write_text(json.dumps(record, indent=2) + "\n")
            for path in [*draft.iterdir(), draft]:
                _fsync(path)
            return _publish(draft, models, gguf.name, sha256)
    except OSError as error:
        raise UserError(
            f"{models}: cannot be written: {error.strerror} (make room, or set FINETUNE_CACHE elsewhere)",
            exit_code=4,
        ) from None


def converted_folder(models: Path, name: str, sha256: str) -> Path | None:
    """The folder of an earlier conversion, if it is whole and of this version of the converter."""
    folder = folder_of(models, name, sha256)
    try:
        record = json.loads((folder / RECORD).read_text())
        sizes = {file: (folder / file).stat().st_size for file in record["files"]}
        is_whole = sizes == record["files"] and (record["sha256"], record["version"]) == (sha256, VERSION)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if is_whole else None


@contextlib.contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Hold the folder during the block; False where another process holds it. A killed process holds nothing."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        except OSError:
            is_ours = False
        yield is_ours
    finally:
        os.close(descriptor)


def folder_of(models: Path, name: str, sha256: str) -> Path:
    """Where the folder made from the GGUF file of this name and hash belongs, whether it is there or not."""
    return models / f"{Path(name).stem}-{sha256[:12]}"


def _publish(draft: Path, models: Path, name: str, sha256: str) -> Path:
    folder = folder_of(models, name, sha256)
    try:
        draft.rename(folder)
    except OSError:
        if converted_folder(models, name, sha256):
            return folder  # another process was faster
        with contextlib.suppress(FileNotFoundError):
            folder.rename(draft.with_name("replaced"))
        draft.rename(folder)
    _fsync(models)
    return folder


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
