"""What a training step computes: loss and gradients of a batch, and what the optimizer makes of their sums."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from finetune.backends.mlx.logprobs import Part, collate
from finetune.backends.mlx.runtime import Arrays, evaluate, mx
from finetune.methods import Method
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig

import mlx.nn as nn  # isort: skip  after the runtime
import mlx.optimizers as optim  # isort: skip
from mlx.utils import tree_flatten, tree_unflatten  # isort: skip

Metrics = dict[str, tuple[Any, Any]]  # of each its sum and its count


class Steps(Protocol):
    """One way to compute steps of a network."""

    waits: bool  # whether everything is computed when a call returns

    def sums(self, examples: Sequence[Example]) -> tuple[Arrays, Metrics]:
        """Of a batch: loss, weight, tokens, learned tokens and, by its name, the gradient of each trained array."""

    def apply(self, gradients: Arrays, weight: float, losses: Sequence[Any], rate: float) -> Callable[[], bool]:
        """Change the weights by the gradients of a step, divided by their weight, unless these or the losses are not finite.

        Returns a function that waits for the result: whether they were finite.
        """

    def undo(self) -> Callable[[], bool]:
        """A function that makes weights and optimizer what they are now, and returns whether it could."""


class PlainSteps:
    """Operation by operation, as MLX computes them; on the CPU in two halves side by side."""

    waits = True

    def __init__(
        self,
        network: Any,
        method: Method,
        config: TrainingConfig,
        optimizer: Any,
        logprobs: Callable[[Any, list[Part]], Any],
        *,
        shares_prompts: bool,
    ):
        self.network, self.method, self.config, self.optimizer = network, method, config, optimizer
        self.logprobs, self._shares_prompts = logprobs, shares_prompts
        self._loss_and_grad = nn.value_and_grad(network, self.loss)

    def collate(self, examples: Sequence[Example]) -> list[Part]:
        return collate(examples, share_prompts=self._shares_prompts)

    def loss(self, network: Any, batch: list[Part], examples: Sequence[Example]) -> tuple[Any, Any, Metrics]:
        """The method's loss, its weight and its metrics."""
        loss = self.method.loss(mx, self.logprobs(network, batch), examples, self.config)
        metrics = {name: (metric.total, mx.array(metric.count)) for name, metric in loss.metrics.items()}
        return loss.total, mx.array(loss.weight), metrics

    def sums(self, examples: Sequence[Example]) -> tuple[Arrays, Metrics]:
        batch = self.collate(examples)
        (loss, weight, metrics), gradients = self._loss_and_grad(self.network, batch, examples)
        sums = {
            "loss": loss,
            "weight": weight,
            "tokens": mx.array(float(sum(part.size for part in batch))),
            "learned": mx.array(float(sum(part.learned for part in batch))),
            **dict(tree_flatten(gradients)),
        }
        evaluate(list(sums.values()))
        return sums, metrics

    def apply(self, gradients: Arrays, weight: float, losses: Sequence[Any], rate: float) -> Callable[[], bool]:
        gradients = {name: array / weight for name, array in gradients.items()}
        gradients, norm = optim.clip_grad_norm(gradients, self.config.max_grad_norm)
        finite = math.isfinite(norm.item()) and all(math.isfinite(loss.item()) for loss in losses)
        if finite:
            self.optimizer.learning_rate = rate
            self.optimizer.update(self.network, tree_unflatten(list(gradients.items())))
            mx.eval(self.network.trainable_parameters(), self.optimizer.state)
        return lambda: finite

    def undo(self) -> Callable[[], bool]:
        """It cannot: to keep what is replaced would take memory."""
        return lambda: False
