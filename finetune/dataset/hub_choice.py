"""Which configuration and which splits of a Hub dataset are read: --subset and --split, by its card and its files."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.dataset.readers.sourced import SPLIT_NAMES, split_of
from finetune.errors import UserError, closest
from finetune.models.foreign import foreign
from finetune.records.files import SPLITS

CARD = "README.md"  # says which configurations there are
_FEW = 12  # names that fit into a line


def chosen_configuration(name: str, folder: Path, subset: str | None) -> Mapping[str, Any]:
    """The entry of the card for ``subset``, or for the default configuration; empty if the card lists none."""
    from huggingface_hub import DatasetCard

    path = folder / CARD
    with foreign(f"{name}: its card cannot be read"):
        listed = DatasetCard.load(path).data.get("configs") if path.is_file() else None
    listed = listed if isinstance(listed, list) else []
    entries = {str(entry.get("config_name", "default")): entry for entry in listed if isinstance(entry, Mapping)}
    if subset is None:
        marked = [one for one, entry in entries.items() if entry.get("default")] or [
            one for one in entries if one == "default"
        ]
        if len(entries) > 1 and not marked:
            raise one_of(f"{name}: it has several configurations", "with --subset, ", entries)
        subset = next(iter(marked or entries), "default")
    if subset in entries:
        return entries[subset]
    if subset == "default" and not entries:
        return {}
    if not entries:
        raise UserError(f"--subset: {name} has no configurations to choose from (omit the flag)")
    hint = f"did you mean {near}? " if (near := closest(subset, entries)) else ""
    raise one_of(f"--subset: {name} has no configuration {subset!r}", hint, entries)


def chosen_splits(name: str, there: Sequence[str], split: str | None, *, keep_splits: bool) -> Mapping[str, str | None]:
    """The splits to read of those that are ``there``, each with which of ours it is. UserError if there is none."""
    if split is None:
        own = {SPLIT_NAMES[theirs]: theirs for theirs in there if theirs in SPLIT_NAMES}
        if "train" not in own:
            if not there:
                raise UserError(f"{name}: no train split (it has no data files)")
            raise one_of(f"{name}: no train split", "--split: ", there)
        return {own[ours]: ours for ours in SPLITS if ours in own and (keep_splits or ours == "train")}
    asked = list(filter(None, map(str.strip, split.split(","))))
    for theirs in asked:
        if "[" in theirs:
            begin = theirs.partition("[")[0]
            raise UserError(f"--split: {theirs!r}: parts of a split cannot be named (--split {begin} --sample-size N)")
        if theirs not in there:
            hint = f"did you mean {near}? " if (near := closest(theirs, there)) else ""
            raise one_of(f"--split: {name} has no split {theirs!r}", f"{hint}", there)
        if keep_splits and split_of(theirs) is None:
            raise UserError(f"--keep-splits: the split {theirs} is none of train, valid and test (omit --keep-splits)")
    if not asked:
        raise one_of("--split: names no split", "", there)
    return {theirs: split_of(theirs) for theirs in asked}


def one_of(problem: str, hint: str, names: Iterable[str]) -> UserError:
    """The problem, and all names of which one can be chosen: those of many in lines below it."""
    names = list(names)
    if len(names) <= _FEW:
        return UserError(f"{problem} ({hint}choose from {', '.join(names)})")
    lines = textwrap.wrap(", ".join(names), 100, break_long_words=False, break_on_hyphens=False)
    return UserError(f"{problem} ({hint}choose from these {len(names)})", details=lines)
