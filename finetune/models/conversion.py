"""The cache of converted models: what MLX cannot read is converted once, into a folder by name and revision.

The revision is the commit of a model from the Hub, and otherwise the SHA-256 of what is converted.

A folder is valid if it has a record and every file has the size in that record. It appears by one rename, so a crash leaves
no half-written folder, and two processes can convert the same model at once. A conversion holds a lock on the folder that it
works in; a folder without a lock is the leftover of a killed conversion.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from finetune.errors import UserError
from finetune.records import files
from finetune.records.lock import held_folder
from finetune.records.plain_path import plain_path

RECORD = "conversion.json"
REVISION = "sha256"  # the key in the record, also of a commit: existing caches have it
WORK_PREFIX = ".converting-"  # how the names of the folders that conversions work in begin
VERSION = 1  # raise it when the converter writes something else: old folders are then converted again


def convert_once(
    name: str, revision: str, models: Path, convert: Callable[[Path], None], say: Callable[[str], None]
) -> Path:
    """The converted model's folder in ``models``. ``convert`` is called with an empty folder to fill if there is none yet.

    ``say`` is told before a conversion. UserError (exit 2) from ``convert`` for a model that it does not support, (exit 4) if
    the cache cannot be written.
    """
    if folder := converted_folder(models, name, revision):
        return folder
    say(f"Preparing {name} (once) ...")
    try:
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=models) as work, _in_use(Path(work)):
            draft = Path(work) / "model"
            draft.mkdir()
            with plain_path(draft) as plain:
                convert(Path(plain))
            sizes = {file.name: file.stat().st_size for file in draft.iterdir()}
            record = {"from": name, REVISION: revision, "version": VERSION, "files": sizes}
            (draft / RECORD).write_text(json.dumps(record, indent=2) + "\n")
            for path in [*draft.iterdir(), draft]:
                files.fsync(path)
            return _publish(draft, models, name, revision)
    except OSError as error:
        raise UserError(
            f"{models}: cannot be written: {error.strerror} (free some space, or set FINETUNE_CACHE to another folder)",
            exit_code=4,
        ) from None


def converted_folder(models: Path, name: str, revision: str) -> Path | None:
    """The folder of an earlier conversion; None if there is none, or it is incomplete or from another converter version."""
    folder = folder_of(models, name, revision)
    try:
        record = json.loads((folder / RECORD).read_text())
        sizes = {file: (folder / file).stat().st_size for file in record["files"]}
        is_whole = sizes == record["files"] and (record[REVISION], record["version"]) == (revision, VERSION)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if is_whole else None


def folder_of(models: Path, name: str, revision: str) -> Path:
    """The path of the folder for this name and revision, whether it exists or not.

    ``name`` is that of a GGUF file, a folder or a repository, whose slash becomes two dashes, as in the Hub's cache.
    """
    stem = Path(name).stem if name.lower().endswith(".gguf") else name.replace("/", "--")
    return models / f"{stem}-{revision[:12]}"


def _publish(draft: Path, models: Path, name: str, revision: str) -> Path:
    folder = folder_of(models, name, revision)
    try:
        draft.rename(folder)
    except OSError:
        if converted_folder(models, name, revision):
            return folder  # another process was faster
        with contextlib.suppress(FileNotFoundError):
            folder.rename(draft.with_name("replaced"))
        draft.rename(folder)
    files.fsync(models)
    return folder


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Hold the folder, so that it is not taken for a leftover; a cache on a file system without locks works all the same."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(held_folder(folder))
        yield
