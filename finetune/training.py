"""A training run: rows in, adapters and their record out. The backend trains; this decides, prints and saves."""

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from finetune import artifacts, run_record
from finetune.backends.base import Step, Validation
from finetune.cli import Stopped, UserError
from finetune.config import TrainingConfig
from finetune.encoding import ChatEncoder, Example, encode_rows
from finetune.methods import Method
from finetune.models import ModelFolder, find_model
from finetune.progress import Progress, say

_HISTORY = 2  # earlier adapters kept beside the best


def run(config: TrainingConfig, method: Method, backend: ModuleType) -> None:
    """Train as ``config`` says and leave the adapter folder complete; UserError before any work for whatever is wrong."""
    dataset = artifacts.read_dataset_record(config.data_dir)
    if config.dataset_type not in (None, dataset["type"]):
        raise UserError(f"--dataset-type: {config.data_dir} holds {dataset['type']} rows, not {config.dataset_type}")
    rows = {split: artifacts.read_split(config.data_dir, split, dataset) for split in ("train", "valid")}
    folder = find_model(config.model, say)
    encoder = ChatEncoder(folder.path)
    paths = {split: artifacts.split_file(config.data_dir, split) for split in rows}
    train, valid = (encode_rows(encoder, rows[split], paths[split], config.max_seq_length) for split in rows)
    artifacts.make_folder(config.adapter_path)
    steps = total_steps(config, len(train))
    say(backend.describe())
    say(plan(config, folder, train, steps))

    model = backend.load(folder.path, encoder)
    adapter_config = backend.attach_lora(model, config)
    run_record.start(config, folder, encoder, dataset, adapter_config, backend.describe())
    progress = RunProgress(config, partial(backend.save_adapters, model), [line for line, _ in rows["train"]])
    try:
        with stop_signals() as received, Progress("Training", steps, "steps") as bar:
            for event in backend.train(model, method, train, valid, config, steps):
                if isinstance(event, Step):
                    progress.take_step(event, bar)
                    if received:
                        progress.save(best=progress.best_step is None)
                        break
                elif progress.take_validation(event, bar) >= (config.patience or math.inf):
                    progress.stopped_early = event.step < steps
                    break
    finally:
        result = progress.result() | {"trainable_parameters": backend.trainable_parameters(model)}
        run_record.finish(config.adapter_path, result)
    if received:
        raise Stopped(f"stopped at step {progress.steps}; {config.adapter_path} is saved", received[0])
    say(
        f"Done in {progress.seconds:.0f} s: {progress.steps} steps"
        + (" (stopped early: the validation loss no longer fell)" if progress.stopped_early else "")
        + f", best validation loss {progress.best_valid_loss:.3f} at step {progress.best_step}."
    )
    say(f"Adapters: {config.adapter_path / artifacts.ADAPTERS}")


def total_steps(config: TrainingConfig, rows: int) -> int:
    if config.epochs is None:
        return config.iters
    return max(1, round(config.epochs * math.ceil(rows / config.batch_size)))


def plan(config: TrainingConfig, folder: ModelFolder, examples: list[Example], steps: int) -> str:
    tokens = sum(len(example.tokens) for example in examples)
    learned = sum(sum(example.loss_mask) for example in examples)
    return (
        f"Model {folder.name}, {len(examples)} training rows of {tokens / len(examples):.0f} tokens"
        f" ({learned / tokens:.0%} learned), {steps} steps of {config.batch_size} rows"
        f" = {steps * config.batch_size / len(examples):.1f} epochs"
    )


@dataclass
class RunProgress:
    """How far a run is, and its adapters and metrics on disk."""

    config: TrainingConfig
    save_to: Callable[[Path], None]
    lines: list[int]  # of the training rows in their file
    steps: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    best_valid_loss: float = math.inf  # per learned token
    stopped_early: bool = False
    _unreported: list[Step] = field(default_factory=list)
    _validations_since_best: int = 0

    def take_step(self, step: Step, bar: Progress) -> None:
        """Count a step and report now and then; UserError (exit 5) where it was not finite."""
        if not step.finite:
            where = f"{artifacts.split_file(self.config.data_dir, 'train')}:{','.join(str(self.lines[i]) for i in step.rows)}"
            kept = f"; the adapters of step {self.best_step} are kept" if self.best_step else ""
            remedy = f"lower --learning-rate, now {self.config.learning_rate}"
            raise UserError(f"{where}: the loss is not finite at step {step.step} ({remedy}{kept})", exit_code=5)
        self.steps = step.step
        self.seconds += step.seconds
        bar.advance(note=f"loss {step.loss:.3f}")
        self._unreported.append(step)
        if step.step % self.config.steps_per_report == 0:
            self._append(report(self._unreported) | {"seconds": self.seconds})
            self._unreported = []

    def take_validation(self, validation: Validation, bar: Progress) -> int:
        """Keep the adapters; returns how many validations in a row were not the best."""
        best = self.best_step is None or validation.loss < self.best_valid_loss
        if best:
            self.best_step, self.best_valid_loss = validation.step, validation.loss
        self._validations_since_best = 0 if best else self._validations_since_best + 1
        self.save(best)
        metrics = {"step": validation.step, "valid_loss": validation.loss, "best": best, "seconds": self.seconds}
        self._append(metrics)
        bar.say(f"step {validation.step}: validation loss {validation.loss:.3f}" + (" (best so far)" if best else ""))
        return self._validations_since_best

    def save(self, best: bool) -> None:
        """Save to the history, and as *the* adapters where they are the best so far."""
        folder = self.config.adapter_path
        self.save_to(folder / f"{self.steps:07d}_{artifacts.ADAPTERS}")
        if best:
            self.save_to(folder / artifacts.ADAPTERS)
        for old in sorted(folder.glob(f"[0-9]*_{artifacts.ADAPTERS}"))[:-_HISTORY]:
            old.unlink()

    def result(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "best_step": self.best_step,
            "best_valid_loss": self.best_valid_loss if self.best_step else None,
            "seconds": self.seconds,
            "stopped_early": self.stopped_early,
        }

    def _append(self, metrics: dict[str, Any]) -> None:
        artifacts.append_jsonl(self.config.adapter_path / artifacts.METRICS, metrics)


def report(steps: list[Step]) -> dict[str, Any]:
    """The line of metrics.jsonl for the steps since the last one."""
    seconds = sum(step.seconds for step in steps)
    return {
        "step": steps[-1].step,
        "loss": sum(step.loss * step.learned for step in steps) / sum(step.learned for step in steps),
        "learning_rate": steps[-1].learning_rate,
        "tokens_per_second": sum(step.tokens for step in steps) / seconds,
        "rows_per_second": sum(len(step.rows) for step in steps) / seconds,
        "peak_memory_mb": steps[-1].peak_memory_mb,
    }


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM only leave their number in the list: the loop ends between two steps, with everything saved."""
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        say("stopping after this step ...")

    old = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
