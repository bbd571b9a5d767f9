"""What MLX cannot read as it is is converted once: the folder made from it stays in the cache, by name and revision.

The revision is a SHA-256 of what the folder is made from, or for a model of the Hub the commit.

A folder counts when its record is there and every file has the size that the record says. It appears by one
rename, so a crash leaves no half of one, and two processes may convert the same file at once. The folder that a conversion
works in is held by it: what nobody holds is what a killed one has left.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from finetune.errors import UserError
from finetune.records import files
from finetune.records.lock import held

RECORD = "conversion.json"
REVISION = "sha256"  # the key in the record, of a commit too: the folders in people's caches have it
WORK_PREFIX = ".converting-"  # of the folders that conversions work in
VERSION = 1  # of what the converter writes; raise it when that changes, and old folders are made anew


def convert_once(
    name: str, revision: str, models: Path, convert: Callable[[Path], None], say: Callable[[str], None]
) -> Path:
    """The model folder below ``models`` that ``convert`` has filled, now or an earlier time.

    ``convert`` gets an empty folder. Raises what it raises (``UserError``, exit 2, for what is not understood), and
    ``UserError`` with exit 4 where the cache cannot be written.
    """
    if folder := converted_folder(models, name, revision):
        return folder
    say(f"Preparing {name} (once) ...")
    try:
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=models) as work, held(Path(work)):
            draft = Path(work) / "model"
            draft.mkdir()
            convert(draft)
            sizes = {file.name: file.stat().st_size for file in draft.iterdir()}
            record = {"from": name, REVISION: revision, "version": VERSION, "files": sizes}
            (draft / RECORD).write_text(json.dumps(record, indent=2) + "\n")
            for path in [*draft.iterdir(), draft]:
                files.fsync(path)
            return _publish(draft, models, name, revision)
    except OSError as error:
        raise UserError(
            f"{models}: cannot be written: {error.strerror} (make room, or set FINETUNE_CACHE elsewhere)",
            exit_code=4,
        ) from None


def converted_folder(models: Path, name: str, revision: str) -> Path | None:
    """The folder of an earlier conversion, if it is whole and of this version of the converter."""
    folder = folder_of(models, name, revision)
    try:
        record = json.loads((folder / RECORD).read_text())
        sizes = {file: (folder / file).stat().st_size for file in record["files"]}
        is_whole = sizes == record["files"] and (record[REVISION], record["version"]) == (revision, VERSION)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if is_whole else None


def folder_of(models: Path, name: str, revision: str) -> Path:
    """Where the folder made from what has this name and revision belongs, whether it is there or not.

    ``name`` is that of a GGUF file, of a folder, or of a repository, whose slash becomes two dashes as in the Hub's cache.
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
