"""A training run on PyTorch. TRL's loop trains; the caller hears of each step, prints, records and decides when to stop."""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import transformers
from transformers.optimization import Adafactor

from finetune.backends.interface import Model, Sample, Step, Stop, never
from finetune.backends.torch import adapters
from finetune.backends.torch.logprobs import collate, has_plain_head, learned_logprobs
from finetune.backends.torch.memory import peak_memory_mb
from finetune.backends.torch.runtime import device, processes, quiet, torch
from finetune.errors import UserError
from finetune.methods import Method
from finetune.methods.batches import BatchSource
from finetune.methods.schedules import SCHEDULES, learning_rate
from finetune.models.encoder import Example
from finetune.models.examples import TrainingRow, examples_of
from finetune.records import files
from finetune.settings.config import TrainingConfig

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
    """How far a run is, in whole steps; ``batch`` is always 0: a step under way is begun again."""

    step: int = 0
    batch: int = 0


class Trainer:
    """A training run that can be saved after any step and go on from there."""

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
        """Make the layers of ``config`` trainable; ``base`` is the fingerprint of the model's weights, kept with them.

        ``start``: a file of adapters to begin with. UserError (exit 3) where they do not fit.
        """
        quiet()
        self.network = model.network
        if method.rollouts and processes() > 1:
            raise UserError(f"--method {method.name}: in one process only (start it without accelerate launch)")
        self.method, self.config, self.steps = method, config, steps
        self._model = model
        self.source = source
        lora = adapters.settings(self.network, config)
        transformers.set_seed(config.seed)  # the first LoRA weights
        self.peft_model = adapters.attach(self.network, lora)
        self.adapter_config = adapters.config_record(lora)
        if start:
            tensors, metadata = adapters.read(start)
            if metadata.get("base", base) != base:
                raise UserError(f"{start}: was trained on another model", exit_code=3)
            adapters.put(self.peft_model, tensors, start)
        self._start = _copied(self.peft_model) if method.rollouts else {}
        self.position = Position()
        self.full_logits = not has_plain_head(self.network)
        self._about = {"base": base}
        self._resumed: Path | None = None
        chosen = optimizer(self.peft_model, config)
        rates = torch.optim.lr_scheduler.LambdaLR(chosen, _schedule(config, steps))
        self._sft = _trl(self.peft_model, model.encoder.tokenizer, method, source, config, steps, (chosen, rates))

    @property
    def trainable_parameters(self) -> int:
        return adapters.count(self.peft_model)

    def train(self, stop: Stop, on_step: Callable[[Step], bool]) -> None:
        """Train up to the last step; ``on_step`` is called after each one and returns whether to continue.

        Ends early when ``stop`` returns True, after a step or in the middle of one, which then has changed nothing.
        """
        sft, started = self._sft, time.perf_counter()

        def after(number: int, norm: float, rate: float) -> bool:
            nonlocal started
            seconds = time.perf_counter() - started
            seen = self._total(list(sft.seen.values()))
            sft.seen = dict.fromkeys(sft.seen, 0.0)
            loss, weight, tokens, learned = seen
            work = sft.taken(number - 1)
            metrics = {name: total / count for name, (total, count) in sft.metrics.items()} if processes() == 1 else {}
            sft.metrics = {}
            # in float16 the scale of the loss is found by trying: a step whose gradients overflow is skipped
            finite = math.isfinite(loss) and (math.isfinite(norm) or sft.accelerator.optimizer_step_was_skipped)
            step = Step(
                number,
                loss=loss / (weight or 1.0),
                weight=weight,
                finite=finite,
                learning_rate=rate,
                rows=work.rows,
                tokens=int(tokens),
                learned=int(learned),
                seconds=seconds,
                peak_memory_mb=peak_memory_mb(),
                metrics=work.metrics | metrics,
            )
            self.position = Position(number)
            go_on = on_step(step)
            started = time.perf_counter()
            return go_on and not self._any(stop())

        sft.listen(lambda step: self.source.next_step(step, self, stop), after, lambda: self._any(stop()))
        try:
            sft.train(resume_from_checkpoint=str(self._resumed) if self._resumed else None)
        finally:
            sft.let_go_of_processes()

    def validation_loss(self, rows: Sequence[TrainingRow], stop: Stop = never) -> float | None:
        """The method's loss over all rows, a mean by its weight; None if ``stop`` interrupted it."""
        self.network.eval()
        size = self.config.batch_size
        order = sorted(rows, key=lambda row: row.tokens)
        total, weight = 0.0, 0.0
        rank = torch.distributed.get_rank() if processes() > 1 else 0
        for at in range(0, len(order), size):
            if self._any(stop()):
                return None
            if mine := examples_of(order[at : at + size][rank :: processes()]):
                with device():  # where the loss makes its constants
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
    ) -> list[list[float]]:
        """Log-probabilities of each example's learned tokens; ``at_start``: under the model as the run began."""
        self.network.eval()
        now = _copied(self.peft_model) if at_start else {}
        if at_start:
            adapters.put(self.peft_model, self._start)
        order = sorted(range(len(examples)), key=lambda index: len(examples[index].tokens))
        found: dict[int, list[float]] = {}
        size = self.config.batch_size
        for at in range(0, len(order), size):
            batch = order[at : at + size]
            values = self._learned([examples[index] for index in batch]).tolist()
            for index in batch:
                learned = examples[index].learned
                found[index], values = values[:learned], values[learned:]
            on_batch(len(batch))
        if at_start:
            adapters.put(self.peft_model, now)
        return [found[index] for index in range(len(examples))]

    def sample(self, prompts: Sequence[Sequence[int]], seed: str, stop: Stop) -> list[Sample] | None:
        """One completion for each prompt, sampled with the settings of the run; None if ``stop`` interrupted it."""
        config = self.config
        return self._model.sample(
            prompts, max_tokens=config.grpo_max_tokens, temperature=config.grpo_temperature, seed=seed, stop=stop
        )

    def _learned(self, examples: Sequence[Example]) -> Any:
        batch = {name: tensor.to(device()) for name, tensor in collate(examples).items()}
        with torch.no_grad(), self._sft.accelerator.autocast():  # as in a step: ratios of the same model are 1
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
            raise UserError(
                f"another process of this run is gone: {str(error).splitlines()[0]} (--resume goes on from the last state)",
                exit_code=1,
            ) from None
        return [float(value) for value in sums.tolist()]

    def _any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self._total([float(flag)])[0] > 0

    def save_adapters(self, path: Path) -> None:
        adapters.save(adapters.trained(self.peft_model), path, self._about)

    def save(self, folder: Path) -> dict[str, object]:
        """Write what ``restore`` needs into the folder; returns the position, for the caller to keep."""
        if (
            self._resumed and self._sft.state.global_step < self.position.step
        ):  # TRL has not gone on, and loaded nothing
            for path in self._resumed.iterdir():
                if path.name != files.STATE_RECORD and not (folder / path.name).exists():
                    shutil.copyfile(path, folder / path.name)
        else:
            self._sft.write_state(folder)
        return {**asdict(self.position), "source": self.source.state()}

    def restore(self, folder: Path, position: Mapping[str, Any]) -> None:
        """Resume from what ``save`` wrote; UserError (exit 3) if a file is damaged."""
        path = folder / files.PEFT_ADAPTERS
        adapters.put(self.peft_model, adapters.read(path)[0], path)
        self.source.restore(position.get("source", {}))
        self.position = Position(position["step"])
        self._resumed = folder if self.position.step else None


def _trl(model: Any, tokenizer: Any, method: Method, *arguments: Any) -> Any:
    """TRL takes two seconds, and only training needs it."""
    if method.rollouts:
        from finetune.backends.torch.trl_rollouts import RolloutTrainer

        return RolloutTrainer(model, tokenizer, method, *arguments)
    from finetune.backends.torch.trl_trainer import CompletionTrainer

    return CompletionTrainer(model, tokenizer, method, *arguments)


def _copied(model: Any) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in adapters.trained(model).items()}


def optimizer(model: Any, config: TrainingConfig) -> Any:
    """The optimizer by its name. Only those that know weight decay get it."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decay = {} if config.optimizer == "adam" else {"weight_decay": config.weight_decay}
    return _OPTIMIZERS[config.optimizer](parameters, lr=config.learning_rate, **decay)


def _schedule(config: TrainingConfig, steps: int) -> Callable[[int], float]:
    """What share of the peak learning rate a step has, counted from 0."""
    return lambda done: learning_rate(done + 1, steps, 1.0, config.warmup, SCHEDULES[config.schedule])
