"""A training run: rows in, adapters and their record out. ``prepare`` refuses, ``build`` loads, ``fit`` trains."""

import signal
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from finetune import signals
from finetune.backends import chosen_because, logits
from finetune.backends.interface import Backend, DeviceMemory, Step, Trainer
from finetune.errors import Stopped, UserError, shell_command, stopped_by_gpu
from finetune.methods import Method, RowSource, total_steps
from finetune.methods.batches import BatchSource
from finetune.models.examples import examples_of
from finetune.models.find import ModelFolder
from finetune.records import files
from finetune.records.run import RunRecord, read_run
from finetune.rollouts.probe import probe_rewards
from finetune.rollouts.rewards import Judge, open_judge
from finetune.rollouts.source import RolloutSource
from finetune.settings import conflicts
from finetune.settings.config import TrainingConfig
from finetune.signals import StopRequest, stopping
from finetune.tasks import TASKS, Task
from finetune.tasks.mixed import for_rows
from finetune.tasks.own_scorer import check_scorer, with_scorer
from finetune.terminal import Console, format_bytes, say
from finetune.training import checkpoints, folder, run_view, start
from finetune.training.awake import awake
from finetune.training.checkpoints import Checkpoint
from finetune.training.inputs import Inputs, read_inputs
from finetune.training.metrics import Metrics
from finetune.training.reporters import open_reporter
from finetune.training.session import Session
from finetune.training.state import RunState
from finetune.training.validation import Watcher, add_references, loss_measure, reward_measure


@dataclass(frozen=True)
class Start:
    """Everything a run begins with, checked; no model is loaded yet."""

    config: TrainingConfig
    method: Method
    backend: Backend
    inputs: Inputs
    steps: int
    record: RunRecord
    adapters: Path | None  # file of the adapters to begin with
    checkpoint: Checkpoint | None  # the training state to resume from
    console: Console
    began: float  # time.monotonic()

    @property
    def task(self) -> Task:
        rows = (row.fields for row in (*self.inputs.train, *self.inputs.valid))
        task = for_rows(TASKS[self.inputs.dataset.type], rows)
        return with_scorer(task, self.config.scorer, self.config.scorer_seconds)

    @property
    def leader(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return not self.console.silent


def train(config: TrainingConfig, method: Method, backend: Backend) -> None:
    """Train as ``config`` says and leave the adapter folder complete.

    UserError before any work if anything is wrong; Stopped after a signal, with everything saved.
    """
    begun, stop = prepare(config, method, backend), StopRequest()
    lock = checkpoints.only_run(config.adapter_path) if begun.leader else nullcontext()
    rewards = open_judge(begun.task, config, stop) if method.rollouts else nullcontext()
    with lock, rewards as judge:
        session = build(begun, judge)  # a signal interrupts it: nothing is lost
        before = read_run(config.adapter_path).result if session.ended else None
        over = before is not None and before.steps == session.trainer.position.step
        if not over:  # else its records are complete, too
            with stopping(stop), awake():
                fit(session, stop)
    if not begun.leader:
        return
    if not session.ended:
        resume = shell_command("python", "train.py", "--resume", "--adapter-path", config.adapter_path)
        number = stop.number or signal.SIGTERM  # of several processes another one may have got the signal
        raise Stopped(f"Stopped after step {session.trainer.position.step}. To resume: {resume}", number)
    run_view.conclude(session, over=over)


def prepare(config: TrainingConfig, method: Method, backend: Backend) -> Start:
    """Read and check what the run needs; UserError if anything is wrong with it."""
    began = signals.began()
    inputs = read_inputs(config, method.encode, method.columns)
    steps = total_steps(config, len(inputs.train))
    conflicts.check_warmup(config, steps)
    conflicts.check_validation(config, len(inputs.valid))
    conflicts.check_text(config, plain_text=inputs.dataset.pieces is not None)
    if backend.is_leader():
        check_scorer(config.scorer, config.scorer_seconds, [row.fields for row in inputs.valid or inputs.train])
    _check_memory(backend.static_mb(inputs.folder.path, config, inputs.encoder.new_tokens), backend.device_memory())
    if config.backend == "mlx" and inputs.folder.source != "builtin" and backend.is_leader():
        _compare_logits(inputs.folder)
    record = start.describe_run(config, inputs.folder, inputs.encoder, inputs.dataset, backend.describe())
    record = replace(record, turns=inputs.turns, thinking=inputs.thinking)
    adapters = config.from_adapter / backend.FORMAT.file if config.from_adapter else None
    console = Console(silent=not backend.is_leader())
    checkpoint = None
    if config.resume:
        start.check_same(config.adapter_path, record)
        checkpoint = checkpoints.newest(config.adapter_path / files.STATE, console.say)
        adapters = config.adapter_path / files.START if adapters else None
    return Start(config, method, backend, inputs, steps, record, adapters, checkpoint, console, began)


def _compare_logits(folder: ModelFolder) -> None:
    """Say once after a conversion, if PyTorch is installed, whether MLX and transformers compute the same with its result."""
    found = logits.after_conversion(folder.path) if find_spec("torch") else None
    if found is not None:
        say(f"{'Warning' if found.verdict == 'different' else 'Note'}: {folder.name} was converted; {found.said}.")


def build(begun: Start, judge: Judge | None) -> Session:
    """Load the model and put together what trains, measures and reports it; resume, or begin the adapter folder.

    ``judge`` rewards the answers of a method with rollouts. UserError if nothing could be learned from its rewards.
    """
    config, method, backend, inputs, console = begun.config, begun.method, begun.backend, begun.inputs, begun.console
    tool = config.report_to if begun.leader else None
    send = open_reporter(tool, config.adapter_path, begun.record.config, console.say)
    console.say(f"{backend.describe()}{chosen_because(config)}")
    run_view.announce(config, method, inputs, begun.steps, console)
    model = backend.load(inputs.folder.path, inputs.encoder)
    base = begun.record.model.fingerprint
    source: BatchSource = RowSource(method, inputs.train, config)
    if judge:
        source = RolloutSource(method, inputs.train, judge, inputs.encoder, config)
    trainer = backend.Trainer(model, method, source, config, begun.steps, base, begun.adapters)
    measure = loss_measure(trainer, inputs.valid, config.batch_size) if inputs.valid else None
    if judge:
        measure = reward_measure(model, judge, inputs.valid, config)
    if method.reference:
        for rows in (inputs.valid, inputs.train):
            add_references(trainer, examples_of(rows), console)
    for note in trainer.notes:
        console.say(f"Note: {note}.")
    session = Session(
        config=config,
        trainer=trainer,
        measure=measure,
        watcher=Watcher(model, begun.task, [*{row.line: row.fields for row in inputs.valid}.values()], config),
        metrics=Metrics(config.adapter_path, send, writes=begun.leader),
        lines=[row.line for row in inputs.train],
        adapter_file=backend.FORMAT.file,
        console=console,
        began=begun.began,
        # adapters that were trained before, and a model that learns from its own answers, are measured at step 0 too
        state=RunState(validated=-1 if begun.adapters or method.rollouts else 0),
    )
    if begun.checkpoint:
        session.restore(begun.checkpoint)
        if not session.ended:
            console.say(f"Resuming after step {trainer.position.step} of {begun.steps}.")
        return session
    if judge:
        _check_rewards(begun, trainer, judge)
    if begun.leader:
        save_start = trainer.save_adapters if begun.adapters else None
        start.start(config, begun.record, trainer.adapter_config, backend.FORMAT.model_key, save_start)
        if inputs.encoder.new_tokens:
            folder.write_tokenizer(config.adapter_path, inputs.encoder)
    return session


def fit(session: Session, stop: StopRequest) -> None:
    """Train and validate until the run has ended or ``stop`` was requested; afterwards everything is saved."""
    trainer = session.trainer
    session.begin()
    with session.console.progress("Training", trainer.steps, "steps") as bar:
        bar.advance(trainer.position.step)

        def goes_on() -> bool:
            validated = not session.validation_due or session.validate(bar, stop)
            return validated and not session.ended

        def after(step: Step) -> bool:
            session.take_step(step, bar)
            return goes_on()

        try:
            if goes_on():
                trainer.train(stop, after)
            session.save_state()
            session.check_folder()
            session.record_result()
        except BaseException as error:
            if stopped_by_gpu(error) and trainer.is_sound:
                with suppress(UserError, OSError, RuntimeError):  # the GPU may refuse any more work
                    session.save_state()
            with suppress(UserError, OSError):  # the first error is the one to tell
                session.record_result()
            if isinstance(error, UserError) and error.exit_code == 4:  # perhaps the whole folder is gone
                session.check_folder()
            raise


def _check_memory(static_mb: float, device: DeviceMemory) -> None:
    """UserError if the model cannot even be loaded: the system would kill the process later, without a message."""
    if static_mb * 1e6 > device.total:
        raise UserError(
            f"the model takes {format_bytes(static_mb * 1e6)} before the first step, and {device.owner or 'this machine has'}"
            f" {format_bytes(device.total)} (see what would fit: python train.py --dry-run)"
        )


def _check_rewards(begun: Start, trainer: Trainer, judge: Judge) -> None:
    """Sample a few groups; UserError if their rewards give nothing to learn from."""
    begun.console.say("Sampling some answers, to check that their rewards differ ...")
    inputs, config = begun.inputs, begun.config
    found = probe_rewards(trainer.sample, inputs.encoder, inputs.train, judge, config)
    for line in found.lines():
        begun.console.say(f"Before training: {line}")
    found.check(config)
