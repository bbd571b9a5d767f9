"""Rows divided into train, valid and test: by seed, whatever their order, and never two alike on both sides."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

T = TypeVar("T")


def drawn(rows: Iterable[T], seed: int, group: Callable[[T], str], text: Callable[[T], str]) -> list[T]:
    """The rows in an order that only the seed and their own words decide; those of a group stand together."""

    def draw(key: str) -> bytes:
        return hashlib.sha256(f"{seed} {key}".encode()).digest()

    return sorted(rows, key=lambda row: (draw(group(row)), draw(text(row))))


def connected(links: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """For each link the smallest left end of all that hang together with it, by equal left or equal right ends.

    The left ends begin with a smaller byte than the right ends.
    """
    above: dict[bytes, bytes] = {}

    def top(end: bytes) -> bytes:
        while (higher := above.setdefault(end, end)) != end:
            above[end] = above[higher]
            end = higher
        return end

    for left, right in links:
        one, other = sorted((top(left), top(right)))
        above[other] = one
    return [top(left) for left, _ in links]


def shares(count: int, valid_fraction: float, test_fraction: float) -> dict[str, int]:
    """Rows of each split; at least one where its fraction is not 0."""
    valid, test = (max(1, round(count * share)) if share else 0 for share in (valid_fraction, test_fraction))
    return {"test": test, "valid": valid, "train": count - test - valid}


def divided(rows: Sequence[T], sizes: Mapping[str, int], group: Callable[[T], Hashable]) -> dict[str, list[T]]:
    """Rows in drawn order to splits of about these sizes, in that order; a group is never divided."""
    splits: dict[str, list[T]] = {split: [] for split in sizes}
    total = len(rows)
    for _, together in groupby(rows, key=group):
        members = list(together)
        # a group that is far too large for test or valid is trained on
        fitting = (
            split
            for split, size in sizes.items()
            if len(splits[split]) < size and len(members) <= max(1.5 * size + 1, total / 4)
        )
        splits[next(fitting, "train")] += members
    return splits
