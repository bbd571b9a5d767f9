"""Training states to resume from. Each is a folder of its own: complete and hashed, or not there at all."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from finetune.errors import UserError
from finetune.records import files, lock

_KEEP = 2


class Checkpoint(NamedTuple):
    """A whole training state: its folder, and what ``fill`` had put into state.json."""

    folder: Path
    content: Mapping[str, Any]


def write(folder: Path, name: str, fill: Callable[[Path], Mapping[str, object]]) -> None:
    """Save a training state as ``folder/name``: ``fill`` writes its files into a folder and returns what goes into state.json.

    The folder gets its name when everything in it is on the disk. One older state is kept. Names sort by age.
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
        shutil.rmtree(folder / name, ignore_errors=True)  # the same step once more, after a state that was refused
        temporary.rename(folder / name)
        files.fsync(folder)
        for old in _states(folder)[:-_KEEP]:
            shutil.rmtree(old)
    except OSError as error:
        raise UserError(f"{folder / name}: cannot be written: {error.strerror}", exit_code=4) from None


def newest(folder: Path, say: Callable[[str], None]) -> Checkpoint:
    """The newest undamaged training state; ``say`` is called with a warning about each damaged one.

    UserError: exit 2 if there is none, exit 3 if all are damaged.
    """
    states = _states(folder) if folder.is_dir() else []
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
        with ExitStack() as stack:
            try:
                is_ours = stack.enter_context(lock.held(path))
            except OSError as error:
                raise UserError(f"{path}: cannot be locked: {error.strerror}", exit_code=4) from None
            if not is_ours:
                raise UserError(
                    f"{folder}: another run is writing here, process {lock.holder(path)} (use another --adapter-path)"
                )
            yield
    finally:
        if made:
            with suppress(OSError):  # not empty, or somebody has removed it
                folder.rmdir()


def _states(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _clear(folder: Path) -> None:
    """Remove half-written training states of a killed process."""
    for path in folder.glob(".*.tmp"):
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
