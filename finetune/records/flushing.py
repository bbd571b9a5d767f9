"""What is written is on the disk before it counts: a file, and the names in a folder."""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

_REFUSED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # what a file system cannot do


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; for a folder, only where its file system can do that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _flush(descriptor)
    except OSError as error:
        if error.errno not in _REFUSED or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    """On macOS fsync leaves what the drive has in its own cache, which a power cut takes. Some volumes refuse to flush it."""
    if (everything := getattr(fcntl, "F_FULLFSYNC", None)) is not None:
        with suppress(OSError):
            fcntl.fcntl(descriptor, everything)
            return
    os.fsync(descriptor)
