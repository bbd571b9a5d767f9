"""Temporary files of processes that were killed while they wrote: see ``files.atomic``."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\..+\.([0-9]+)\.tmp(\.[^.]+)?")
_IDLE = 60  # seconds without a write: the process may run on another machine that shares the folder


def remove(folder: Path) -> None:
    """Remove from ``folder`` the temporary files whose process is gone."""
    with suppress(OSError):  # whatever is wrong with the folder, the write itself says it
        for path in folder.iterdir():
            match = _TEMPORARY.fullmatch(path.name)
            if match and not _is_alive(int(match[1])) and time.time() - path.stat().st_mtime > _IDLE:
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # of another user; no number of a process
        pass
    return True
