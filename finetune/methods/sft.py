"""Supervised fine-tuning: the mean negative log-probability of the assistant's tokens."""

import random
from collections.abc import Sequence
from typing import Any

from finetune.encoding import Example
from finetune.methods.base import Method

_BATCHES_PER_BUCKET = 16  # rows of this many batches are sorted by length together: little padding, still well mixed


def epoch(examples: Sequence[Example], batch_size: int, seed: int, number: int) -> list[list[int]]:
    """Batches of row indices: every row once, drawn and bucketed by length anew in each epoch.

    The last batch may be smaller; it is trained too.
    """
    draw = random.Random(f"{seed} {number}")
    order = draw.sample(range(len(examples)), len(examples))
    bucket = batch_size * _BATCHES_PER_BUCKET
    by_length = [
        row
        for at in range(0, len(order), bucket)
        for row in sorted(order[at : at + bucket], key=lambda i: len(examples[i].tokens))
    ]
    cut = [by_length[at : at + batch_size] for at in range(0, len(by_length), batch_size)]
    return draw.sample(cut, len(cut))


def loss(logprobs: Any) -> tuple[Any, float]:
    return -logprobs.sum(), float(len(logprobs))


SFT = Method(name="sft", epoch=epoch, loss=loss)
