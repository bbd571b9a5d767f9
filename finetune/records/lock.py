"""The one lock: what a single process at a time may do. The system takes it from a process that ends, however it ends."""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from finetune.errors import UserError
from finetune.terminal import say

# how a file system says that it has no locks: some shares, and NFS without its lock daemon
_NO_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS)
_OURS = re.compile(rb"([0-9]{1,20}\n?)?")  # older versions wrote no line end


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold ``path`` during the block; the block gets False if another process, or another block, holds it.

    ``path`` is the lock's own file: it is made, holds the number of the process, and is removed at the end. Do not lock a file
    with content: when it is replaced by renaming, two processes can each hold one of the two. OSError if ``path`` cannot be
    opened, is a link or a file of something else, or if its file system has no locks.
    """
    descriptor = _take(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    if descriptor is None:
        yield False
        return
    if not _OURS.fullmatch(os.read(descriptor, 30)):
        os.close(descriptor)
        raise OSError(errno.EEXIST, "something else has the name of our lock (move it away)")
    try:
        os.truncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield True
    finally:
        if _is_at(descriptor, path):
            with suppress(OSError):
                path.unlink()
        os.close(descriptor)


@contextmanager
def demanded(path: Path, taken: str) -> Iterator[None]:
    """Hold ``path`` during the block. UserError ``taken``, in which {holder} is a process, if another one holds it.

    Where the file system has no locks that is said, and the block runs without one.
    """
    with ExitStack() as stack:
        try:
            is_ours = stack.enter_context(held(path))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise UserError(f"{path}: cannot be locked: {error.strerror}", exit_code=4) from None
            say(
                f"Warning: {path.parent}: its file system has no locks: nothing keeps a second process from writing here too."
            )
            is_ours = True
        if not is_ours:
            raise UserError(taken.replace("{holder}", holder(path) or "unknown"))
        yield


@contextmanager
def held_folder(path: Path) -> Iterator[bool]:
    """Hold a folder that exists, as ``held`` does but without a file of its own. OSError as there, also if it is gone."""
    descriptor = _take(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def share_folder(path: Path) -> None:
    """Keep others from holding a folder until this process ends; without effect where it cannot be locked."""
    with suppress(OSError):
        fcntl.flock(os.open(path, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_SH | fcntl.LOCK_NB)


def is_held(path: Path) -> bool:
    """Whether another process holds a lock on a file, whoever made it; False if that cannot be told."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


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
            if flags & os.O_CREAT and not os.fstat(descriptor).st_size:  # made for nothing
                with suppress(OSError):
                    path.unlink()
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
