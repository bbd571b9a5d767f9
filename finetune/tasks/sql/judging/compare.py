"""Are two result tables the same? Rows as a bag, columns in any order, floats to 1e-9, order if gold has one.

The databases of a row are compared together, each result row marked with the number of its database, so that
one permutation of the columns must do for all of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.tasks.sql.judging.columns import Columns, TooMuchWork
from finetune.tasks.sql.judging.execution import Outcome, Row

DAYS = "julianday"  # a function whose differences keep fewer digits


@dataclass(frozen=True)
class Expected:
    """The rows that gold allows on one database.

    ``places`` gives each place of the result its group: rows of one group may stand in any order among
    themselves. ``rows`` are (group, row); a group that gold's LIMIT cuts has more rows than places, any of
    which will do. ``functions`` are the SQL functions that gold names.
    """

    columns: int
    places: tuple[int, ...]
    rows: tuple[tuple[int, Row], ...]
    functions: frozenset[str] = frozenset()


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
    shown = set(places)
    allowed = [(group, row[:columns]) for group, row in zip(groups, keyed, strict=True) if group in shown]
    found = len(places) == len(rows) and Counter(zip(places, rows, strict=True)) <= Counter(allowed)
    return Expected(columns, places, tuple(allowed)) if found else strict


def compare(expected: Sequence[Expected], answers: Sequence[Outcome]) -> tuple[str, str]:
    """The class (ok, timeout, wrong_ and shape, rows or order) and the reason; one answer for each database of ``expected``."""
    pairs = list(zip(expected, answers, strict=True))
    for gold, answer in pairs:
        if answer.columns != gold.columns:
            return "wrong_shape", f"{answer.columns} columns instead of {gold.columns}"
    for number, (gold, answer) in enumerate(pairs):
        if len(answer.rows) != len(gold.places):
            return "wrong_rows", f"{len(answer.rows)} rows instead of {len(gold.places)} on database {number + 1}"
    columns = Columns(
        [row for gold, _ in pairs for _, row in gold.rows],
        [row for _, answer in pairs for row in answer.rows],
        by_days=any(DAYS in one.functions for pair in pairs for one in pair),
    )
    gold_marks = [(number, group) for number, (gold, _) in enumerate(pairs) for group, _ in gold.rows]
    answer_marks = [(number, group) for number, (gold, _) in enumerate(pairs) for group in gold.places]
    try:
        if columns.same_bag(gold_marks, answer_marks):
            return "ok", ""
        if columns.same_bag([number for number, _ in gold_marks], [number for number, _ in answer_marks]):
            return "wrong_order", "the right rows in the wrong order"
    except TooMuchWork:
        size = f"{len(answer_marks)} rows of {answers[0].columns} columns"
        return "timeout", f"{size} are too many to find out whether they are the reference's in another order"
    return "wrong_rows", "the right number of rows with wrong values"


def same_tables(gold: Outcome, answer: Outcome) -> bool:
    """Whether two writes leave the same rows, table by table, columns in their own order."""
    before, after = gold.tables or {}, answer.tables or {}
    if {name: len(rows) for name, rows in before.items()} != {name: len(rows) for name, rows in after.items()}:
        return False
    by_days = DAYS in gold.functions | answer.functions
    return all(Columns(rows, after[name], by_days=by_days).same_rows() for name, rows in before.items())
