"""Paths for libraries written in C++ or Rust: they take UTF-8 alone, but the names of files on Linux can be any bytes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def plain_path(path: Path) -> Iterator[str]:
    """A path that leads to ``path``, as text that such a library can open while the block runs.

    That is ``path`` itself, unless its name is no UTF-8, or Python reads it as another text than UTF-8 because of the locale.
    Then it is one below /proc, through the open folder. The last part of a file's path, which is ours to name, stays.
    """
    if os.fsencode(path) == str(path).encode(errors="replace"):
        yield str(path)
        return
    is_folder = path.is_dir()
    folder = os.open(path if is_folder else path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}" if is_folder else f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
