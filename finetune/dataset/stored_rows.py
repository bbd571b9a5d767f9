"""The rows of a split as a sequence. They stay on the disk, and each is read when it is asked for."""

import json
import operator
from collections.abc import Iterator, Sequence
from typing import overload

from finetune.dataset.store import Store
from finetune.records.files import EncodedRows, Row


class StoredRows(EncodedRows):
    """The rows of one split of a store, once all are divided; of one source if it is given."""

    def __init__(self, store: Store, part: str, source: int | None = None):
        self._store, self._part, self._source = store, part, source
        self._length = store.taken(source, part)

    def texts(self) -> Iterator[str]:
        return self._store.texts(self._part, self._source)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Row]:
        return map(json.loads, self.texts())

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        chosen = range(self._length)[at]
        if isinstance(chosen, int):
            return next(map(json.loads, self._store.texts(self._part, self._source, chosen, 1)))
        if chosen.step != 1:
            return [self[one] for one in chosen]
        return list(map(json.loads, self._store.texts(self._part, self._source, chosen.start, len(chosen))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]
