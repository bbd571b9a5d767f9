"""Where the steps of a run come from: which rows each takes, in which order."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from finetune.methods.base import Method, Sample
from finetune.models.examples import TrainingRow
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig
from finetune.signals import Stop, never

_BATCHES_PER_BUCKET = 16  # rows of this many batches are sorted by length together: little padding, still well mixed


def steps_per_epoch(rows: int, batch_size: int, accumulation: int) -> int:
    """Optimizer steps in which every row is taken once; the last may have fewer batches."""
    batches = -(-rows // batch_size)
    return -(-batches // accumulation)


def epoch_steps(config: TrainingConfig, rows: int) -> int:
    """Optimizer steps in which every row is taken once; with GRPO several can learn from the same completions."""
    updates = config.grpo_updates if config.method == "grpo" else 1
    return updates * steps_per_epoch(rows, config.batch_size, config.grad_accumulation)


def total_steps(config: TrainingConfig, rows: int) -> int:
    """Optimizer steps of a run over this many rows."""
    if config.epochs is None:
        return config.iters
    return max(1, round(config.epochs * epoch_steps(config, rows)))


@dataclass(frozen=True)
class StepBatches:
    """What one optimizer step computes."""

    rows: list[int]  # indices of the training rows
    batches: list[list[TrainingRow]]  # none if nothing in the step can be learned from
    metrics: dict[str, float] = field(default_factory=dict)  # what was seen while they were made


class Policy(Protocol):
    """The model under training, as a source of steps may use it."""

    def sample(self, prompts: Sequence[Sequence[int]], seed: str, stop: Stop) -> list[Sample] | None:
        """One completion for each prompt (token ids), sampled with the settings of the run; None if ``stop`` interrupted it."""

    def logprobs(self, examples: Sequence[Example], *, at_start: bool = False, stop: Stop = never) -> list[list[float]]:
        """Log-probabilities of each example's learned tokens, ``at_start`` of the run or now; empty after ``stop``."""


class BatchSource(Protocol):
    """Where a run's steps come from."""

    @property
    def rows(self) -> Sequence[TrainingRow]:
        """The training rows; ``StepBatches.rows`` are indices into them."""

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of an epoch, counted from 0, as indices of rows."""

    def next_step(self, step: int, policy: Policy, stop: Stop) -> StepBatches | None:
        """The batches of step ``step``, counted from 0; None if ``stop`` interrupted it."""

    def state(self) -> dict[str, object]:
        """What ``restore`` needs to give the same steps again, to be kept as JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from what ``state`` returned."""


class RowSource:
    """Steps over rows that are there from the beginning."""

    def __init__(self, method: Method, rows: Sequence[TrainingRow], config: TrainingConfig):
        self.rows, self._config = rows, config
        # prompts are padded only while they are read, and short and long ones are not equally hard: no buckets
        self._bucket = config.batch_size * (1 if method.rollouts else _BATCHES_PER_BUCKET)
        self._steps: Iterator[list[list[int]]] = iter(())
        self._next = -1

    def epoch(self, number: int) -> list[list[int]]:
        """Every row once, shuffled and bucketed by length anew in each epoch; the last batch can be smaller."""
        shuffle, size, count = random.Random(f"{self._config.seed} {number}"), self._config.batch_size, len(self.rows)
        order = shuffle.sample(range(count), count)
        lengths = [row.tokens for row in self.rows]
        buckets = (order[at : at + self._bucket] for at in range(0, count, self._bucket))
        by_length = [row for bucket in buckets for row in sorted(bucket, key=lengths.__getitem__)]
        batches = [by_length[at : at + size] for at in range(0, count, size)]
        return shuffle.sample(batches, len(batches))

    def steps(self, first: int = 0) -> Iterator[list[list[int]]]:
        """Without end, the batches of each optimizer step, as indices of rows, from step ``first`` (counted from 0) on.

        A step has ``grad_accumulation`` batches; the last of an epoch has the rest. Which rows a step takes depends on its
        number and the settings alone, so that a run can be resumed from any step.
        """
        accumulation = self._config.grad_accumulation
        number, done = divmod(first, steps_per_epoch(len(self.rows), self._config.batch_size, accumulation))
        while True:
            batches = self.epoch(number)
            steps = [batches[at : at + accumulation] for at in range(0, len(batches), accumulation)]
            yield from steps[done:]
            number, done = number + 1, 0

    def next_step(self, step: int, policy: Policy, stop: Stop) -> StepBatches | None:
        """The batches of step ``step``, counted from 0."""
        if step != self._next:
            self._steps, self._next = self.steps(step), step
        batches = next(self._steps)
        self._next += 1
        taken = [index for batch in batches for index in batch]
        return StepBatches(taken, [[self.rows[index] for index in batch] for batch in batches])

    def state(self) -> dict[str, object]:
        """Nothing: which rows a step takes depends on its number alone."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing is kept, so nothing is restored."""
