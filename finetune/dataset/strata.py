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
        self._sizes = _sizes(self._strata, shares)
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


def _sizes(strata: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, dict[str, int]]:
    """Rows of each split of each label. What rounding takes from one label the next ones get, so that all have their share."""
    found: dict[str, dict[str, int]] = {label: {} for label in strata}
    for split, share in shares.items():
        owed = 0.0
        for label, count in sorted(strata.items()):
            owed += count * share
            least = int(bool(share) and count >= _FEWEST[split])
            left = count - 1 - sum(found[label].values())  # one at least to train on
            found[label][split] = max(0, min(left, max(round(owed), least)))
            owed -= found[label][split]
    return found
