"""The columns of two tables as arrays of numbers, the same number for the same value; and is there a permutation that makes
the tables the same?

Floats that differ by rounding alone are the same value. Integers are never rounded.
"""

import math
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

from finetune.tasks.sql.judging.execution import Row, Value

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Numbers = NDArray[numpy.int64]
    Floats = NDArray[numpy.float64]

RELATIVE = 1e-9  # sums in another order, averages computed in two ways: they differ by 1e-16 to 1e-10
RELATIVE_DAYS, COARSE = 1e-6, 1e-4  # julianday is exact to 5e-10 days, 4e-5 seconds
CENTS_FROM = 5_000  # ROUND(x, 2) changes these by less than 1e-6
LARGEST_WHOLE = 1e15  # floats have no room for a fraction beyond; below, two whole numbers are never the same
BITS_OF_REMAINDER = 12  # 0.1 + 0.2 - 0.3 is 2^-54
MOST_WORK, WORK_OF_A_TRY = 10_000_000, 60  # rows in the search for a permutation, which takes about a second


class TooMuchWork(Exception):
    """The columns can be matched in too many ways."""


class Columns:
    """The columns of gold and of an answer, as many of both, which one permutation may make the same.

    ``by_days``: durations may be differences of two numbers of days since 4713 BC, with as many digits less.
    """

    def __init__(self, gold: Sequence[Row], answer: Sequence[Row], *, by_days: bool):
        numbers = _numbered([*zip(*gold, strict=True)], [*zip(*answer, strict=True)], by_days=by_days)
        self._gold, self._answer, self._values = numbers
        self._work = 0

    def same_rows(self) -> bool:
        """Whether the rows are the same bag, columns in their own order."""
        rows = [len(columns[0]) if columns else 0 for columns in (self._gold, self._answer)]
        return self._fits([0] * rows[0], [0] * rows[1], [[place] for place in range(len(self._gold))])

    def same_bag(self, gold_marks: Sequence[Hashable], answer_marks: Sequence[Hashable]) -> bool:
        """Whether the answer's rows, its columns in some order, are a sub-bag of gold's, mark by mark; or TooMuchWork."""
        return self._fits(gold_marks, answer_marks, None)

    def _fits(
        self, gold_marks: Sequence[Hashable], answer_marks: Sequence[Hashable], likely: list[list[int]] | None
    ) -> bool:
        """Column by column: one of the answer's fits gold's next if rows that are equal so far stay so."""
        import numpy

        marks: dict[Hashable, int] = {}
        gold, answer = (
            numpy.fromiter((marks.setdefault(mark, len(marks)) for mark in side), numpy.int64, len(side))
            for side in (gold_marks, answer_marks)
        )
        level = _Level(gold)
        if level.numbers_of(answer) is None:
            return False
        likely = self._likely(gold, answer) if likely is None else likely
        order = sorted(range(len(likely)), key=lambda place: len(likely[place]))
        levels: list[_Level] = []

        def fits(depth: int, keys: "Numbers", free: frozenset[int]) -> bool:
            if depth == len(order):
                return True
            if depth == len(levels):
                before = levels[-1].keys if levels else gold
                levels.append(_Level(before * self._values + self._gold[order[depth]]))
            tried: set[bytes] = set()  # of equal columns one stands for all
            for place in likely[order[depth]]:
                if place not in free or (column := self._answer[place]).tobytes() in tried:
                    continue
                tried.add(column.tobytes())
                self._spend(len(keys))
                found = levels[depth].numbers_of(keys * self._values + column)
                if found is not None and fits(depth + 1, found, free - {place}):
                    return True
            return False

        return fits(0, answer, frozenset(order))

    def _likely(self, gold_marks: "Numbers", answer_marks: "Numbers") -> list[list[int]]:
        """For each of gold's columns the places of the answer's whose values, mark by mark, are a sub-bag of its own.

        The first is the one at the same place, if it is among them.
        """
        import numpy

        gold, answer = (
            [numpy.sort(marks * self._values + column) for column in columns]
            for marks, columns in ((gold_marks, self._gold), (answer_marks, self._answer))
        )
        found: dict[bytes, list[int]] = {}
        for place, bag in enumerate(answer):
            found.setdefault(bag.tobytes(), []).append(place)
        known: dict[bytes, list[int]] = {}
        for wanted in gold:
            if (key := wanted.tobytes()) in known:
                continue
            if len(gold_marks) == len(answer_marks):
                known[key] = found.get(key, [])
                continue
            level = _Level(wanted)
            known[key] = []
            for places in found.values():
                self._spend(len(answer_marks))
                if level.numbers_of(answer[places[0]]) is not None:
                    known[key] += places
            if not known[key]:
                break
        return [sorted(known.get(wanted.tobytes(), []), key=place.__ne__) for place, wanted in enumerate(gold)]

    def _spend(self, rows: int) -> None:
        self._work += rows + WORK_OF_A_TRY
        if self._work > MOST_WORK:
            raise TooMuchWork


class _Level:
    """A bag of keys, which get the numbers from 0 on; ``keys`` are the numbers in the order of the keys."""

    def __init__(self, keys: "Numbers"):
        import numpy

        self._distinct, self.keys, self._counts = numpy.unique(keys, return_inverse=True, return_counts=True)

    def numbers_of(self, keys: "Numbers") -> "Numbers | None":
        """The numbers of other keys; None if they are not a sub-bag."""
        import numpy

        if not len(keys):
            return keys
        if not len(self._distinct):
            return None
        found = numpy.minimum(numpy.searchsorted(self._distinct, keys), len(self._distinct) - 1)
        if (self._distinct[found] != keys).any():
            return None
        return found if (numpy.bincount(found, minlength=len(self._counts)) <= self._counts).all() else None


def _numbered(
    gold: Sequence[Row], answer: Sequence[Row], *, by_days: bool
) -> "tuple[list[Numbers], list[Numbers], int]":
    """The columns of both with their values replaced by numbers, and how many numbers there are."""
    import numpy

    numbers: dict[Value, int] = {}
    columns = [*gold, *answer]
    found = [
        numpy.fromiter((numbers.setdefault(value, len(numbers)) for value in column), numpy.int64, len(column))
        for column in columns
    ]
    floats = numpy.array([value for value in numbers if isinstance(value, float) and math.isfinite(value)], float)
    zero = numbers.setdefault(0, len(numbers))
    if (tiny := floats[numpy.abs(floats) <= RELATIVE]).any():
        zeros = [
            numpy.isin(codes, [numbers[value] for value in _remainders(set(tiny.tolist()), column)])
            for codes, column in zip(found, columns, strict=True)
        ]
        found = [numpy.where(at, zero, codes) for at, codes in zip(zeros, found, strict=True)]
    large = {value for column in columns for value in column if isinstance(value, int) and abs(value) >= LARGEST_WHOLE}
    if same := _same(floats, large, by_days=by_days):
        targets = {numbers[value]: numbers.setdefault(other, len(numbers)) for value, other in same.items()}
        table = numpy.arange(len(numbers))
        table[list(targets)] = list(targets.values())
        table = table[table][table]  # an average, its two decimals, the first of their group
        found = [table[codes] for codes in found]
    return found[: len(gold)], found[len(gold) :], len(numbers)


def _remainders(tiny: set[float], column: Iterable[Value]) -> list[float]:
    """Those in the column that remain where floats cancel: far smaller than the other values, or of few bits."""
    inside = tiny.intersection(value for value in column if isinstance(value, float))
    scale = max((abs(value) for value in column if isinstance(value, int | float)), default=0) if inside else 0
    return [
        value
        for value in inside
        if abs(value) <= RELATIVE * scale or abs(value.as_integer_ratio()[0]).bit_length() <= BITS_OF_REMAINDER
    ]


def _same(floats: "Floats", large: set[int], *, by_days: bool) -> dict[float, Value]:
    """What floats are but for rounding: an integer, their own two decimals if these are there, or the first of a group.

    A group ends where one is not near its first: a chain of neighbours may have no end. ``large`` are the integers from
    LARGEST_WHOLE on.
    """
    import numpy

    near = numpy.rint(floats)
    noise = numpy.minimum(_noise(floats, by_days=by_days), numpy.maximum(COARSE, 4 * numpy.spacing(numpy.abs(floats))))
    whole = (numpy.abs(floats) < LARGEST_WHOLE) & (numpy.abs(floats - near) <= noise)
    rounded = whole & (floats != near)
    same: dict[float, Value] = dict(zip(floats[rounded].tolist(), map(int, near[rounded].tolist()), strict=True))
    has_cents = ~whole & (numpy.abs(floats) >= CENTS_FROM) & (numpy.abs(floats) < LARGEST_WHOLE)
    cents = numpy.where(has_cents, numpy.rint(100 * numpy.where(has_cents, floats, 0)) / 100, floats)
    cut = (cents != floats) & numpy.isin(cents, floats)
    same |= zip(floats[cut].tolist(), cents[cut].tolist(), strict=True)
    others = numpy.sort(floats[~whole & ~cut])
    if large:
        others = others[~numpy.isin(others, [value for value in others.tolist() if value in large])]
    values, noise = others.tolist(), _noise(others, by_days=by_days)
    first, last = 0.0, -1
    for at in (1 + numpy.flatnonzero(numpy.diff(others) <= noise[1:])).tolist():
        first = first if at - 1 == last else values[at - 1]
        last = at
        if values[at] - first <= noise[at]:
            same[values[at]] = first
        else:
            first = values[at]
    integers = sorted(large)
    for value, room in zip(values, noise.tolist(), strict=True) if large else ():
        place = bisect_left(integers, value)
        beside = min(integers[max(place - 1, 0) : place + 1], key=lambda integer: abs(integer - value))
        if value not in same and abs(beside - value) <= room:
            same[value] = beside
    return same


def _noise(floats: "Floats", *, by_days: bool) -> "Floats":
    """How far another float may be from each."""
    import numpy

    size = numpy.abs(floats)
    return numpy.maximum(RELATIVE * size, numpy.minimum(RELATIVE_DAYS * size, COARSE) if by_days else 0)
