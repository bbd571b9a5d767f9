"""A private temporary SQLite database; what is said if the disk is full."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from finetune.dataset.temporary import told

_CACHE = 32_768  # kilobytes of the database in memory


class Database:
    """SQLite removes the name of its temporary file as soon as it has opened it, so nothing is left however the process ends.

    The file is in the folder for temporary files (``TMPDIR``)."""

    def __init__(self, tables: str):
        with told():
            self._db = sqlite3.connect("", isolation_level=None)
            self._db.executescript(f"PRAGMA cache_size = -{_CACHE};{tables}BEGIN")

    def _run(self, sql: str, *values: object) -> sqlite3.Cursor:
        with told():
            return self._db.execute(sql, values)

    def _many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        with told():
            self._db.executemany(sql, rows)

    def _select(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """The rows of a query. The table may not change before all of them are read."""
        with told():
            yield from self._db.execute(sql, values)
