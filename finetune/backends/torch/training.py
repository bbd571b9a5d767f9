"""A training run on PyTorch. TRL's loop trains; the caller gets each step, prints, records and decides when to stop."""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import transformers
from transformers.optimization import Adafactor

from finetune.backends.adapter_fit import demand_base
from finetune.backends.interface import Model, Sample, Step
from finetune.backends.length_batches import row_batches, split_by_learned
from finetune.backends.torch import adapters
from finetune.backends.torch.logprobs import collate, has_plain_head, learned_logprobs
from finetune.backends.torch.memory import peak_memory_mb
from finetune.backends.torch.runtime import Tensors, device, processes, quiet, torch
from finetune.errors import UserError, first_line
from finetune.methods import Method
from finetune.methods.batches import BatchSource
from finetune.methods.schedules import SCHEDULES, learning_rate
from finetune.models.examples import TrainingRow, examples_of
from finetune.models.loss_mask import Example
from finetune.records import files
from finetune.settings.config import TrainingConfig
from finetune.signals import Stop, never

_OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "adafactor": partial(
        Adafactor, relative_step=False, scale_parameter=False
    ),  # PyTorch's own cannot leave our rate alone
    "muon": torch.optim.Muon,
}


@dataclass
class Position:
    """How far a run has come, in whole steps; ``batch`` is always 0: an interrupted step is repeated."""

    step: int = 0
    batch: int = 0


class Trainer:
    """A training run that can be saved after any step and resumed from there."""

    is_sound = False  # TRL's loop does not say how far a step has come that an error has ended

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
        quiet()
        self.network = model.network
        if method.rollouts and processes() > 1:
            raise UserError(f"--method {method.name}: runs in one process only (start it without accelerate launch)")
        self.method, self.config, self.steps = method, config, steps
        self._model = model
        self.source = source
        lora, left_out = adapters.settings(self.network, config), adapters.notes(self.network, config)
        transformers.set_seed(config.seed)  # the first LoRA weights
        self.peft_model = adapters.attach(self.network, lora)
        self.adapter_config = adapters.config_record(lora)
        if start:
            tensors, metadata = adapters.read(start)
            demand_base(start, metadata, base)
            adapters.put(self.peft_model, tensors, start)
        self._start = _copied(self.peft_model) if method.rollouts else {}
        self.position = Position()
        full = "the logits of all tokens are computed, because its output head is not a plain matrix; that takes more memory"
        self.notes = [*left_out, *([] if has_plain_head(self.network) else [full])]
        self._about = {"base": base}
        self._resumed: Path | None = None
        chosen = optimizer(self.peft_model, config)
        rates = torch.optim.lr_scheduler.LambdaLR(chosen, _schedule(config, steps))
        self._trl = _trl_trainer(
            self.peft_model, model.encoder.tokenizer, method, source, config, steps, (chosen, rates)
        )

    @property
    def trainable_parameters(self) -> int:
        return adapters.count(self.peft_model)

    def train(self, stop: Stop, on_step: Callable[[Step], bool]) -> None:
        """Train up to the last step; ``on_step`` is called after each one and returns whether to continue.

        Ends early when ``stop`` returns True, after a step or in the middle of one, which then has changed nothing.
        """
        self._stop, self._on_step, self._started = stop, on_step, time.perf_counter()
        self._trl.listen(
            lambda step: self.source.next_step(step, self, stop), self._after_step, lambda: self.any_process(stop)
        )
        try:
            self._trl.train(resume_from_checkpoint=str(self._resumed) if self._resumed else None)
        finally:
            self._trl.let_go_of_processes()

    def _after_step(self, number: int, norm: float, rate: float) -> bool:
        """Report a step to the caller; returns whether to continue."""
        trl, seconds = self._trl, time.perf_counter() - self._started
        loss, weight, tokens, learned = self._total(list(trl.seen.values()))
        trl.seen = dict.fromkeys(trl.seen, 0.0)
        work = trl.taken(number - 1)
        metrics = {name: total / count for name, (total, count) in trl.metrics.items()} if processes() == 1 else {}
        trl.metrics = {}
        step = Step(
            number,
            loss=loss / (weight or 1.0),
            weight=weight,
            # in float16 the scale of the loss is found by trying: a step whose gradients overflow is skipped
            finite=math.isfinite(loss) and (math.isfinite(norm) or trl.accelerator.optimizer_step_was_skipped),
            learning_rate=rate,
            rows=work.rows,
            tokens=int(tokens),
            learned=int(learned),
            seconds=seconds,
            peak_memory_mb=peak_memory_mb(),
            metrics=work.metrics | metrics,
        )
        self.position = Position(number)
        go_on = self._on_step(step)
        self._started = time.perf_counter()
        return go_on and not self.any_process(self._stop)

    def validation_loss(self, rows: Sequence[TrainingRow], stop: Stop = never) -> float | None:
        """The method's loss over all rows, a mean by its weight; None if ``stop`` interrupted it."""
        self.network.eval()
        total, weight = 0.0, 0.0
        rank = torch.distributed.get_rank() if processes() > 1 else 0
        for batch in row_batches(rows, self.config.batch_size):
            if self.any_process(stop):
                return None
            if mine := examples_of(batch[rank :: processes()]):
                with device():  # the device on which the loss makes its constants
                    loss = self.method.loss(torch, self._learned(mine), mine, self.config)
                total += loss.total.item()
                weight += loss.weight
        total, count = self._total([total, weight])
        return total / count

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
        order = sorted(range(len(examples)), key=lambda index: len(examples[index].tokens))
        found: dict[int, list[float]] = {}
        size = self.config.batch_size
        with self._as_at_start() if at_start else nullcontext():
            for at in range(0, len(order), size):
                if stop():
                    return []
                indices = order[at : at + size]
                batch = [examples[index] for index in indices]
                found |= zip(indices, split_by_learned(self._learned(batch).tolist(), batch), strict=True)
                on_batch(len(batch))
        return [found[index] for index in range(len(examples))]

    @contextmanager
    def _as_at_start(self) -> Iterator[None]:
        """The model with the adapters that the run began with."""
        now = _copied(self.peft_model)
        adapters.put(self.peft_model, self._start)
        try:
            yield
        finally:
            adapters.put(self.peft_model, now)

    def sample(self, prompts: Sequence[Sequence[int]], seed: str, stop: Stop) -> list[Sample] | None:
        """One completion for each prompt, sampled with the settings of the run; None if ``stop`` interrupted it."""
        config = self.config
        return self._model.sample(
            prompts, max_tokens=config.grpo_max_tokens, temperature=config.grpo_temperature, seed=seed, stop=stop
        )

    def _learned(self, examples: Sequence[Example]) -> Any:
        batch = {name: tensor.to(device()) for name, tensor in collate(examples).items()}
        with torch.no_grad(), self._trl.accelerator.autocast():  # as in a step: ratios of the same model are 1
            return learned_logprobs(self.network, batch, self.method.temperature(self.config))

    def _total(self, values: list[float]) -> list[float]:
        """Their sums over all processes."""
        if processes() == 1:
            return values
        kind = torch.float32 if device().type == "mps" else torch.float64
        sums = torch.tensor(values, dtype=kind, device=device())
        try:
            torch.distributed.all_reduce(sums)
        except RuntimeError as error:
            problem = f"another process of this run is gone: {first_line(error)}"
            raise UserError(f"{problem} (--resume continues from the last training state)", exit_code=1) from None
        return [float(value) for value in sums.tolist()]

    def any_process(self, stop: Stop) -> bool:
        """Whether ``stop`` returns True in any process."""
        return self._total([float(stop())])[0] > 0

    def save_adapters(self, path: Path) -> None:
        adapters.save(adapters.trained(self.peft_model), path, self._about)

    def save(self, folder: Path) -> dict[str, object]:
        """Write what ``restore`` needs into the folder; returns the position, for the caller to keep."""
        if (
            self._resumed and self._trl.state.global_step < self.position.step
        ):  # TRL has not been resumed yet, and has loaded nothing
            for path in self._resumed.iterdir():
                if path.name != files.STATE_RECORD and not (folder / path.name).exists():
                    shutil.copyfile(path, folder / path.name)
        else:
            self._trl.write_state(folder)
        return {**asdict(self.position), "source": self.source.state()}

    def restore(self, folder: Path, position: Mapping[str, Any]) -> None:
        """Resume from what ``save`` wrote; UserError (exit 3) if a file is damaged."""
        path = folder / files.PEFT_ADAPTERS
        adapters.put(self.peft_model, adapters.read(path)[0], path)
        self.source.restore(position.get("source", {}))
        self.position = Position(position["step"])
        self._resumed = folder if self.position.step else None


def _trl_trainer(model: Any, tokenizer: Any, method: Method, *arguments: Any) -> Any:
    """TRL takes two seconds, and only training needs it."""
    if method.rollouts:
        from finetune.backends.torch.trl_rollouts import RolloutTrainer

        return RolloutTrainer(model, tokenizer, method, *arguments)
    from finetune.backends.torch.trl_trainer import CompletionTrainer

    return CompletionTrainer(model, tokenizer, method, *arguments)


def _copied(model: Any) -> Tensors:
    return {name: tensor.clone() for name, tensor in adapters.trained(model).items()}


def optimizer(model: Any, config: TrainingConfig) -> Any:
    """The optimizer by its name. Only those that know weight decay get it."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decay = {} if config.optimizer == "adam" else {"weight_decay": config.weight_decay}
    return _OPTIMIZERS[config.optimizer](parameters, lr=config.learning_rate, **decay)


def _schedule(config: TrainingConfig, steps: int) -> Callable[[int], float]:
    """What share of the peak learning rate a step has, counted from 0."""
    return lambda done: learning_rate(done + 1, steps, 1.0, config.warmup, SCHEDULES[config.schedule])
