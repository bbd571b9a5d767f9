"""What a method is, and where the steps of a run come from."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from finetune.models.encoder import Example
from finetune.models.examples import Encode, whole_conversations
from finetune.settings.config import TrainingConfig

_BATCHES_PER_BUCKET = 16  # rows of this many batches are sorted by length together: little padding, still well mixed

Stop = Callable[[], bool]  # whether somebody asked to stop
Metrics = dict[str, tuple[Any, float]]  # of each metric a sum, an array of the backend, and what it is divided by
Loss = tuple[Any, float, Metrics]


@dataclass(frozen=True)
class Method:
    """How a model learns.

    ``encode`` makes ``width`` examples of each row, which stay together in a batch, and raises nothing: a row that lacks
    ``columns`` is refused before. ``loss`` takes the module of the backend's array functions (``mlx.core`` or ``torch``: names
    that both have), the log-probabilities [tokens] of a batch's learned tokens, example after example, the examples, and the
    settings. It returns the sum that is to fall and its weight: what is minimised is the sum over all batches of a step,
    divided by their weights.
    """

    name: str
    about: str
    loss: Callable[[Any, Any, Sequence[Example], TrainingConfig], Loss]
    encode: Encode = whole_conversations
    columns: tuple[str, ...] = ()  # fields that every row needs beside its messages
    width: int = 1
    reference: bool = False  # whether the loss needs log-probabilities under the model as it starts
    rollouts: bool = False  # whether the model itself writes what it learns from
    rehearse: Callable[[Sequence[Example], TrainingConfig], list[Example]] = lambda examples, config: list(examples)
    """What stands for the examples in a measurement, where the run makes or completes them itself."""
    fixed: list[list[int]] | None = None  # the batches of every epoch, in a measurement

    @property
    def several(self) -> bool:
        """Whether a batch has several answers to the same prompt."""
        return self.width > 1 or self.rollouts

    def temperature(self, config: TrainingConfig) -> float:
        """What the logits are divided by: answers are learned from at the temperature that they were drawn at."""
        return config.grpo_temperature if self.rollouts else 1.0

    def rows(self, examples: Sequence[Example]) -> int:
        """How many rows these are the examples of."""
        return len(examples) // self.width

    def of_rows(self, examples: Sequence[Any]) -> list[Sequence[Any]]:
        """The examples of each row, or their indices."""
        return [examples[at : at + self.width] for at in range(0, len(examples), self.width)]

    def epoch(self, examples: Sequence[Example], batch_size: int, seed: int, number: int) -> list[list[int]]:
        """Batches of indices of examples: every row once, drawn and bucketed by length anew in each epoch.

        The last batch may be smaller; it is trained too. Prompts that are to be answered are not bucketed: they are padded only
        while they are read, and short and long ones are not equally hard.
        """
        if self.fixed is not None:
            return self.fixed
        draw = random.Random(f"{seed} {number}")
        rows = self.rows(examples)
        order = draw.sample(range(rows), rows)
        lengths = [max(len(example.tokens) for example in row) for row in self.of_rows(examples)]
        bucket = batch_size * (1 if self.rollouts else _BATCHES_PER_BUCKET)
        by_length = [
            row for at in range(0, rows, bucket) for row in sorted(order[at : at + bucket], key=lengths.__getitem__)
        ]
        cut = [by_length[at : at + batch_size] for at in range(0, rows, batch_size)]
        batches = [[row * self.width + i for row in batch for i in range(self.width)] for batch in cut]
        return draw.sample(batches, len(batches))


def steps_per_epoch(rows: int, batch_size: int, accumulation: int) -> int:
    batches = -(-rows // batch_size)
    return -(-batches // accumulation)


def epoch_steps(config: TrainingConfig, rows: int) -> int:
    """Optimizer steps in which every row is taken once; several may serve themselves of the same answers."""
    updates = config.grpo_updates if config.method == "grpo" else 1
    return updates * steps_per_epoch(rows, config.batch_size, config.grad_accumulation)


def total_steps(config: TrainingConfig, rows: int) -> int:
    """Optimizer steps of a run over this many rows."""
    if config.epochs is None:
        return config.iters
    return max(1, round(config.epochs * epoch_steps(config, rows)))


def plan(
    method: Method, examples: Sequence[Example], batch_size: int, accumulation: int, seed: int, first: int = 0
) -> Iterator[list[list[int]]]:
    """Without end, the batches of each optimizer step from step ``first`` (counted from 0) on.

    A step has ``accumulation`` batches; the last of an epoch has what is left. Which rows a step takes depends on the
    arguments alone, so that a run can go on from any step.
    """
    epoch, done = divmod(first, steps_per_epoch(method.rows(examples), batch_size, accumulation))
    while True:
        batches = method.epoch(examples, batch_size, seed, epoch)
        steps = [batches[at : at + accumulation] for at in range(0, len(batches), accumulation)]
        yield from steps[done:]
        epoch, done = epoch + 1, 0


@dataclass(frozen=True)
class StepBatches:
    """What one optimizer step computes."""

    rows: list[int]  # indices of the training rows
    batches: list[list[Example]]  # none if nothing in the step can be learned from
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """A completion sampled from a model."""

    tokens: list[int]  # with the end-of-sequence token
    logprobs: list[float]  # of each token, at the sampling temperature
    stopped: bool  # finished with an end-of-sequence token; False if it was cut off at the token limit


def never() -> bool:
    """The ``stop`` of work that nobody interrupts."""
    return False


class Policy(Protocol):
    """The model under training, as a source of steps may use it."""

    def sample(self, prompts: Sequence[Sequence[int]], seed: str, stop: Stop) -> list[Sample] | None:
        """One completion for each prompt (token ids), sampled with the settings of the run; None if ``stop`` interrupted it."""

    def logprobs(self, examples: Sequence[Example], *, at_start: bool = False) -> list[list[float]]:
        """Log-probabilities of each example's learned tokens; ``at_start``: under the model as the run began."""


class BatchSource(Protocol):
    """Where a run's steps come from."""

    @property
    def rows(self) -> Sequence[Example]:
        """The training rows; ``StepBatches.rows`` are indices into them."""

    def next_step(self, step: int, policy: Policy, stop: Stop) -> StepBatches | None:
        """The batches of step ``step``, counted from 0; None if ``stop`` interrupted it."""

    def state(self) -> dict[str, object]:
        """What ``restore`` needs to give the same steps again, to be kept as JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from what ``state`` returned."""


class RowSource:
    """Steps over rows that are there from the beginning."""

    def __init__(self, method: Method, examples: Sequence[Example], config: TrainingConfig):
        self._method, self.rows, self._config = method, examples, config
        self._steps: Iterator[list[list[int]]] = iter(())
        self._next = -1

    def next_step(self, step: int, policy: Policy, stop: Stop) -> StepBatches | None:
        if step != self._next:
            config = self._config
            rows = config.batch_size, config.grad_accumulation, config.seed
            self._steps, self._next = plan(self._method, self.rows, *rows, first=step), step
        batches = next(self._steps)
        self._next += 1
        width = self._method.width
        rows_taken = [index // width for batch in batches for index in batch[::width]]
        return StepBatches(rows_taken, [[self.rows[index] for index in batch] for batch in batches])

    def state(self) -> dict[str, object]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing is kept: which rows a step takes depends on its number alone."""
