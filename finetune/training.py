"""A training run: rows in, adapters and their record out. The backend trains; this decides, prints and saves."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, ModuleType
from typing import Any

from finetune import advice, artifacts, checkpoints, contradictions, inputs, machine, run_record
from finetune.backends import chosen_because
from finetune.backends.base import Step
from finetune.cli import Stopped, UserError
from finetune.config import TrainingConfig
from finetune.encoding import Example
from finetune.methods import Method, steps_per_epoch, total_steps
from finetune.models import ModelFolder
from finetune.progress import Progress, say
from finetune.reporters import open_reporter
from finetune.tasks import TASKS
from finetune.training_progress import RunProgress, Watcher


def run(config: TrainingConfig, method: Method, backend: ModuleType) -> None:
    """Train as ``config`` says and leave the adapter folder complete; UserError before any work for whatever is wrong."""
    given = inputs.read(config)
    folder, encoder, rows, train, valid = given.folder, given.encoder, given.rows, given.train, given.valid
    steps = total_steps(config, len(train))
    contradictions.check_warmup(config, steps)
    contradictions.check_validation(config, len(valid))
    _check_memory(backend.held_mb(folder.path, config))
    artifacts.make_folder(config.adapter_path)
    record = run_record.describe_run(config, folder, encoder, given.dataset, backend.describe())
    state = config.adapter_path / artifacts.STATE
    if config.resume:
        run_record.check_same(config.adapter_path, record)
        checkpoint, position = checkpoints.newest(state, say)
    leader = backend.is_leader()

    with checkpoints.only_run(config.adapter_path) if leader else _nothing(), stop_signals() as received:
        report = open_reporter(config.report_to if leader else None, config.adapter_path, record["config"])
        if leader:
            say(f"{backend.describe()}{chosen_because(config)}")
            say(plan(config, folder, train, steps))
            epochs = steps / steps_per_epoch(len(train), config.batch_size, config.grad_accumulation)
            for note in advice.notes(config, len(train), epochs):
                say(f"Note: {note}")
        model = backend.load(folder.path, encoder)
        trainer = backend.Trainer(model, method, train, config, steps, record["model"]["weights"])
        watcher = Watcher(model, TASKS[given.dataset["type"]], [row for _, row in rows["valid"]], config)
        lines = [line for line, _ in rows["train"]]
        progress = RunProgress(config, trainer, backend.FORMAT.file, watcher, valid, lines, report, leader)
        if trainer.full_logits and leader:
            say(
                "Note: the model's output head is no plain matrix: it computes logits for all tokens, which takes memory."
            )
        if config.resume:
            trainer.restore(checkpoint, position["trainer"])
            progress.restore(checkpoint, position["progress"])
            if leader:
                say(f"Going on after step {trainer.position.step} of {steps}.")
        elif leader:
            run_record.start(config, record, trainer.adapter_config, backend.FORMAT.model_key)
        with Progress("Training", steps, "steps", silent=not leader) as bar:
            bar.advance(trainer.position.step)
            try:
                _train(trainer, progress, bar, lambda: bool(received))
            finally:
                if leader:
                    result = progress.result() | {"trainable_parameters": trainer.trainable_parameters}
                    run_record.finish(config.adapter_path, result)
    if not leader:
        return
    if not progress.ended:
        again = f"python train.py --resume --adapter-path {config.adapter_path}"
        number = received[0] if received else signal.SIGTERM  # another process of the run was told
        raise Stopped(f"Stopped after step {trainer.position.step}. To go on: {again}", number)
    progress.draw()
    early = " (stopped early: the validation loss no longer fell)" if progress.stopped_early else ""
    best = (
        "no validation rows: the last adapters are kept"
        if progress.best_step is None
        else f"best validation loss {progress.best_valid_loss:.3f} at step {progress.best_step}"
    )
    say(f"Done in {progress.seconds:.0f} s: {trainer.position.step} steps{early}, {best}.")
    say(f"Adapters: {config.adapter_path / backend.FORMAT.file}; the curve: {config.adapter_path / artifacts.CURVE}")
    say(f"Is it better? python test_finetuned.py --adapter-path {config.adapter_path}")


def _train(trainer: Any, progress: RunProgress, bar: Progress, stop: Callable[[], bool]) -> None:
    """Steps, validations and states until the run has ended or ``stop`` says so; in both cases everything is saved."""

    def goes_on() -> bool:
        validated = not progress.validation_due() or progress.validate(bar, stop)
        return validated and not progress.ended

    def after(step: Step) -> bool:
        progress.take_step(step, bar)
        return goes_on()

    if goes_on():
        trainer.train(stop, after)
    progress.save_state()


def _check_memory(held_mb: float) -> None:
    """UserError where the model could not even be loaded: the system would end the process, after a while, without a word."""
    try:
        total_mb = machine.memory_bytes()[0] / 1e6
    except OSError:  # then nobody can say
        return
    if held_mb > total_mb:
        raise UserError(
            f"the model takes {held_mb / 1e3:.1f} GB before the first step, and this machine has {total_mb / 1e3:.1f} GB"
            " (--dry-run says what would fit)"
        )


def plan(config: TrainingConfig, folder: ModelFolder, examples: list[Example], steps: int) -> str:
    tokens = sum(len(example.tokens) for example in examples)
    learned = sum(sum(example.loss_mask) for example in examples)
    epochs = steps / steps_per_epoch(len(examples), config.batch_size, config.grad_accumulation)
    rows = (
        f"{config.batch_size} rows"
        if config.grad_accumulation == 1
        else (f"{config.grad_accumulation} batches of {config.batch_size} rows")
    )
    return (
        f"Model {folder.name}, {len(examples)} training rows of {tokens / len(examples):.0f} tokens"
        f" ({learned / tokens:.0%} learned), {steps} steps of {rows} = {epochs:.1f} epochs"
    )


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM leave their number in the list: the loop ends between two batches, with everything saved.

    The second one ends the process at once; what is written is written atomically, so that breaks nothing.
    """
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for name in old:
            signal.signal(name, signal.SIG_DFL)
        with suppress(OSError):  # not by print: the signal may have come in the middle of one
            os.write(2, b"stopping after this batch; once more stops at once ...\n")

    old = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
