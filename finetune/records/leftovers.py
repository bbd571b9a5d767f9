"""Temporary files of processes that were killed while they wrote: see ``files.atomic``."""

import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

_IDLE = 60  # seconds without a write: the process may run on another machine that shares the folder
_LONGEST = 40  # characters, of up to four bytes each


def name_for(path: Path) -> str:
    """A name for the temporary file of one write of ``path``, which nobody can have foreseen.

    The suffix stays last: mx.save_safetensors and others choose the format by it.
    """
    stem, suffix = _parts(path)
    return f".{stem}.{os.getpid()}.{secrets.token_hex(4)}.tmp{suffix}"


def remove(path: Path) -> None:
    """Remove the temporary files of earlier writes of ``path`` whose process is gone; no other file."""
    stem, suffix = map(re.escape, _parts(path))
    ours = re.compile(rf"\.{stem}\.([0-9]+)(\.[0-9a-f]{{8}})?\.tmp{suffix}")  # older versions had no random part
    with suppress(OSError):  # whatever is wrong with the folder, the write itself says it
        for other in path.parent.iterdir():
            match = ours.fullmatch(other.name)
            if match and not _is_alive(int(match[1])) and time.time() - other.lstat().st_mtime > _IDLE:
                other.unlink()


def _parts(path: Path) -> tuple[str, str]:
    """The name without the suffix, and the suffix; so short that a longer name still fits the limit of 255 bytes."""
    return path.stem[:_LONGEST], path.suffix[:_LONGEST]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # of another user; no number of a process
        pass
    return True
