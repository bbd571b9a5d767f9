"""Are two result tables the same? Rows as a bag, columns in any order, floats to 1e-6, order if gold has one.

The databases of a row are compared together, each result row marked with the number of its database, so that
one permutation of the columns must do for all of them.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from finetune.tasks.sql.judging.execution import Outcome, Row, Value

RELATIVE, ABSOLUTE = 1e-6, 1e-9  # the absolute part is for sums that should be 0
MAX_TRIES = 500  # columns tried in the search for a permutation: eight columns that differ need at most 36


@dataclass(frozen=True)
class Expected:
    """The rows that gold allows on one database.

    ``places`` gives each place of the result its group: rows of one group may stand in any order among
    themselves. ``rows`` are (group, row); a group that gold's LIMIT cuts has more rows than places, any of
    which will do.
    """

    columns: int
    places: tuple[int, ...]
    rows: tuple[tuple[int, Row], ...]


def unordered(rows: tuple[Row, ...], columns: int) -> Expected:
    """Gold without an outermost ORDER BY: one group."""
    return Expected(columns, (0,) * len(rows), tuple((0, row) for row in rows))


def ordered(rows: tuple[Row, ...], columns: int, keyed: tuple[Row, ...] | None, offset: int) -> Expected:
    """Gold with an outermost ORDER BY: rows that are equal on its keys form a group.

    ``keyed`` is gold's result without LIMIT and OFFSET, with the sort keys as further columns. If it is None, or lacks gold's
    rows, every row is a group of its own, with ties in gold's order.
    """
    strict = Expected(columns, tuple(range(len(rows))), tuple(enumerate(rows)))
    if keyed is None:
        return strict
    groups: list[int] = []
    for place, row in enumerate(keyed):
        tied = place > 0 and row[columns:] == keyed[place - 1][columns:]
        groups.append(groups[-1] if tied else place)
    places = tuple(groups[offset : offset + len(rows)])
    allowed = [(group, row[:columns]) for group, row in zip(groups, keyed, strict=True) if group in set(places)]
    found = len(places) == len(rows) and Counter(zip(places, rows, strict=True)) <= Counter(allowed)
    return Expected(columns, places, tuple(allowed)) if found else strict


def compare(expected: Sequence[Expected], answers: Sequence[Outcome]) -> tuple[str, str]:
    """The class (ok, wrong_shape, wrong_rows, wrong_order) and the reason; one answer for each database in ``expected``."""
    pairs = list(zip(expected, answers, strict=True))
    for gold, answer in pairs:
        if answer.columns != gold.columns:
            return "wrong_shape", f"{answer.columns} columns instead of {gold.columns}"
    for number, (gold, answer) in enumerate(pairs):
        if len(answer.rows) != len(gold.places):
            return "wrong_rows", f"{len(answer.rows)} rows instead of {len(gold.places)} on database {number + 1}"
    gold_rows = [(number, group, row) for number, (gold, _) in enumerate(pairs) for group, row in gold.rows]
    answer_rows = [
        (number, group, row)
        for number, (gold, answer) in enumerate(pairs)
        for group, row in zip(gold.places, answer.rows, strict=True)
    ]
    gold_values, answer_values = _snap([row for *_, row in gold_rows], [row for *_, row in answer_rows])
    marks = (
        [(number, group) for number, group, _ in gold_rows],
        [(number, group) for number, group, _ in answer_rows],
    )
    if _same_bag(*marks, gold_values, answer_values):
        return "ok", ""
    databases = [(number, 0) for number, *_ in gold_rows], [(number, 0) for number, *_ in answer_rows]
    if _same_bag(*databases, gold_values, answer_values):
        return "wrong_order", "the right rows in the wrong order"
    return "wrong_rows", "the right number of rows with wrong values"


def same_tables(gold: dict[str, tuple[Row, ...]], answer: dict[str, tuple[Row, ...]]) -> bool:
    """Whether two databases hold the same rows, table by table, columns in their own order."""
    if gold.keys() != answer.keys():
        return False
    return all(_bag_of(*_snap(gold[name], answer[name])) for name in gold)


def _bag_of(left: list[Row], right: list[Row]) -> bool:
    return Counter(left) == Counter(right)


def _same_bag(
    gold_marks: list[tuple[int, int]], answer_marks: list[tuple[int, int]], gold: list[Row], answer: list[Row]
) -> bool:
    """Whether the answer's rows, its columns in some order, are a sub-bag of gold's, mark by mark.

    Column by column: one of the answer's fits gold's next if rows that are equal so far stay so.
    """
    gold_columns, answer_columns = list(zip(*gold, strict=True)), list(zip(*answer, strict=True))
    tries = 0

    def fits(gold_keys: list[int], answer_keys: list[int], free: list[int]) -> bool:
        nonlocal tries
        if not free:
            return True
        column = gold_columns[len(gold_columns) - len(free)]
        for index in free:
            tries += 1
            if tries > MAX_TRIES:
                return False
            keys = _numbered(zip(gold_keys, column, strict=True), zip(answer_keys, answer_columns[index], strict=True))
            if Counter(keys[1]) <= Counter(keys[0]) and fits(*keys, [other for other in free if other != index]):
                return True
        return False

    keys = _numbered(gold_marks, answer_marks)
    return Counter(keys[1]) <= Counter(keys[0]) and fits(*keys, list(range(len(answer_columns))))


def _numbered(gold: Iterable[Any], answer: Iterable[Any]) -> tuple[list[int], list[int]]:
    """The items of both replaced by numbers, the same number for equal items."""
    numbers: dict[Any, int] = {}
    return (
        [numbers.setdefault(item, len(numbers)) for item in gold],
        [numbers.setdefault(item, len(numbers)) for item in answer],
    )


def _snap(gold: Iterable[Row], answer: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The rows, with the same number for numbers that are equal to 1e-6 if one of them is a float."""
    gold, answer = list(gold), list(answer)
    is_float: dict[float, bool] = {}
    for value in chain.from_iterable(gold + answer):
        if isinstance(value, int | float):
            is_float[value] = is_float.get(value, False) or isinstance(value, float)
    same: dict[Value, Value] = {}
    previous = math.nan
    for number in sorted(is_float):
        close = math.isclose(number, previous, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
        same[number] = same[previous] if close and (is_float[number] or is_float[previous]) else number
        previous = number
    snapped = [[tuple(same.get(value, value) for value in row) for row in rows] for rows in (gold, answer)]
    return snapped[0], snapped[1]
