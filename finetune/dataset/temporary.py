"""The folder for temporary files, where rows are kept while they are checked: what is said if it is full."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from finetune.errors import UserError

_OF_THE_DISK = ("SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_READONLY")


@contextmanager
def told() -> Iterator[None]:
    """UserError (exit 4) if a temporary file or database cannot be written."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, OSError):
            what = error.strerror or str(error)
        else:
            name = getattr(error, "sqlite_errorname", "")
            if not name.startswith(_OF_THE_DISK):
                raise
            what = "no space left" if name == "SQLITE_FULL" else str(error)
        raise UserError(
            f"{_folder()}: cannot be written: {what} (rows are kept there while they are checked: free some space, or set"
            " TMPDIR to another folder)",
            exit_code=4,
        ) from None


def _folder() -> str:
    """Where SQLite keeps its temporary files; Python's are in the second and later ones."""
    folders = (*map(os.environ.get, ("SQLITE_TMPDIR", "TMPDIR")), "/var/tmp", "/usr/tmp", "/tmp")
    return next((name for name in folders if name and os.access(name, os.W_OK | os.X_OK)), ".")
