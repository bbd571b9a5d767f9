"""Rows that are read once and looked at several times: they wait in a temporary file, so that memory stays the same."""

import pickle
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import IO

from finetune.dataset.readers.sourced import SourcedRow
from finetune.dataset.temporary import told


class Spooled(Iterable[SourcedRow]):
    """The rows of a source, to be iterated any number of times, one after the other. UserError (exit 4) if the disk is full.

    The temporary file has no name, so nothing is left however the process ends.
    """

    def __init__(self, rows: Iterable[SourcedRow]):
        with told():
            self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self.count = 0
        for row in rows:
            content = pickle.dumps(row)
            with told():
                self._file.write(content)
            self.count += 1

    def __iter__(self) -> Iterator[SourcedRow]:
        with told():
            self._file.seek(0)
        for _ in range(self.count):
            yield pickle.load(self._file)
