"""A training run: rows in, adapters and their record out. The backend trains; this decides, prints and saves."""

import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from types import FrameType

from finetune.backends import chosen_because
from finetune.backends.interface import Backend, Step, Trainer
from finetune.errors import Stopped, UserError
from finetune.methods import Method, RowSource, epoch_steps, total_steps
from finetune.methods.batches import BatchSource
from finetune.methods.dpo import REFERENCE
from finetune.models.encoder import Example
from finetune.models.examples import TrainingRow, examples_of
from finetune.models.find import ModelFolder
from finetune.records import files, machine
from finetune.records.run import finish_run
from finetune.rollouts.probe import probe_rewards
from finetune.rollouts.rewards import Judge, open_judge
from finetune.rollouts.source import RolloutSource
from finetune.settings import advice, conflicts
from finetune.settings.config import TrainingConfig
from finetune.tasks import TASKS
from finetune.terminal import Progress, say
from finetune.training import checkpoints, inputs
from finetune.training import start as run_record
from finetune.training.inputs import Inputs
from finetune.training.progress import RunProgress
from finetune.training.reporters import open_reporter
from finetune.training.validation import Found, Measure, Note, Stop, Watcher, mean_reward


def run(config: TrainingConfig, method: Method, backend: Backend) -> None:
    """Train as ``config`` says and leave the adapter folder complete; UserError before any work for whatever is wrong."""
    given = inputs.read(config, method.encode, method.columns)
    folder, encoder, train = given.folder, given.encoder, given.train
    steps = total_steps(config, len(train))
    conflicts.check_warmup(config, steps)
    conflicts.check_validation(config, len(given.valid))
    _check_memory(backend.static_mb(folder.path, config))
    record = run_record.describe_run(config, folder, encoder, given.dataset, backend.describe())
    state = config.adapter_path / files.STATE
    begun = config.from_adapter / backend.FORMAT.file if config.from_adapter else None
    if config.resume:
        run_record.check_same(config.adapter_path, record)
        checkpoint, position = checkpoints.newest(state, say)
        begun = config.adapter_path / files.START if begun else None
    leader = backend.is_leader()

    with ExitStack() as stack:
        stack.enter_context(checkpoints.only_run(config.adapter_path) if leader else nullcontext())
        received = stack.enter_context(stop_signals())
        task = TASKS[given.dataset.type]
        judge = stack.enter_context(open_judge(task, config)) if method.rollouts else None
        report = open_reporter(config.report_to if leader else None, config.adapter_path, record.config)
        if leader:
            _announce(config, method, backend, given, steps)
        model = backend.load(folder.path, encoder)
        source: BatchSource = RowSource(method, train, config)
        if judge:
            source = RolloutSource(method, train, judge, encoder, config)
        trainer = backend.Trainer(model, method, source, config, steps, record.model.fingerprint, begun)
        watcher = Watcher(model, task, [row.fields for row in given.valid], config)
        measure = None
        if judge:
            measure = Measure("reward", partial(mean_reward, model, judge, given.valid, config), True)
        elif given.valid:
            measure = Measure("loss", partial(_validation_loss, trainer, given.valid))
        if method.reference:
            _add_references(trainer, examples_of(given.valid))
            _add_references(trainer, examples_of(train))
        lines = [row.line for row in train]
        from_start = config.from_adapter is not None or method.rollouts
        progress = RunProgress(
            config, trainer, backend.FORMAT.file, watcher, measure, lines, report, leader, from_start
        )
        if trainer.full_logits and leader:
            say(
                "Note: the model's output head is no plain matrix: it computes logits for all tokens, which takes memory."
            )
        if config.resume:
            trainer.restore(checkpoint, position["trainer"])
            progress.restore(checkpoint, position["progress"])
            if leader:
                say(f"Going on after step {trainer.position.step} of {steps}.")
        else:
            if judge:
                _demand_signal(trainer, judge, given, config, received)
            if leader:
                save_begun = trainer.save_adapters if begun else None
                run_record.start(config, record, trainer.adapter_config, backend.FORMAT.model_key, save_begun)
        with Progress("Training", steps, "steps", silent=not leader) as bar:
            bar.advance(trainer.position.step)
            try:
                _train(trainer, progress, bar, lambda: bool(received))
            finally:
                if leader:
                    finish_run(config.adapter_path, progress.result())
    if not leader:
        return
    if not progress.ended:
        again = f"python train.py --resume --adapter-path {config.adapter_path}"
        number = received[0] if received else signal.SIGTERM  # another process of the run was told
        raise Stopped(f"Stopped after step {trainer.position.step}. To go on: {again}", number)
    _conclude(config, progress, trainer.position.step, backend.FORMAT.file)


def _announce(config: TrainingConfig, method: Method, backend: Backend, given: Inputs, steps: int) -> None:
    say(f"{backend.describe()}{chosen_because(config)}")
    say(plan(config, method, given.folder, given.train, steps))
    rows = len(given.train)
    for note in advice.notes(config, rows, steps / epoch_steps(config, rows)):
        say(f"Note: {note}")


def _conclude(config: TrainingConfig, progress: RunProgress, step: int, file: str) -> None:
    progress.draw()
    measure = progress.measure
    early = (
        f" (stopped early: the validation {measure.name} got no better)" if progress.stopped_early and measure else ""
    )
    best = (
        "no validation rows: the last adapters are kept"
        if measure is None or progress.best is None
        else f"best validation {measure.name} {progress.best:.3f} at step {progress.best_step}"
    )
    say(f"Done in {progress.seconds:.0f} s: {step} steps{early}, {best}.")
    if sum(progress.shares.values()):
        rollout, reward = (progress.shares[name] / progress.seconds for name in ("rollout", "reward"))
        say(f"Time: {rollout:.0%} drawing answers, {reward:.0%} rewards, {1 - rollout - reward:.0%} updates.")
    if progress.best_step == 0:
        start = config.from_adapter or "the base model"
        say(f"Nothing was better than the start: {config.adapter_path} holds that, {start}.")
    if (found := progress.against_start) and found.low is not None and found.high is not None:
        verdict = "better" if found.low > 0 else "that may be chance"
        best_of = f", wide enough for the best of {count}" if (count := progress.validations) > 1 else ""
        say(
            f"On the validation rows {found.base:.3f} -> {found.tuned:.3f}, {found.difference:+.3f}"
            f" (95 % interval {found.low:+.3f} to {found.high:+.3f}{best_of}): {verdict}."
        )
    say(f"Adapters: {config.adapter_path / file}; the curve: {config.adapter_path / files.CURVE}")
    say(f"Is it better? python test_finetuned.py --adapter-path {config.adapter_path}")
    if config.from_adapter:
        say(
            f"And than before? python test_finetuned.py --adapter-path {config.adapter_path} --against {config.from_adapter}"
        )


def _add_references(trainer: Trainer, examples: Sequence[Example]) -> None:
    """Give each example its answer's log-probability under the model as it starts."""
    with Progress("Reference", len(examples), "answers") as bar:
        found = trainer.logprobs(examples, on_batch=bar.advance)
    for example, values in zip(examples, found, strict=True):
        example.terms[REFERENCE] = math.fsum(values)


def _validation_loss(trainer: Trainer, rows: Sequence[TrainingRow], stop: Stop, note: Note) -> Found:
    loss = trainer.validation_loss(rows, stop)
    return None if loss is None else (loss, [])


def _demand_signal(trainer: Trainer, judge: Judge, given: Inputs, config: TrainingConfig, received: list[int]) -> None:
    """UserError if the rewards of a few groups show no training signal."""
    say("Sampling some completions to see whether their rewards differ ...")
    found = probe_rewards(trainer.sample, given.encoder, given.train, judge, config, lambda: bool(received))
    if found is None:
        raise Stopped("Stopped before the first step.", received[0])
    for line in found.lines():
        say(f"Before training: {line}")
    found.check(config)


def _train(trainer: Trainer, progress: RunProgress, bar: Progress, stop: Callable[[], bool]) -> None:
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


def _check_memory(static_mb: float) -> None:
    """UserError where the model could not even be loaded: the system would end the process, after a while, without a word."""
    try:
        total_mb = machine.memory_bytes()[0] / 1e6
    except OSError:  # then nobody can say
        return
    if static_mb > total_mb:
        raise UserError(
            f"the model takes {static_mb / 1e3:.1f} GB before the first step, and this machine has {total_mb / 1e3:.1f} GB"
            " (--dry-run says what would fit)"
        )


def plan(config: TrainingConfig, method: Method, folder: ModelFolder, train: list[TrainingRow], steps: int) -> str:
    examples, rows = examples_of(train), len(train)
    tokens = sum(len(example.tokens) for example in examples)
    learned = sum(sum(example.loss_mask) for example in examples)
    epochs = steps / epoch_steps(config, rows)
    taken = (
        f"{config.batch_size} rows"
        if config.grad_accumulation == 1
        else (f"{config.grad_accumulation} batches of {config.batch_size} rows")
    )
    if method.rollouts:
        what = f"prompts of {tokens / rows:.0f} tokens, {config.grpo_group_size} answers to each"
    else:
        kind = "training rows" if not method.pairs else "pairs of answers"
        what = f"{kind} of {tokens / rows:.0f} tokens ({learned / tokens:.0%} learned)"
    start = f" with {config.from_adapter}" if config.from_adapter else ""
    return f"Model {folder.name}{start}, {rows} {what}, {steps} steps of {taken} = {epochs:.1f} epochs"


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
