"""The rows of a split, one after another."""

import random
import zlib
from collections.abc import Iterator

from finetune.records.files import Row
from finetune.tasks.alpaca.rows.draft import Draft, Kind
from finetune.tasks.alpaca.rows.extracts import EXTRACTS
from finetune.tasks.alpaca.rows.formats import FORMATS
from finetune.tasks.alpaca.rows.lists import LISTS
from finetune.tasks.alpaca.rows.numbers import NUMBERS
from finetune.tasks.alpaca.rows.texts import TEXTS

KINDS: tuple[Kind, ...] = (*TEXTS, *LISTS, *EXTRACTS, *NUMBERS, *FORMATS)

_PERCENT = {"train": 70, "valid": 10, "test": 20}  # of all tasks
_SPLITS = [split for split, percent in _PERCENT.items() for _ in range(percent)]
_ROWS_PER_PERCENT = 20  # of a kind: where a few kinds are endless, they must not become all there is
_TRIES = 3000  # until nothing new means that a kind has no more


def generate(split: str, seed: int) -> Iterator[Row]:
    """Every kind in turn, until none has a task left that belongs to this split and has not come before.

    To which split a task belongs depends on what it is about, not on its wording, the seed, or how many rows are taken.
    """
    rng = random.Random(f"{split} {seed}")
    seen: set[str] = set()
    kinds = list(KINDS)
    for _ in range(_PERCENT[split] * _ROWS_PER_PERCENT):
        for kind in tuple(kinds):
            draft = _new_draft(kind, split, rng, seen)
            if draft:
                yield _worded(kind, draft, rng)
            else:
                kinds.remove(kind)


def _new_draft(kind: Kind, split: str, rng: random.Random, seen: set[str]) -> Draft | None:
    for _ in range(_TRIES):
        draft = kind.draft(rng)
        task = f"{kind.name} {draft.text} {draft.words}"
        if task not in seen and _split_of(task) == split:
            seen.add(task)
            return draft
    return None


def _split_of(task: str) -> str:
    return _SPLITS[zlib.crc32(task.encode()) % 100]


def _worded(kind: Kind, draft: Draft, rng: random.Random) -> Row:
    wording = rng.choice(kind.inline + kind.with_input)
    return {
        "instruction": wording.format(text=draft.text, **draft.words),
        "input": "" if wording in kind.inline else draft.text,
        "output": draft.answer,
        "kind": kind.name,
        "check": draft.check,
    }
