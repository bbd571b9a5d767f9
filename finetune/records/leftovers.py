"""Temporary files of processes that were killed while they wrote: see ``files.atomic``."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path

_IDLE = 60  # seconds without a write: the process may run on another machine that shares the folder


def remove(path: Path) -> None:
    """Remove the temporary files of earlier writes of ``path`` whose process is gone; no other file."""
    ours = re.compile(re.escape(f".{path.stem}.") + "([0-9]+)" + re.escape(f".tmp{path.suffix}"))
    with suppress(OSError):  # whatever is wrong with the folder, the write itself says it
        for other in path.parent.iterdir():
            match = ours.fullmatch(other.name)
            if match and not _is_alive(int(match[1])) and time.time() - other.stat().st_mtime > _IDLE:
                other.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # of another user; no number of a process
        pass
    return True
