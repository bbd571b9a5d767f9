"""The rows that are kept, divided into train, valid and test."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from finetune.dataset import documents, splits
from finetune.dataset.store import Store
from finetune.records.files import encoded
from finetune.settings.config import DatasetConfig
from finetune.tasks.base import RowKind


def divide(store: Store, tasks: Sequence[RowKind], config: DatasetConfig) -> bool:
    """Divide the rows to train on of each source by itself. A split that a source has of its own stays as it is.

    Returns whether documents were divided, because they are too few or too long to stay whole.
    """
    sources = range(len(tasks))
    wanted: dict[int, dict[str, int]] = {}
    for source in sources:
        sizes = splits.shares(store.taken(source, "train"), config.valid_fraction, config.test_fraction)
        missing = {split: 0 if store.taken(source, split) else sizes[split] for split in ("test", "valid")}
        if len(sources) > 1 and sizes["train"] < 1:
            continue  # a source of a row or two is trained on
        if any(missing.values()):
            wanted[source] = {**missing, "train": sizes["train"]}
        if len(sources) > 1:  # a prompt is in one split, whatever source it is from
            store.place_all(source, but="train" if source in wanted else "")
    in_ranges = False
    for source, missing in wanted.items():
        placed: Counter[str] = Counter()
        total = store.taken(source, "train")
        for likeness, count in store.runs(source):
            split = store.placed(likeness) if len(sources) > 1 else None
            split = split or next(splits.fitting(placed, missing, count, total), "train")
            placed[split] += count
            if len(sources) > 1 or split != "train":
                store.place(likeness, split)
        if tasks[source].plain_text and any(size and not placed[split] for split, size in missing.items()):
            in_ranges = True
            _divide_in_ranges(store, source, missing)
        else:
            store.move(source)
    return in_ranges


def _divide_in_ranges(store: Store, source: int, sizes: Mapping[str, int]) -> None:
    """Divide pieces of documents in their order: train, then valid, and test at the end. No piece repeats another split."""
    for split in ("test", "valid"):
        before, first = store.move_last(source, split, sizes[split])
        if before and first and documents.follows(json.loads(first.text), json.loads(before.text)):
            store.replace_text(first.at, encoded(documents.alone(json.loads(first.text))))
