"""The one lock: what a single process at a time may do. The system takes it from a process that ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold ``path`` during the block; the block gets False if another process, or another block, holds it.

    ``path`` is the lock's own file: it is made, holds the number of the process, and is removed at the end. Do not lock a file
    with content: when it is replaced by renaming, two processes can each hold one of the two. OSError if ``path`` cannot be
    opened, or if its file system has no locks.
    """
    descriptor = _take(path, os.O_RDWR | os.O_CREAT)
    if descriptor is None:
        yield False
        return
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield True
    finally:
        if _is_at(descriptor, path):
            with suppress(OSError):
                path.unlink()
        os.close(descriptor)


@contextmanager
def held_folder(path: Path) -> Iterator[bool]:
    """Hold a folder that exists, as ``held`` does but without a file of its own. OSError as there, also if it is gone."""
    descriptor = _take(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def holder(path: Path) -> str:
    """The number of the process that holds a lock's own file; empty if it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def _take(path: Path, flags: int) -> int | None:
    """A descriptor that holds ``path``; None if another one does."""
    while True:
        descriptor = os.open(path, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its holder removed it between the two calls: take the one that is there now


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
