"""Rows sampled and divided into train, valid and test: by seed, whatever their order in the source, and no group divided."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

T = TypeVar("T")


def sampled(rows: Iterable[T], seed: int, group: Callable[[T], str], text: Callable[[T], str]) -> list[T]:
    """The rows in an order that depends only on the seed and their keys; those of a group stand together."""

    def draw(key: str) -> bytes:
        return hashlib.sha256(f"{seed} {key}".encode()).digest()

    return sorted(rows, key=lambda row: (draw(group(row)), draw(text(row))))


def connected(links: Sequence[tuple[str, str]]) -> list[str]:
    """For each link, the smallest left end of all links that it is connected with through equal left or right ends.

    Every left end must be smaller than every right end.
    """
    above: dict[str, str] = {}

    def top(end: str) -> str:
        while (higher := above.setdefault(end, end)) != end:
            above[end] = above[higher]
            end = higher
        return end

    for left, right in links:
        one, other = sorted((top(left), top(right)))
        above[other] = one
    return [top(left) for left, _ in links]


def shares(count: int, valid_fraction: float, test_fraction: float) -> dict[str, int]:
    """Rows of each split; at least one if its fraction is not 0."""
    valid, test = (max(1, round(count * share)) if share else 0 for share in (valid_fraction, test_fraction))
    return {"test": test, "valid": valid, "train": count - test - valid}


def ranges(rows: Sequence[T], sizes: Mapping[str, int]) -> dict[str, list[T]]:
    """Divide rows, in their order, into one range for each split: train first, then valid, and test at the end."""
    end, found = len(rows), {}
    for split in ("test", "valid", "train"):
        begin = end - sizes.get(split, 0) if split != "train" else 0
        found[split], end = list(rows[max(0, begin) : end]), max(0, begin)
    return found


def divided(rows: Sequence[T], sizes: Mapping[str, int], group: Callable[[T], Hashable]) -> dict[str, list[T]]:
    """Divide rows, in sampled order, into splits of about these sizes; a group is never divided."""
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
