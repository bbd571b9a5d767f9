"""A folder that appears as a whole or not at all: it is filled under another name, and renamed when it is complete."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from finetune.errors import UserError
from finetune.records import files
from finetune.records.lock import held_folder
from finetune.terminal import format_bytes

_INNER = "exported"  # the only thing in a folder that an export works in
_SPARE = 1 << 20  # bytes for what is small beside the weights


def demand_new(output: Path, flag: str = "--output") -> None:
    """UserError if ``output`` is there, unless it is an empty folder."""
    if output.is_symlink() or (output.exists() and (not output.is_dir() or any(output.iterdir()))):
        raise UserError(f"{flag}: {output} already exists (use a new or an empty folder)")


@contextmanager
def draft(output: Path) -> Iterator[Path]:
    """An empty folder that becomes ``output`` when the block ends, and is removed if the block raises.

    What earlier exports to the same place left behind when they were killed is removed first. UserError (exit 4) if it cannot
    be written.
    """
    demand_new(output)
    files.make_folder(output.parent)
    prefix = f".exporting-{output.name[:100]}-"
    _remove_leftovers(output.parent, prefix)
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=prefix) as work, _held(Path(work)):
            folder = Path(work) / _INNER
            folder.mkdir()
            yield folder
            for path in [*folder.iterdir(), folder]:
                files.fsync(path)
            folder.rename(output)
            files.fsync(output.parent)
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(output.parent)):
            raise
        raise UserError(f"{output}: cannot be written: {error.strerror or error}", exit_code=4) from None


def demand_room(folder: Path, output: Path, needed: int) -> None:
    """UserError (exit 4), before anything is written, if the disk of ``folder`` has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if needed + _SPARE > free:
        raise UserError(
            f"{output}: needs {format_bytes(needed)}, and the disk has {format_bytes(free)} free (free some space, or name"
            " another disk with --output)",
            exit_code=4,
        )


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with suppress(OSError):  # a file system without locks
            stack.enter_context(held_folder(folder))
        yield


def _remove_leftovers(parent: Path, prefix: str) -> None:
    """Remove folders of ours that no process holds and that hold nothing but what an export writes."""
    with suppress(OSError):
        for path in parent.glob(f"{prefix}*"):
            if path.is_symlink() or not path.is_dir() or [one.name for one in path.iterdir()] not in ([], [_INNER]):
                continue
            with held_folder(path) as is_free:
                if is_free:
                    shutil.rmtree(path)
