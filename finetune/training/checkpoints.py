"""Training states to resume from. Each is a folder of its own: complete and hashed, or not there at all."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from finetune.errors import UserError
from finetune.records import files, lock

_KEEP = 2
_NAME = re.compile(r"\d{7,}-\d{4,}")


class Checkpoint(NamedTuple):
    """A whole training state: its folder, and what ``fill`` had put into state.json."""

    folder: Path
    content: Mapping[str, Any]


def write(folder: Path, name: str, fill: Callable[[Path], Mapping[str, object]]) -> None:
    """Save a training state as ``folder/name``: ``fill`` writes its files into a folder and returns what goes into state.json.

    The folder gets its name, which is ``step-batch`` in digits and sorts by age, when everything in it is on the disk. One
    older state is kept; what else lies in ``folder`` stays.
    """
    temporary = folder / f".{name}.tmp"
    try:
        folder.mkdir(exist_ok=True)
        _clear(folder)
        temporary.mkdir()
        content = fill(temporary)
        hashes = {path.name: files.file_hash(path) for path in sorted(temporary.iterdir())}
        manifest = {**content, "files": hashes}
        files.write_json(temporary / files.STATE_RECORD, {**manifest, "sha256": _hash(manifest)})
        if (folder / name / files.STATE_RECORD).exists():  # the same step once more, after a state that was refused
            _remove(folder / name, also=hashes)
        temporary.rename(folder / name)
        files.fsync(folder)
        for old in _states(folder)[:-_KEEP]:
            _remove(old)
    except OSError as error:
        raise UserError(f"{folder / name}: cannot be written: {error.strerror}", exit_code=4) from None


def newest(folder: Path, say: Callable[[str], None]) -> Checkpoint:
    """The newest undamaged training state; ``say`` is called with a warning about each damaged one.

    UserError: exit 2 if there is none, or if something else has the name of one; exit 3 if all are damaged.
    """
    check(folder)  # the run would stop when it needs the name
    states = _states(folder)
    if not states:
        raise UserError(f"{folder}: nothing to resume here (start a run without --resume)")
    for state in reversed(states):
        try:
            return Checkpoint(state, _verified(state))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            say(f"Warning: {state} is damaged and skipped: {error}")
    raise UserError(f"{folder}: every training state is damaged (start a new run without --resume)", exit_code=3)


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold the folder for this process, and make it if need be; UserError if another run holds it.

    A killed process holds nothing. If nothing was written, the folder is afterwards as it was before.
    """
    path, made = folder / ".lock", not folder.exists()
    files.make_folder(folder)
    try:
        with lock.demanded(
            path, f"{folder}: another run is writing here, process {{holder}} (use another --adapter-path)"
        ):
            yield
    finally:
        if made:
            with suppress(OSError):  # not empty, or somebody has removed it
                folder.rmdir()


def check(folder: Path) -> None:
    """UserError if something else has the name of a training state; an empty folder is the rest of one."""
    named = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    for path in sorted({*named} - {*_states(folder)}):
        if not path.is_dir() or path.is_symlink() or any(path.iterdir()):
            raise UserError(f"{path}: named like a training state, but without its state.json (move it away)")


def exist(folder: Path) -> bool:
    """Whether there is a training state, whole or damaged."""
    return bool(_states(folder))


def move(folder: Path, target: Path) -> None:
    """Move the training states to another folder; the old one goes if nothing else is in it. OSError if it cannot be done."""
    for state in _states(folder):
        target.mkdir(exist_ok=True)
        state.rename(target / state.name)
    _clear(folder)
    with suppress(OSError):
        folder.rmdir()


def remove_all(folder: Path) -> None:
    """Remove the training states, and the folder if nothing else is in it."""
    for state in _states(folder):
        _remove(state)
    _clear(folder)
    with suppress(OSError):
        folder.rmdir()


def _states(folder: Path) -> list[Path]:
    """What was written here, by its exact name and with its record in it; never what only a link leads to."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if _NAME.fullmatch(path.name) and not path.is_symlink() and (path / files.STATE_RECORD).is_file()
    )


def _remove(state: Path, also: Iterable[str] = ()) -> None:
    """Remove the files that the record of a state names, and the folder if nothing else is in it.

    ``also``: further names, for a record that is damaged.
    """
    try:
        names = set(json.loads((state / files.STATE_RECORD).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        names = set()
    for name in {*names, *also}:
        if isinstance(name, str) and Path(name).name == name:  # never a path that leads elsewhere
            (state / name).unlink(missing_ok=True)
    (state / files.STATE_RECORD).unlink(missing_ok=True)
    with suppress(OSError):
        state.rmdir()


def _clear(folder: Path) -> None:
    """Remove half-written training states of a killed process."""
    for path in folder.glob(".*.tmp"):
        if _NAME.fullmatch(path.name[1:-4]) and not path.is_symlink():
            shutil.rmtree(path)


def _verified(state: Path) -> Mapping[str, Any]:
    manifest = dict(json.loads((state / files.STATE_RECORD).read_text(encoding="utf-8")))
    if manifest.pop("sha256") != _hash(manifest):
        raise ValueError(f"{files.STATE_RECORD} differs from what was written")
    for name, wanted in manifest["files"].items():
        if files.file_hash(state / name) != wanted:
            raise ValueError(f"{name} differs from what was written")
    return manifest


def _hash(manifest: Mapping[str, object]) -> str:
    return files.text_hash(json.dumps(manifest, sort_keys=True))
