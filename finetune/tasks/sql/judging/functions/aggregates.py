"""Aggregates of other dialects for SQLite, each a class as ``sqlite3.Connection.create_aggregate`` takes it.

``register.py`` loads this file by its path; standard library only.
"""

import math
from typing import Any

LONGEST = 1_000_000  # characters of a value


def bounded(text: str) -> str:
    if len(text) > LONGEST:
        raise ValueError("text too large")
    return text


class Rows:
    """An aggregate that needs all values at once; ``finalize`` of a subclass answers."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def step(self, *values: Any) -> None:
        if len(self.rows) >= 100_000:
            raise ValueError("too many rows of a group")
        if values[0] is not None:
            self.rows.append(values)

    @property
    def numbers(self) -> list[float]:
        return [row[0] for row in self.rows]


class Joined(Rows):
    """STRING_AGG: value, separator, 1 for DISTINCT, then "asc", "desc" with "first" or "last" for NULLs, and a key, each."""

    def ordered(self, keys_from: int) -> list[Any]:
        rows = self.rows
        for at in range(len(rows[0]) - 2 if rows else 0, keys_from - 1, -2):
            way, _, nulls = str(rows[0][at]).partition(" ")
            known = [row for row in rows if row[at + 1] is not None]
            known.sort(key=lambda row: row[at + 1], reverse=way == "desc")
            unknown = [row for row in rows if row[at + 1] is None]
            rows = unknown + known if nulls == "first" else known + unknown
        values = [row[0] for row in rows]
        return list(dict.fromkeys(values)) if rows and rows[0][keys_from - 1] else values

    def finalize(self) -> str | None:
        return bounded(str(self.rows[0][1]).join(map(str, self.ordered(3)))) if self.rows else None


class Listed(Joined):
    """ARRAY_AGG as a text that two arrays share if they are the same: value, 1 for DISTINCT, then as ``Joined``."""

    def step(self, *values: Any) -> None:
        self.rows.append(values)

    def finalize(self) -> str | None:
        return (
            bounded(repr([int(v) if isinstance(v, float) and v.is_integer() else v for v in self.ordered(2)]))
            if self.rows
            else None
        )


class Percentile(Rows):
    """PERCENTILE_CONT: value, fraction."""

    def finalize(self) -> float | None:
        if not self.rows:
            return None
        values, place = sorted(self.numbers), float(self.rows[0][1]) * (len(self.rows) - 1)
        low = math.floor(place)
        high = min(low + 1, len(values) - 1)
        return values[low] + (values[high] - values[low]) * (place - low)


class Discrete(Rows):
    """PERCENTILE_DISC: value, fraction."""

    def finalize(self) -> Any:
        place = math.ceil(float(self.rows[0][1]) * len(self.rows)) if self.rows else 0
        return sorted(row[0] for row in self.rows)[max(place - 1, 0)] if self.rows else None


class Spread(Rows):
    """Variance or standard deviation: value, 1 for a sample, 1 for the root."""

    def finalize(self) -> float | None:
        count = len(self.rows)
        sample, root = (self.rows[0][1], self.rows[0][2]) if self.rows else (0, 0)
        if count <= sample:
            return None
        mean = math.fsum(self.numbers) / count
        found = math.fsum((value - mean) ** 2 for value in self.numbers) / (count - sample)
        return math.sqrt(found) if root else found


class WholeAverage(Rows):
    """AVG of T-SQL: of integers an integer."""

    def finalize(self) -> float | None:
        if not self.rows:
            return None
        if all(isinstance(value, int) for value in self.numbers):
            total = int(sum(self.numbers))
            return abs(total) // len(self.rows) * (1 if total >= 0 else -1)
        return math.fsum(self.numbers) / len(self.rows)


AGGREGATES: dict[str, type[Rows]] = {
    "joined": Joined, "listed": Listed, "percentile": Percentile, "discrete": Discrete, "spread": Spread,
    "whole_average": WholeAverage,
}  # fmt: skip
