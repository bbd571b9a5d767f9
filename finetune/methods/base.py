"""What a method is, and the order in which a run takes its rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.config import TrainingConfig
from finetune.encoding import Example


@dataclass(frozen=True)
class Method:
    """How a model learns.

    ``epoch`` (examples, batch size, seed, number of the epoch) gives batches of row indices, every row once. ``loss`` takes
    the log-probabilities of a batch's learned tokens, shape [tokens], an array of the backend, and returns the sum that is
    to fall and its weight: what is minimised is the sum over all batches of a step, divided by their weights.
    """

    name: str
    epoch: Callable[[Sequence[Example], int, int, int], list[list[int]]]
    loss: Callable[[Any], tuple[Any, float]]


def steps_per_epoch(rows: int, batch_size: int, accumulation: int) -> int:
    batches = -(-rows // batch_size)
    return -(-batches // accumulation)


def total_steps(config: TrainingConfig, rows: int) -> int:
    """Optimizer steps of a run over this many rows."""
    if config.epochs is None:
        return config.iters
    return max(1, round(config.epochs * steps_per_epoch(rows, config.batch_size, config.grad_accumulation)))


def plan(
    method: Method, examples: Sequence[Example], batch_size: int, accumulation: int, seed: int, first: int = 0
) -> Iterator[list[list[int]]]:
    """Without end, the batches of each optimizer step from step ``first`` (counted from 0) on.

    A step has ``accumulation`` batches; the last of an epoch has what is left. Which rows a step takes depends on the
    arguments alone, so that a run can go on from any step.
    """
    epoch, done = divmod(first, steps_per_epoch(len(examples), batch_size, accumulation))
    while True:
        batches = method.epoch(examples, batch_size, seed, epoch)
        steps = [batches[at : at + accumulation] for at in range(0, len(batches), accumulation)]
        yield from steps[done:]
        epoch, done = epoch + 1, 0
