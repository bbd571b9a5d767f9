"""The rows that are kept, divided into train, valid and test."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from finetune.dataset import documents, splits
from finetune.dataset.store import Store
from finetune.dataset.strata import Strata
from finetune.records.files import encoded
from finetune.settings.config import DatasetConfig
from finetune.tasks.base import RowKind


@dataclass
class Divided:
    """How the rows of the sources were divided."""

    in_ranges: bool = False  # the splits are ranges of the documents, which were too few or too long for whole ones
    by: str = ""  # the field whose values have their share in each split
    drawn: dict[int, list[str]] = field(default_factory=dict)  # splits that sources do not have of their own

    def rule(self, config: DatasetConfig) -> str:
        """How the rows were divided, in words."""
        if self.in_ranges:
            return documents.IN_RANGES
        apart = f"no {config.split_by} and no prompt is in two splits" if config.split_by else ""
        if self.by and not config.keep_splits:
            apart = apart or "no prompt, and no text nearly the same, is in two splits"
            return f"random, by seed, each {self.by} with its share; {apart}"
        if not config.keep_splits:
            return f"random, by seed; {apart}" if apart else "random, by seed and prompt; no prompt is in two splits"
        drawn = "what a source has not, random, by seed and prompt, out of train" if any(self.drawn.values()) else ""
        return "; ".join(filter(None, ("the source's own", drawn, apart)))

    def told(self, names: Sequence[str], config: DatasetConfig) -> Iterator[str]:
        """With --keep-splits, which splits the sources of these ``names`` have not."""
        for source, lacking in self.drawn.items():
            if config.keep_splits and lacking:
                yield f"--keep-splits: {names[source]} has no split {' and '.join(lacking)}: drawn by seed out of train"


def divide(store: Store, tasks: Sequence[RowKind], config: DatasetConfig) -> Divided:
    """Divide the rows to train on of each source by itself. A split that a source has of its own stays as it is."""
    sources, found = range(len(tasks)), Divided(by=_stratified(tasks[0], config) if len(tasks) == 1 else "")
    wanted: dict[int, dict[str, int]] = {}
    for source in sources:
        sizes = splits.shares(store.taken(source, "train"), config.valid_fraction, config.test_fraction)
        missing = {split: 0 if store.taken(source, split) else sizes[split] for split in ("test", "valid")}
        if len(sources) > 1 and sizes["train"] < 1:
            continue  # a source of a row or two is trained on
        if any(missing.values()):
            wanted[source] = {**missing, "train": sizes["train"]}
            found.drawn[source] = [split for split, size in missing.items() if size]
        if len(sources) > 1:  # a prompt is in one split, whatever source it is from
            store.place_all(source, but="train" if source in wanted else "")
    for source, missing in wanted.items():
        placed: Counter[str] = Counter()
        total, by = store.taken(source, "train"), _stratified(tasks[source], config)
        strata = Strata(store.runs(source, by), missing) if by else None
        for likeness, value, count in store.runs(source, by):
            split = store.placed(likeness) if len(sources) > 1 else None
            if strata:
                split = split or strata.split_for(value, count)
                strata.place(value, split, count)
            split = split or next(splits.fitting(placed, missing, count, total), "train")
            placed[split] += count
            if len(sources) > 1 or split != "train":
                store.place(likeness, split)
        if tasks[source].plain_text and any(size and not placed[split] for split, size in missing.items()):
            found.in_ranges = True
            _divide_in_ranges(store, source, missing)
        else:
            store.move(source)
    return found


def _stratified(task: RowKind, config: DatasetConfig) -> str:
    """The field whose values have their share in each split; "" with --split-by, whose groups have rows of several values."""
    return "" if config.split_by else task.stratified


def _divide_in_ranges(store: Store, source: int, sizes: Mapping[str, int]) -> None:
    """Divide pieces of documents in their order: train, then valid, and test at the end. No piece repeats another split."""
    for split in ("test", "valid"):
        before, first = store.move_last(source, split, sizes[split])
        if before and first and documents.follows(json.loads(first.text), json.loads(before.text)):
            store.replace_text(first.at, encoded(documents.alone(json.loads(first.text))))
