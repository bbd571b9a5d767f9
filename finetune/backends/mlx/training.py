"""The training loop on MLX. It yields what happened; the caller prints, records and decides when to stop."""

import math
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune.backends.base import OPTIMIZERS, Step
from finetune.backends.mlx import adapters
from finetune.backends.mlx.completion import collate, frozen_head, logprob_function
from finetune.backends.mlx.distributed import Ranks
from finetune.backends.mlx.low_rank import make_timely
from finetune.backends.mlx.model import MlxModel, peak_memory_mb
from finetune.backends.mlx.runtime import mx
from finetune.config import TrainingConfig
from finetune.encoding import Example
from finetune.methods import Method, plan
from finetune.methods.schedules import SCHEDULES, learning_rate

import mlx.nn as nn  # isort: skip  after the runtime
import mlx.optimizers as optim  # isort: skip
from mlx.utils import tree_flatten, tree_unflatten  # isort: skip

_ADAPTERS, _OPTIMIZER, _GRADIENTS = "adapters.safetensors", "optimizer.safetensors", "gradients.safetensors"


@dataclass
class Position:
    """How far a run is: whole steps, and the batches of the step under way with the sums of their losses and weights."""

    step: int = 0
    batch: int = 0
    loss: float = 0.0
    weight: float = 0.0
    tokens: int = 0
    seconds: float = 0.0


class Trainer:
    """A training run that can be saved between any two batches and go on from there, to the same last bit."""

    def __init__(
        self,
        model: MlxModel,
        method: Method,
        rows: Sequence[Example],
        config: TrainingConfig,
        steps: int,
        base: str,
    ):
        """Make the layers of ``config`` trainable; ``base`` is the fingerprint of the model's weights, kept with them."""
        self.network, self.method, self.rows, self.config, self.steps = model.network, method, rows, config, steps
        self.ranks = Ranks()
        self.adapter_config = adapters.settings(self.network, config)
        mx.random.seed(config.seed)  # the first LoRA weights
        adapters.attach(self.network, self.adapter_config)
        if config.grad_checkpoint:
            make_timely(self.network)
            _checkpoint_gradients(self.network)
        self.position = Position()
        self._about = {"base": base}
        self._sum: dict[str, Any] = {}  # of the gradients of the step under way
        self.full_logits = frozen_head(self.network) is None
        self._logprobs = logprob_function(self.network)
        self._loss_and_grad = nn.value_and_grad(self.network, self._loss)
        self._optimizer = optimizer(config)
        self._optimizer.init(self.network.trainable_parameters())
        mx.eval(self.network.parameters(), self._optimizer.state)

    @property
    def trainable_parameters(self) -> int:
        return adapters.count(self.network)

    def train(self, stop: Callable[[], bool], on_step: Callable[[Step], bool]) -> None:
        """The same as ``run``; ``on_step`` hears of each step when it is done, and says whether to go on."""
        for step in self.run(stop):
            if not on_step(step):
                return

    def run(self, stop: Callable[[], bool]) -> Iterator[Step]:
        """Train up to the last step; yields each step when it is done.

        Ends early, between two batches, when ``stop`` says so; after a step whose loss or gradient is not finite, which
        changes nothing.
        """
        at, config = self.position, self.config
        batches = plan(self.method, self.rows, config.batch_size, config.grad_accumulation, config.seed, at.step)
        for batch_rows in batches:
            if at.step >= self.steps or self.ranks.any(stop()):
                return
            while at.batch < len(batch_rows):
                started = time.perf_counter()
                if at.batch and self.ranks.any(stop()):
                    return
                self._add(batch_rows[at.batch])
                at.seconds += time.perf_counter() - started
            started = time.perf_counter()
            finite, rate = self._apply()
            at.seconds += time.perf_counter() - started
            step = Step(
                at.step + 1,
                loss=at.loss / at.weight,
                finite=finite,
                learning_rate=rate,
                rows=[row for batch in batch_rows for row in batch],
                tokens=at.tokens,
                learned=int(at.weight),
                seconds=at.seconds,
                peak_memory_mb=peak_memory_mb(),
            )
            if finite:
                at = self.position = Position(step.step)
            yield step
            if not finite:
                return

    def _loss(self, network: Any, batch: Any) -> tuple[Any, Any]:
        total, weight = self.method.loss(self._logprobs(network, batch))
        return total, mx.array(weight)

    def _add(self, rows: Sequence[int]) -> None:
        """Add the loss and the gradients of a batch to those of the step."""
        at, mine = self.position, self.ranks.share(rows)
        self.network.train()
        # what dropout drops depends on the place in the run alone, not on what ran before
        place = f"{self.config.seed} {at.step} {at.batch} {self.ranks.rank}"
        mx.random.seed(zlib.crc32(place.encode()))
        sums: dict[str, Any] = {"loss": mx.array(0.0), "weight": mx.array(0.0), "tokens": mx.array(0.0)}
        if mine:
            batch = collate([self.rows[row] for row in mine])
            (loss, weight), gradients = self._loss_and_grad(self.network, batch)
            tokens = sum(part.inputs.size for part in batch)
            sums = {"loss": loss, "weight": weight, "tokens": mx.array(float(tokens)), **dict(tree_flatten(gradients))}
            mx.eval(sum(array.sum() for array in sums.values()))  # one scalar that needs all: see lanes()
        elif self.ranks.size > 1:
            sums |= {name: mx.zeros_like(array) for name, array in adapters.trainable(self.network).items()}
        sums = self.ranks.total(sums)
        at.loss += sums.pop("loss").item()
        at.weight += sums.pop("weight").item()
        at.tokens += int(sums.pop("tokens").item())
        self._sum = {name: self._sum[name] + array for name, array in sums.items()} if self._sum else sums
        mx.eval(self._sum)
        at.batch += 1

    def _apply(self) -> tuple[bool, float]:
        """Change the weights by the gradients of the step; whether they were finite, and the learning rate."""
        at, config = self.position, self.config
        rate = learning_rate(at.step + 1, self.steps, config.learning_rate, config.warmup, SCHEDULES[config.schedule])
        gradients = {name: array / at.weight for name, array in self._sum.items()}
        self._sum = {}
        gradients, norm = optim.clip_grad_norm(gradients, config.max_grad_norm)
        finite = math.isfinite(at.loss) and math.isfinite(norm.item())
        if finite:
            self._optimizer.learning_rate = rate
            self._optimizer.update(self.network, tree_unflatten(list(gradients.items())))
            mx.eval(self.network.trainable_parameters(), self._optimizer.state)
        return finite, rate

    def validation_loss(self, rows: Sequence[Example], stop: Callable[[], bool] = lambda: False) -> float | None:
        """Mean negative log-probability per learned token over all rows, whatever their number; None where ``stop`` came."""
        self.network.eval()
        size = self.config.batch_size
        order = sorted(range(len(rows)), key=lambda row: len(rows[row].tokens))
        total, learned = 0.0, 0
        for at in range(0, len(order), size):
            if self.ranks.any(stop()):
                return None
            mine = self.ranks.share(order[at : at + size])
            if mine:
                batch = collate([rows[row] for row in mine])
                total -= self._logprobs(self.network, batch).sum().item()
                learned += sum(part.learned for part in batch)
        both = self.ranks.total({"total": mx.array(total), "learned": mx.array(float(learned))})
        return float(both["total"].item() / both["learned"].item())

    def save_adapters(self, path: Path) -> None:
        adapters.save(adapters.trainable(self.network), path, self._about)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what ``restore`` needs into the folder; returns the position, for the caller to keep."""
        self.save_adapters(folder / _ADAPTERS)
        adapters.save(dict(tree_flatten(self._optimizer.state)), folder / _OPTIMIZER)
        if self._sum:
            adapters.save(self._sum, folder / _GRADIENTS)
        return asdict(self.position)

    def restore(self, folder: Path, position: dict[str, Any]) -> None:
        """Go on from what ``save`` wrote; UserError (exit 3) where a file is damaged."""
        adapters.put(self.network, adapters.read(folder / _ADAPTERS)[0])
        self._optimizer.state = tree_unflatten(list(adapters.read(folder / _OPTIMIZER)[0].items()))
        self._sum = adapters.read(folder / _GRADIENTS)[0] if (folder / _GRADIENTS).exists() else {}
        self.position = Position(**position)


def optimizer(config: TrainingConfig) -> Any:
    """The optimizer of MLX by its name. Only those that know weight decay get it."""
    name = OPTIMIZERS[config.optimizer]
    options: dict[str, Any] = {}
    if name in ("AdamW", "Lion", "SGD", "Muon", "Adafactor"):
        options["weight_decay"] = config.weight_decay
    if name in ("Adam", "AdamW"):
        # without the correction the first hundred steps are several times larger than the learning rate says
        options["bias_correction"] = True
    if name == "Adafactor":
        options |= {"relative_step": False, "scale_parameter": False}  # the schedule is ours
    return getattr(optim, name)(learning_rate=config.learning_rate, **options)


def _checkpoint_gradients(network: Any) -> None:
    """Keep only the input of each block for the way back and compute the block again there: less memory, a third more time.

    arXiv 1604.06174.
    """
    for layer in network.layers:
        kind = type(layer)
        layer.__class__ = type(f"Recomputed{kind.__name__}", (kind,), {"__call__": _recomputed(kind.__call__)})


def _recomputed(plain: Callable[..., Any]) -> Callable[..., Any]:
    def call(layer: Any, x: Any, *rest: Any, **named: Any) -> Any:
        if not layer.training:
            return plain(layer, x, *rest, **named)
        stream = mx.default_stream(mx.default_device())

        def with_parameters(parameters: Any, x: Any) -> Any:
            layer.update(parameters)
            with mx.stream(stream):  # the second time too
                return plain(layer, x, *rest, **named)

        return mx.checkpoint(with_parameters)(layer.trainable_parameters(), x)

    return call
