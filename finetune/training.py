"""A training run: rows in, adapters and their record out. The backend trains; this decides, prints and saves."""

import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType, ModuleType
from typing import Any

from finetune import artifacts
from finetune.backends.base import Step, Validation
from finetune.cli import Stopped, UserError
from finetune.config import TrainingConfig, describe
from finetune.encoding import ChatEncoder, Example, encode_rows
from finetune.methods import Method
from finetune.models import ModelFolder, find_model
from finetune.progress import Progress, say

_HISTORY = 2  # earlier adapters kept beside the best


@dataclass
class Outcome:
    """How far a run came."""

    steps: int = 0
    best_step: int = 0
    best_valid_loss: float | None = None  # per learned token; None before the first validation
    seconds: float = 0.0
    stopped_early: bool = False
    trainable_parameters: int = 0
    report: list[Step] = field(default_factory=list)  # steps since the last report


def run(config: TrainingConfig, method: Method, backend: ModuleType) -> None:
    """Train as ``config`` says and leave the adapter folder complete; UserError before any work for whatever is wrong."""
    record = artifacts.read_json(config.data_dir / artifacts.DATASET_RECORD, made_by="python dataset.py")
    if config.dataset_type not in (None, record["type"]):
        raise UserError(
            f"--dataset-type: {config.data_dir} holds {record['type']} rows, not {config.dataset_type}"
        )
    rows = {
        split: artifacts.read_jsonl(artifacts.split_file(config.data_dir, split))
        for split in ("train", "valid")
    }
    artifacts.make_folder(config.adapter_path)
    folder = find_model(config.model, say)
    encoder = ChatEncoder(folder.path)
    examples = {
        split: encode_rows(
            encoder, rows[split], artifacts.split_file(config.data_dir, split), config.max_seq_length
        )
        for split in rows
    }
    for split, encoded in examples.items():
        if not encoded:
            raise UserError(
                f"{artifacts.split_file(config.data_dir, split)}: no rows (run: python dataset.py)"
            )
    steps = total_steps(config, len(examples["train"]))
    say(backend.describe())
    say(plan(config, folder, examples["train"], steps))

    model = backend.load(folder.path, encoder)
    adapter_config = backend.attach_lora(model, config)
    outcome = Outcome(trainable_parameters=backend.trainable_parameters(model))
    start_record(config, folder, encoder, record, adapter_config, backend)
    with stop_signals() as received, Progress("Training", steps, "steps") as bar:
        for event in backend.train(model, method, examples["train"], examples["valid"], config, steps):
            if isinstance(event, Step):
                on_step(event, outcome, config, bar, rows["train"])
            else:
                on_validation(event, outcome, config, bar, lambda path: backend.save_adapters(model, path))
                if (
                    config.patience
                    and event.step - outcome.best_step >= config.patience * config.steps_per_eval
                ):
                    outcome.stopped_early = event.step < steps
                    break
            if received and isinstance(event, Step):
                keep(
                    event.step,
                    outcome.best_step == 0,
                    config,
                    lambda path: backend.save_adapters(model, path),
                )
                finish_record(config, outcome)
                raise Stopped(f"stopped at step {event.step}; {config.adapter_path} is saved", received[0])
    finish_record(config, outcome)
    say(
        f"Done in {outcome.seconds:.0f} s: {outcome.steps} steps"
        + (" (stopped early: the validation loss no longer fell)" if outcome.stopped_early else "")
        + f", best validation loss {outcome.best_valid_loss:.3f} at step {outcome.best_step}."
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


def on_step(
    event: Step, outcome: Outcome, config: TrainingConfig, bar: Progress, rows: list[tuple[int, Any]]
) -> None:
    if not event.finite:
        lines = ", ".join(str(rows[row][0]) for row in event.rows)
        file = artifacts.split_file(config.data_dir, "train")
        finish_record(config, outcome)
        raise UserError(
            f"the loss is not finite at step {event.step}, rows {file}:{lines}"
            f" (lower --learning-rate, now {config.learning_rate}; the best adapters so far are kept)",
            exit_code=5,
        )
    outcome.steps, outcome.seconds = event.step, outcome.seconds + event.seconds
    outcome.report.append(event)
    bar.advance(note=f"loss {event.loss:.3f}")
    if event.step % config.steps_per_report == 0:
        since = outcome.report
        seconds = sum(step.seconds for step in since)
        metrics = {
            "step": event.step,
            "loss": sum(step.loss * step.learned for step in since) / sum(step.learned for step in since),
            "learning_rate": event.learning_rate,
            "tokens_per_second": sum(step.tokens for step in since) / seconds,
            "rows_per_second": sum(len(step.rows) for step in since) / seconds,
            "peak_memory_mb": event.peak_memory_mb,
            "seconds": outcome.seconds,
        }
        artifacts.append_jsonl(config.adapter_path / artifacts.METRICS, metrics)
        outcome.report = []


def on_validation(
    event: Validation, outcome: Outcome, config: TrainingConfig, bar: Progress, save: Any
) -> None:
    best = outcome.best_valid_loss is None or event.loss < outcome.best_valid_loss
    if best:
        outcome.best_step, outcome.best_valid_loss = event.step, event.loss
    keep(event.step, best, config, save)
    metrics = {"step": event.step, "valid_loss": event.loss, "best": best, "seconds": outcome.seconds}
    artifacts.append_jsonl(config.adapter_path / artifacts.METRICS, metrics)
    bar.say(
        f"step {event.step}: validation loss {event.loss:.3f}" + (" (best so far, saved)" if best else "")
    )


def keep(step: int, best: bool, config: TrainingConfig, save: Any) -> None:
    """Save the adapters of a step to the history, and as *the* adapters where they are the best so far."""
    save(config.adapter_path / f"{step:07d}_{artifacts.ADAPTERS}")
    if best:
        save(config.adapter_path / artifacts.ADAPTERS)
    for old in sorted(config.adapter_path.glob(f"[0-9]*_{artifacts.ADAPTERS}"))[:-_HISTORY]:
        old.unlink()


def start_record(
    config: TrainingConfig,
    folder: ModelFolder,
    encoder: ChatEncoder,
    data: dict[str, Any],
    adapter_config: Any,
    backend: Any,
) -> None:
    """What made these adapters; written before the first step, so that every adapter file has its record."""
    for old in (config.adapter_path / artifacts.METRICS, *config.adapter_path.glob(f"*{artifacts.ADAPTERS}")):
        old.unlink(missing_ok=True)
    artifacts.write_json(
        config.adapter_path / artifacts.ADAPTER_CONFIG, {**adapter_config, "model": str(folder.path)}
    )
    artifacts.write_text(config.adapter_path / artifacts.TRAINING_CONFIG, describe(config) + "\n")
    record = {
        "format": 1,
        "config": {name: getattr(config, name) for name in config.origins},
        "origins": config.origins,
        "task": data["type"],
        "model": {
            "name": folder.name,
            "source": folder.source,
            "revision": folder.revision,
            "path": folder.path,
        },
        "template_sha256": artifacts.text_hash(encoder.template),
        "data": {"folder": config.data_dir, "source": data["source"], "files": data["files"]},
        "command": "python " + " ".join(sys.argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "device": backend.describe(),
        "machine": artifacts.machine_and_versions(),
    }
    artifacts.write_json(config.adapter_path / artifacts.RUN_RECORD, record)


def finish_record(config: TrainingConfig, outcome: Outcome) -> None:
    path = config.adapter_path / artifacts.RUN_RECORD
    names = ("steps", "best_step", "best_valid_loss", "seconds", "trainable_parameters", "stopped_early")
    record = artifacts.read_json(path, made_by="python train.py")
    artifacts.write_json(path, {**record, "result": {name: getattr(outcome, name) for name in names}})


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
