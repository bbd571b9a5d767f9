"""Batches of examples of about the same length, for forward passes without gradients on both backends."""

from collections.abc import Iterator, Sequence

from finetune.models.examples import TrainingRow
from finetune.models.loss_mask import Example


def length_batches(examples: Sequence[Example], max_tokens: int) -> Iterator[list[int]]:
    """Indices of the examples in batches of at most ``max_tokens`` tokens with padding, the longest example first. An example
    that is longer is a batch of its own."""
    order = sorted(range(len(examples)), key=lambda index: -len(examples[index].tokens))
    while order:
        count = max(1, max_tokens // len(examples[order[0]].tokens))
        yield order[:count]
        order = order[count:]


def row_batches(rows: Sequence[TrainingRow], size: int) -> list[list[TrainingRow]]:
    """The rows in batches of ``size``, the shortest first."""
    order = sorted(rows, key=lambda row: row.tokens)
    return [order[at : at + size] for at in range(0, len(order), size)]


def split_by_learned(values: Sequence[float], examples: Sequence[Example]) -> list[list[float]]:
    """The values [learned tokens of all examples], one list for each example."""
    found, at = [], 0
    for example in examples:
        count = example.learned
        found.append(list(values[at : at + count]))
        at += count
    return found
