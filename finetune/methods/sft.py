"""Supervised fine-tuning: the mean negative log-probability of the assistant's tokens."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from finetune.encoding import Example
from finetune.methods.base import Method

_BATCHES_PER_BUCKET = 16  # rows of this many batches are sorted by length together: little padding, still well mixed


def batches(examples: Sequence[Example], batch_size: int, seed: int) -> Iterator[list[int]]:
    """Batches of row indices without end: each epoch has every row once, drawn and bucketed by length anew.

    The last batch of an epoch may be smaller; it is trained too.
    """
    epoch = 0
    while True:
        draw = random.Random(f"{seed} {epoch}")
        order = draw.sample(range(len(examples)), len(examples))
        bucket = batch_size * _BATCHES_PER_BUCKET
        by_length = [
            row
            for at in range(0, len(order), bucket)
            for row in sorted(order[at : at + bucket], key=lambda i: len(examples[i].tokens))
        ]
        cut = [by_length[at : at + batch_size] for at in range(0, len(by_length), batch_size)]
        yield from draw.sample(cut, len(cut))
        epoch += 1


def loss(logprobs: Any) -> Any:
    return -logprobs.mean()


SFT = Method(name="sft", batches=batches, loss=loss)
