"""Texts that are nearly the same, such as two tickets that differ in their number: they must not be in two splits.

Candidates share a band of their MinHash signatures (Broder 1997); those that share enough words belong together. The rows are
read as they come, and a few numbers of each are kept.
"""

from array import array
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from typing import Any

from finetune.tasks.words import words

_BANDS, _PER_BAND = 6, 4
_SAME = 0.8  # of the words of both texts
_FEWEST = 4  # different words; shorter texts are compared as they are
_MOST_WORDS = 400  # of a text
_MOST_TEXTS = 100_000


class NearTexts:
    """Finds texts that share four fifths of their words, numbers aside. Takes about a kilobyte for each of 100,000 at most."""

    def __init__(self) -> None:
        self.full = False  # there were more texts than are compared
        self._keys: list[bytes] = []
        self._words: list[array[int]] = []
        self._first: dict[int, int] = {}  # hash of a band -> the first text that has it
        self._same: dict[int, int] = {}  # text -> an earlier one that is nearly the same

    def add(self, key: bytes, text: str) -> None:
        """A text under a key; equal keys are one text."""
        if len(self._keys) >= _MOST_TEXTS:
            self.full = True
            return
        found = frozenset(_hashed(word) for word in words(text)[:_MOST_WORDS] if not word.isdigit())
        if len(found) < _FEWEST:
            return
        number = len(self._keys)
        self._keys.append(key)
        self._words.append(array("Q", found))
        others = [self._first.setdefault(band, number) for band in _bands(self._words[-1])]
        for other in dict.fromkeys(others):
            if other != number and self._alike(found, frozenset(self._words[other])):
                self._same[number] = self._top(other)
                return

    def links(self) -> Iterator[tuple[bytes, bytes]]:
        """A key, and that of the text with which it belongs together; keys of the same text are left out."""
        for number in self._same:
            one, other = self._keys[number], self._keys[self._top(number)]
            if one != other:
                yield one, other

    def _top(self, number: int) -> int:
        while number in self._same:
            number = self._same[number]
        return number

    @staticmethod
    def _alike(one: frozenset[int], other: frozenset[int]) -> bool:
        common = len(one & other)
        return common >= _SAME * (len(one) + len(other) - common)


def _hashed(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(errors="replace"), digest_size=8).digest())


@cache
def _factors() -> tuple[Any, Any]:
    """Of the hash functions x -> factor * x + shift, modulo 2^64: [functions, 1] odd factors, and shifts."""
    import numpy

    numbers = [[2 * (_hashed(f"factor {n}") >> 1) + 1, _hashed(f"shift {n}")] for n in range(_BANDS * _PER_BAND)]
    factors, shifts = numpy.array(numbers, numpy.uint64).T
    return factors[:, None], shifts[:, None]


def _bands(found: "array[int]") -> Iterator[int]:
    """A hash of the least values in each band."""
    import numpy

    factors, shifts = _factors()
    least = (numpy.frombuffer(found, numpy.uint64) * factors + shifts).min(axis=1).tolist()
    for band in range(_BANDS):
        yield hash((band, *least[band * _PER_BAND : (band + 1) * _PER_BAND]))
