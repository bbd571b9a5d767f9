"""The training loop on MLX. It yields each step; the caller prints, records and decides when to stop."""

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetune.backends.interface import Model, Sample, Step
from finetune.backends.length_batches import row_batches, split_by_learned
from finetune.backends.mlx import adapters, compiled, proofs, shared_prompts
from finetune.backends.mlx.distributed import Ranks
from finetune.backends.mlx.fast_paths import FastPaths
from finetune.backends.mlx.memory import peak_memory_mb
from finetune.backends.mlx.optimizers import optimizer
from finetune.backends.mlx.position import Position
from finetune.backends.mlx.runtime import GPU_STEP, Arrays, mx
from finetune.backends.mlx.steps import PlainSteps, Steps
from finetune.backends.mlx.wired import wired
from finetune.errors import UserError
from finetune.methods import Method
from finetune.methods.batches import BatchSource
from finetune.methods.schedules import SCHEDULES, learning_rate
from finetune.models.examples import TrainingRow, examples_of
from finetune.models.loss_mask import Example
from finetune.records.run import renamed_metrics
from finetune.settings import environment
from finetune.settings.config import TrainingConfig
from finetune.signals import Stop, never

from mlx.utils import tree_flatten, tree_unflatten  # isort: skip  after the runtime

_KNOWN_AFTER = 4  # steps: by then one has had long rows, and its memory is known
_LOGPROB_TOKENS = 2048  # whose log-probabilities are computed at once, without gradients
_ADAPTERS, _OPTIMIZER, _GRADIENTS = "adapters.safetensors", "optimizer.safetensors", "gradients.safetensors"


class Trainer:
    """A training run that can be saved between any two batches and resumed from there, to the same last bit."""

    is_sound = True
    proves = True  # that the fast paths compute what mlx-lm does; without weights there is nothing to prove it on

    def __init__(
        self,
        model: Model,
        method: Method,
        source: BatchSource,
        config: TrainingConfig,
        steps: int,
        base: str,
        start: Path | None = None,
    ):
        """See ``Backend.Trainer``."""
        self.network, self.method, self.config, self.steps = model.network, method, config, steps
        self.source, self._model = source, model
        if proofs.has_float16(self.network):
            raise UserError(
                f"{environment.PRECISION}=float16: for answers alone, gradients would vanish in it (unset it to train)"
            )
        self.ranks = Ranks()
        if method.rollouts and self.ranks.size > 1:
            raise UserError(f"--method {method.name}: runs in one process only (start it without mlx.launch)")
        self.adapter_config, left_out = adapters.settings_and_notes(self.network, config, model.encoder.new_tokens)
        mx.random.seed(config.seed)  # the first LoRA weights
        adapters.begin(self.network, self.adapter_config, model.encoder.new_tokens)
        if start:
            adapters.put_fitting(self.network, start, base)
        self.position = Position()
        self._about = {"base": base}
        self._sum: Arrays = {}  # of the gradients of the step under way
        self.network.eval()  # what is measured here must not depend on dropout
        paths = FastPaths(
            self.network,
            method.temperature(config),
            checkpoints=config.grad_checkpoint,
            shares_prompts=method.shares_prompts,
            proves=self.proves,
        )
        self.notes, self.full_logits = [*left_out, *paths.notes], paths.full_logits
        self._optimizer = optimizer(config)
        self._optimizer.init(self.network.trainable_parameters())
        mx.eval(self.network.parameters(), self._optimizer.state)
        self._plain = PlainSteps(
            self.network, method, config, self._optimizer, paths.logprobs, shares_prompts=paths.shares_prompts
        )
        self._steps: Steps
        self._steps, why_not = compiled.steps_of(self._plain, proves=self.proves) if GPU_STEP else (self._plain, [])
        self.notes += why_not
        self._losses: list[Any] = []  # of batches of the step under way that may still be computed
        self._start = adapters.trainable(self.network) if method.rollouts or method.reference else {}

    @property
    def trainable_parameters(self) -> int:
        return adapters.count(self.network)

    def train(self, stop: Stop, on_step: Callable[[Step], bool]) -> None:
        """``run``, with ``on_step`` called after each step; training ends early when it returns False."""
        for step in self.run(stop):
            if not on_step(step):
                return

    def run(self, stop: Stop) -> Iterator[Step]:
        """Train up to the last step; yields each step when it is done.

        Ends early between two batches when ``stop`` returns True; and after a step whose loss or gradient is not finite,
        which changes nothing.
        """
        with wired() as keep_in_memory:
            yield from self._run(stop, keep_in_memory)

    def _run(self, stop: Stop, keep_in_memory: Callable[[float], None]) -> Iterator[Step]:
        at, first = self.position, self.position.step
        while at.step < self.steps and not self.ranks.any(stop):
            started = time.perf_counter()
            work = self.source.next_step(at.step, self, stop)
            if work is None:
                return
            at.seconds += time.perf_counter() - started
            with self._kept_sound():
                while at.batch < len(work.batches):
                    started = time.perf_counter()
                    if at.batch and self.ranks.any(stop):
                        return
                    self._add(work.batches[at.batch])
                    at.seconds += time.perf_counter() - started
                started = time.perf_counter()
                finite, rate = self._apply()
                peak = peak_memory_mb()  # waits for the update
                at.seconds += time.perf_counter() - started
            step = Step(
                at.step + 1,
                loss=at.loss / (at.weight or 1.0),
                weight=at.weight,
                finite=finite,
                learning_rate=rate,
                rows=work.rows,
                tokens=at.tokens,
                learned=at.learned,
                seconds=at.seconds,
                peak_memory_mb=peak,
                metrics=work.metrics | {name: total / count for name, (total, count) in at.metrics.items()},
            )
            if finite:
                at = self.position = Position(step.step)
            if step.step == first + _KNOWN_AFTER:
                keep_in_memory(step.peak_memory_mb * 1e6)
            yield step
            if not finite:
                return

    @contextmanager
    def _kept_sound(self) -> Iterator[None]:
        """If an error of the device ends the block: the state before the step, where that can be had. It may have been
        computed ahead, so an error arrives late."""
        undo = self._steps.undo()
        try:
            yield
        except RuntimeError:
            if undo():
                self.position, self._sum, self._losses, self.is_sound = Position(self.position.step), {}, [], True
            raise

    def _add(self, rows: Sequence[TrainingRow]) -> None:
        """Add the loss and the gradients of a batch to those of the step."""
        at, mine = self.position, examples_of(self.ranks.share(rows))
        self.network.train()
        # dropout depends on the place in the run alone, not on what ran before
        place = f"{self.config.seed} {at.step} {at.batch} {self.ranks.rank}"
        mx.random.seed(zlib.crc32(place.encode()))
        sums: Arrays = dict.fromkeys(("loss", "weight", "tokens", "learned"), mx.array(0.0))
        if mine:
            sums, metrics = self._steps.sums(mine)
            if self.ranks.size == 1:  # of several processes some may have none
                self._note(metrics)
        elif self.ranks.size > 1:
            sums |= {name: mx.zeros_like(array) for name, array in adapters.trainable(self.network).items()}
        sums = self.ranks.total(sums)
        self.is_sound = False
        self._losses.append(sums.pop("loss"))
        at.weight += sums.pop("weight").item()
        at.tokens += int(sums.pop("tokens").item())
        at.learned += int(sums.pop("learned").item())
        self._sum = {name: self._sum[name] + array for name, array in sums.items()} if self._sum else sums
        if self._steps.waits:
            mx.eval(self._sum)
            self._settle()
        else:
            mx.async_eval(self._sum)
        at.batch += 1
        self.is_sound = self._steps.waits

    def _settle(self) -> None:
        """Wait for the losses of batches that are still computed."""
        for loss in self._losses:
            self.position.loss += loss.item()
        self._losses = []

    def _note(self, metrics: dict[str, tuple[Any, Any]]) -> None:
        """Add the metrics of a batch to those of the step."""
        for name, (value, count) in metrics.items():
            before = self.position.metrics.get(name, [0.0, 0.0])
            self.position.metrics[name] = [before[0] + value.item(), before[1] + count.item()]

    def _apply(self) -> tuple[bool, float]:
        """Change the weights by the gradients of the step; whether they were finite, and the learning rate."""
        at, config = self.position, self.config
        rate = learning_rate(at.step + 1, self.steps, config.learning_rate, config.warmup, SCHEDULES[config.schedule])
        if not self._sum:  # nothing in the step can be learned from
            self._settle()
            return True, rate
        self.is_sound, gradients, self._sum = False, self._sum, {}
        # in this order: a GPU has the update to compute while the loss is waited for
        finite = self._steps.apply(gradients, at.weight, [mx.array(at.loss), *self._losses], rate)
        self._settle()
        found = finite()
        self.is_sound = True
        return found, rate

    def validation_loss(self, rows: Sequence[TrainingRow], stop: Stop = never) -> float | None:
        """The method's loss over all rows, a mean by its weight; None if ``stop`` interrupted it."""
        self.network.eval()
        total, weight = 0.0, 0.0
        for batch in row_batches(rows, self.config.batch_size):
            if self.ranks.any(stop):
                return None
            if mine := examples_of(self.ranks.share(batch)):
                found, of_batch, _ = self._plain.loss(self.network, self._plain.collate(mine), mine)
                total += found.item()
                weight += of_batch.item()
        both = self.ranks.total({"total": mx.array(total), "weight": mx.array(weight)})
        return float(both["total"].item() / both["weight"].item())

    def logprobs(
        self,
        examples: Sequence[Example],
        *,
        at_start: bool = False,
        on_batch: Callable[[int], None] = lambda count: None,
        stop: Stop = never,
    ) -> list[list[float]]:
        """Log-probabilities of each example's learned tokens, ``at_start`` of the run or now; empty after ``stop``."""
        self.network.eval()
        found: dict[int, list[float]] = {}
        with self._as_at_start() if at_start else nullcontext():
            for indices in shared_prompts.side_by_side(examples, _LOGPROB_TOKENS):
                if stop():
                    return []
                batch = [examples[index] for index in indices]
                values: Any = self._plain.logprobs(self.network, self._plain.collate(batch)).tolist()
                found |= zip(indices, split_by_learned(values, batch), strict=True)
                on_batch(len(batch))
        return [found[index] for index in range(len(examples))]

    @contextmanager
    def _as_at_start(self) -> Iterator[None]:
        """The network with the adapters that the run began with."""
        now = adapters.trainable(self.network)
        adapters.put(self.network, self._start)
        try:
            yield
        finally:
            adapters.put(self.network, now)

    def sample(self, prompts: Sequence[Sequence[int]], seed: str, stop: Stop) -> list[Sample] | None:
        """One completion for each prompt, sampled with the settings of the run; None if ``stop`` interrupted it."""
        self.network.eval()
        most, temperature = self.config.grpo_max_tokens, self.config.grpo_temperature
        return self._model.sample(prompts, max_tokens=most, temperature=temperature, seed=seed, stop=stop)

    def any_process(self, stop: Stop) -> bool:
        """Whether ``stop`` returns True in any process of the run."""
        return self.ranks.any(stop)

    def save_adapters(self, path: Path) -> None:
        adapters.save(adapters.trainable(self.network), path, self._about)

    def save(self, folder: Path) -> dict[str, object]:
        """Write what ``restore`` needs into the folder; returns the position as JSON, for the caller to keep."""
        self._settle()
        self.save_adapters(folder / _ADAPTERS)
        adapters.save(dict(tree_flatten(self._optimizer.state)), folder / _OPTIMIZER)
        if self._sum:
            adapters.save(self._sum, folder / _GRADIENTS)
        return {**asdict(self.position), "source": self.source.state()}

    def restore(self, folder: Path, position: Mapping[str, Any]) -> None:
        """Resume from what ``save`` wrote; UserError (exit 3) if a file is damaged."""
        adapters.put(self.network, adapters.read_state(folder / _ADAPTERS))
        self._optimizer.state = tree_unflatten(list(adapters.read_state(folder / _OPTIMIZER).items()))
        self._sum = adapters.read_state(folder / _GRADIENTS) if (folder / _GRADIENTS).exists() else {}
        self.source.restore(position.get("source", {}))
        older = {"metrics": renamed_metrics(position.get("figures", {}))}
        kept = {name: value for name, value in position.items() if name not in ("source", "figures")}
        self.position = Position(**{**older, **kept})
