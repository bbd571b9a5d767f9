"""What a method is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.encoding import Example


@dataclass(frozen=True)
class Method:
    """``loss`` takes the log-probabilities of a batch's learned tokens, shape [tokens], an array of the backend."""

    name: str
    batches: Callable[[Sequence[Example], int, int], Iterator[list[int]]]  # (examples, batch size, seed) -> row indices
    loss: Callable[[Any], Any]
