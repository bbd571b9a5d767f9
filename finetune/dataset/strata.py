"""Splits in which each label has its share."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping

from finetune.dataset import splits

_FEWEST = {"test": 3, "valid": 5}  # rows of a label that has a row in the split, however small its share


class Strata:
    """Chooses the split of rows that stay together, so that each value has its share in each split."""

    def __init__(self, runs: Iterable[tuple[bytes, str, int]], sizes: Mapping[str, int]):
        """``runs``: of rows that stay together a key, their value, and how many they are. ``sizes``: rows of each split."""
        self._rows = Counter[str]()
        of_values = Counter[str]()
        for _, value, count in runs:
            of_values[value] += count
            for label in _labels(value):
                self._rows[label] += count
        self._strata = Counter[str]()  # rows that are divided by each label
        for value, count in of_values.items():
            self._strata[self._stratum(value)] += count
        total = max(1, sum(of_values.values()))
        shares = {split: size / total for split, size in sizes.items() if split != "train"}
        self._sizes = {label: _sizes(count, shares) for label, count in self._strata.items()}
        self._placed = {label: Counter[str]() for label in self._strata}

    def split_for(self, value: str, count: int) -> str:
        """The split of ``count`` more rows, or the one to train on."""
        label = self._stratum(value)
        return next(splits.fitting(self._placed[label], self._sizes[label], count, self._strata[label]), "train")

    def place(self, value: str, split: str, count: int) -> None:
        self._placed[self._stratum(value)][split] += count

    def _stratum(self, value: str) -> str:
        """Of several labels the rarest."""
        return min(_labels(value), key=lambda label: (self._rows[label], label), default="")


def _labels(value: str) -> list[str]:
    if value.startswith("["):
        try:
            found = json.loads(value)
        except ValueError:
            return [value]
        return [str(label) for label in found] if isinstance(found, list) else [value]
    return [value]


def _sizes(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Rows of each split of ``count`` rows of one label."""
    return {
        split: max(round(count * share), int(count >= _FEWEST[split])) if share else 0
        for split, share in shares.items()
    }
