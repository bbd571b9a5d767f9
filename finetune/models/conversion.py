"""The cache of converted models: what MLX cannot read is converted once, into a folder by name and revision.

The revision is the commit of a model from the Hub, and otherwise the SHA-256 of what is converted.

A folder is valid if it has a record and every file has the size and the SHA-256 in that record. It appears by one rename, so a
crash leaves no half-written folder, and two processes can convert the same model at once. A conversion holds a lock on the
folder that it works in; a folder without a lock is the leftover of a killed conversion.
"""

import json
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from finetune.errors import UserError
from finetune.records import files
from finetune.records.lock import held_folder, share_folder
from finetune.records.plain_path import plain_path

RECORD = "conversion.json"
REVISION = "sha256"  # the key in the record, also of a commit: existing caches have it
_COMPARED = "logits_difference"
WORK_PREFIX = ".converting-"  # how the names of the folders that conversions work in begin
_MODEL, _REPLACED, REMOVED = "model", "replaced", "removed"  # what may be in such a folder
WORK_FOLDERS = {_MODEL, _REPLACED, REMOVED}
_LARGE = 2e9  # bytes that take seconds to read
VERSION = 1  # raise it when the converter writes something else: old folders are then converted again


def convert_once(
    name: str, revision: str, models: Path, convert: Callable[[Path], None], say: Callable[[str], None]
) -> Path:
    """The converted model's folder in ``models``. ``convert`` is called with an empty folder to fill if there is none yet.

    ``say`` is told before a conversion. UserError (exit 2) from ``convert`` for a model that it does not support, (exit 4) if
    the cache cannot be written.
    """
    if folder := intact_folder(models, name, revision, say):
        return folder
    say(f"Preparing {name} (once) ...")
    try:
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=models) as work, _in_use(Path(work)):
            draft = Path(work) / _MODEL
            draft.mkdir()
            with plain_path(draft) as plain:
                convert(Path(plain))
            written = sorted(draft.iterdir())
            sizes = {file.name: file.stat().st_size for file in written}
            hashes = {file.name: files.file_hash(file) for file in written}
            record = {"from": name, REVISION: revision, "version": VERSION, "files": sizes, "hashes": hashes}
            (draft / RECORD).write_text(json.dumps(record, indent=2) + "\n")
            for path in [*draft.iterdir(), draft]:
                files.fsync(path)
            return _publish(draft, models, name, revision, say)
    except OSError as error:
        remedy = "free some space, or set FINETUNE_CACHE to another folder"
        raise UserError(f"{models}: cannot be written: {error.strerror or error} ({remedy})", exit_code=4) from None


def intact_folder(models: Path, name: str, revision: str, say: Callable[[str], None]) -> Path | None:
    """``converted_folder``, if its files have the hashes of its record too. They are read once in a process.

    ``say`` is told if they have not: the model must be converted again. The folder is then in use until the process ends.
    """
    if (folder := converted_folder(models, name, revision)) is None:
        return None
    key = (folder, (folder / RECORD).stat().st_mtime_ns)
    if key not in _checked:
        share_folder(folder)
        record = read_record(folder)
        if record and sum(record.sizes.values()) > _LARGE:
            say(f"Checking the files of {name} ...")
        damaged = [file for file, known in record.hashes.items() if _hash(folder / file) != known] if record else []
        if damaged:
            say(f"Warning: {folder}: {', '.join(damaged)} damaged since the conversion; converting again")
        _checked[key] = not damaged
    return folder if _checked[key] else None


_checked: dict[tuple[Path, int], bool] = {}  # whether it is intact, by the folder and the time of its record


def converted_folder(models: Path, name: str, revision: str) -> Path | None:
    """The folder of an earlier conversion; None if there is none, or it is incomplete or from another converter version.

    UserError if this user may not read it.
    """
    folder = folder_of(models, name, revision)
    try:
        record = read_record(folder)
        if record is None or (record.revision, record.version) != (revision, VERSION):
            return None
        is_whole = {file: (folder / file).stat().st_size for file in record.sizes} == record.sizes
    except PermissionError as error:
        remedy = "make it readable, or set FINETUNE_CACHE to another folder"
        raise UserError(f"{folder}: cannot be read: {error.strerror} ({remedy})") from None
    except OSError:
        return None
    return folder if is_whole else None


@dataclass(frozen=True)
class Conversion:
    """The record of a converted folder. ``sizes`` and ``hashes`` (SHA-256) are by file; older versions kept no hashes."""

    name: str
    revision: str
    version: int
    sizes: Mapping[str, int]
    hashes: Mapping[str, str]


def read_record(folder: Path) -> Conversion | None:
    """The record of a converted folder; None if it has none that can be read. PermissionError if this user may not."""
    path = folder / RECORD
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        sizes, hashes = dict(found["files"]), dict(found.get("hashes", {}))
        record = Conversion(found["from"], found[REVISION], found["version"], sizes, hashes)
        are_names = all(Path(file).name == file for file in [*sizes, *hashes])
        return record if are_names and folder_of(folder.parent, record.name, record.revision) == folder else None
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def was_compared(folder: Path) -> bool:
    """Whether a converted folder's record has how far its logits are from those of another library."""
    return _COMPARED in json.loads((folder / RECORD).read_text(encoding="utf-8"))


def note_comparison(folder: Path, difference: float) -> None:
    """Keep it in the record, in standard deviations of the logits; a cache that cannot be written is left as it is."""
    path = folder / RECORD
    with suppress(OSError):
        files.write_json(path, {**json.loads(path.read_text(encoding="utf-8")), _COMPARED: difference})
        _checked[folder, path.stat().st_mtime_ns] = True


def why_not_ours(folder: Path) -> str:
    """Why a folder in the cache is not ours to remove, as one clause; empty if a conversion wrote all that is in it."""
    if folder.is_symlink():
        return "it is a symbolic link"
    if (record := read_record(folder)) is None:
        return f"it has no {RECORD} of ours"
    others = sorted({path.name for path in folder.iterdir()} - {*record.sizes, RECORD})
    return f"no conversion wrote the {others[0]} in it" if others else ""


def folder_of(models: Path, name: str, revision: str) -> Path:
    """The path of the folder for this name and revision, whether it exists or not.

    ``name`` is that of a GGUF file, a folder or a repository, whose slash becomes two dashes, as in the Hub's cache.
    """
    stem = Path(name).stem if name.lower().endswith(".gguf") else name.replace("/", "--")
    return models / f"{stem}-{revision[:12]}"


def _publish(draft: Path, models: Path, name: str, revision: str, say: Callable[[str], None]) -> Path:
    folder = folder_of(models, name, revision)
    try:
        draft.rename(folder)
    except OSError:
        if intact_folder(models, name, revision, say):
            return folder  # another process was faster
        if folder.is_dir() and (why := why_not_ours(folder)):
            raise UserError(f"{folder}: will not be replaced: {why} (move it away)") from None
        with suppress(FileNotFoundError):
            folder.rename(draft.with_name(_REPLACED))
        draft.rename(folder)
    files.fsync(models)
    share_folder(folder)
    return folder


def _hash(path: Path) -> str | None:
    """The SHA-256 of a file; None if the disk does not give it back."""
    try:
        return files.file_hash(path)
    except OSError:
        return None


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Hold the folder, so that it is not taken for a leftover; a cache on a file system without locks works all the same."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(held_folder(folder))
        yield
