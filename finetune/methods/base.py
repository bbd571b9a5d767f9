"""What a method is: what becomes of a row, and a loss."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from finetune.models.examples import Encode, whole_conversations
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig


@dataclass(frozen=True)
class MetricSum:
    """A metric of a batch as a sum and what it is divided by, so that batches can be added up."""

    total: Any  # a number as an array of the backend
    count: float


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a batch. What is minimised is ``total`` over all batches of a step, divided by their ``weight``."""

    total: Any  # a number as an array of the backend
    weight: float
    metrics: dict[str, MetricSum] = field(default_factory=dict)


class LossFunction(Protocol):
    """The loss of a method, written once for all backends."""

    def __call__(self, xp: Any, logprobs: Any, examples: Sequence[Example], config: TrainingConfig) -> BatchLoss:
        """``xp``: the module of the backend's array functions (``mlx.core`` or ``torch``; only names that both have).
        ``logprobs``: array [tokens] of the learned tokens' log-probabilities, example after example."""


@dataclass(frozen=True)
class Method:
    """How a model learns. ``encode`` makes the examples of each row; a row that lacks ``columns`` is refused before."""

    name: str
    loss: LossFunction
    encode: Encode = whole_conversations
    columns: tuple[str, ...] = ()  # fields that every row needs beside its messages
    pairs: bool = False  # a row is a chosen and a rejected answer; the loss is a mean over rows, not over tokens
    reference: bool = False  # the loss needs log-probabilities under the model as it starts
    each_token: bool = False  # the loss is that of sft: each token's negative log-probability, summed
    rollouts: bool = False  # the model itself writes the completions that it learns from

    @property
    def shares_prompts(self) -> bool:
        """Whether a batch has several completions of the same prompt."""
        return self.pairs or self.rollouts

    def temperature(self, config: TrainingConfig) -> float:
        """What logits are divided by: completions are learned from at the temperature that they were sampled at."""
        return config.grpo_temperature if self.rollouts else 1.0


@dataclass(frozen=True)
class Sample:
    """A completion sampled from a model."""

    tokens: list[int]  # with the end-of-sequence token
    logprobs: list[float]  # of each token, at the sampling temperature
    stopped: bool  # finished with an end-of-sequence token; False if it was cut off at the token limit
