"""A run under way: what happens after each step, at a validation, and when a training state is saved."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from finetune.backends.interface import Step, Trainer
from finetune.errors import UserError
from finetune.records import files
from finetune.records.run import Result, finish_run
from finetune.records.times import Times
from finetune.settings.config import TrainingConfig
from finetune.terminal import Console, Progress
from finetune.training import best, checkpoints, metrics
from finetune.training.checkpoints import Checkpoint
from finetune.training.metrics import Metrics
from finetune.training.state import RunState
from finetune.training.validation import Measure, Seen, Watcher

_BEST = "best.safetensors"  # in a training state: the best adapters so far, so that it is complete


@dataclass(kw_only=True)
class Session:
    """A trainer with what observes it. In all processes but the leader it writes nothing and prints nothing."""

    config: TrainingConfig
    trainer: Trainer
    measure: Measure | None  # None if there are no validation rows
    watcher: Watcher
    metrics: Metrics
    lines: Sequence[int]  # of the training rows in their file
    adapter_file: str
    console: Console
    began: float  # time.monotonic() when this process began the run
    state: RunState = field(default_factory=RunState)
    _before: float = 0.0  # seconds of the run in earlier processes
    _saved: tuple[int, int, int] | None = None  # step, batch and last validation of the newest training state

    @property
    def wall_seconds(self) -> float:
        """Seconds of the whole run so far: loading the model, steps, validations and sample answers."""
        return self._before + time.monotonic() - self.began

    @property
    def times(self) -> Times:
        """The parts of them, apart from the steps."""
        return Times(self.state.seconds_of)

    @property
    def leader(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return not self.console.silent

    @property
    def stopped_early(self) -> bool:
        """Whether --patience has ended the run before its last step."""
        exhausted = self.state.best.since >= (self.config.patience or math.inf)
        return exhausted and self.trainer.position.step < self.trainer.steps

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        done = self.trainer.position.step >= self.trainer.steps and not self.validation_due
        return done or self.stopped_early

    @property
    def validation_due(self) -> bool:
        """Whether the last step ends with a validation that has not taken place yet."""
        at = self.trainer.position
        due = at.step % self.config.steps_per_eval == 0 or at.step == self.trainer.steps
        return self.measure is not None and due and at.batch == 0 and self.state.validated < at.step

    def begin(self) -> None:
        """Count the time until now, before the first step or validation."""
        loading = self.state.seconds_of.get("loading", 0.0)
        self.state.seconds_of["loading"] = loading + time.monotonic() - self.began

    def take_step(self, step: Step, bar: Progress) -> None:
        """Count a step; report and save a training state every few. UserError (exit 5) if the run has gone wrong."""
        if not step.finite:
            lines = ",".join(str(self.lines[row]) for row in step.rows)
            place = f"{files.split_file(self.config.data_dir, 'train')}:{lines}"
            remedy = f"try a learning rate below {self.config.learning_rate}"
            raise UserError(
                f"{place}: the loss is not finite at step {step.step}; {self._kept} ({remedy})", exit_code=5
            )
        self.state.take(step)
        bar.advance(note=metrics.summary(step))
        if step.step % self.config.steps_per_report == 0:
            self.metrics.append(metrics.report(self.state.unreported) | {"seconds": self.state.seconds})
            self.state.unreported = []
        if problem := self.state.collapse.problem:
            remedy = "use another reward, a lower --learning-rate, or --grpo-kl 0.05"
            raise UserError(f"step {step.step}: {problem}; {self._kept} ({remedy})", exit_code=5)
        if step.step % self.config.steps_per_save == 0 and not self.validation_due:
            self.save_state()

    @property
    def _kept(self) -> str:
        step = self.state.best.step
        return "no adapters were kept" if step is None else f"the adapters of step {step} were kept"

    def validate(self, bar: Progress, stop: Callable[[], bool]) -> bool:
        """Measure the model and keep its adapters; False if ``stop`` interrupted it, and then nothing is kept."""
        step, measure, state = self.trainer.position.step, self.measure, self.state
        assert measure is not None
        with self.times.of("validation"):
            found = measure.of(stop, lambda note: bar.advance(0, note))
        if found is None:
            return False
        value, values = found
        # answers that ``stop`` interrupts are missing below; the measurement itself stands
        with self.times.of("sample answers"):
            seen = (self.watcher.observe(stop, lambda note: bar.advance(0, note)) if self.leader else None) or Seen()
        # the reward of a run that goes wrong can well be the best one
        improved = measure.better(value, state.best.value) and not state.collapse.drifting
        state.best.take(step, value, values, improved=improved)
        state.validated = step
        if self.leader:
            with self.times.of("saving"):
                best.keep(self.trainer, step, self.config.adapter_path, self.adapter_file, best=improved)
        line = {"step": step, measure.key: value, "best": improved, "seconds": state.seconds}
        self.metrics.append({**line, **seen.as_metrics()})
        score = f", {seen.scored}" if seen.scored else ""
        note = " (best so far)" if improved else ""
        self.console.say(f"step {step}: validation {measure.name} {value:.3f}{score}{note}")
        for sample in seen.samples:
            question, answer = " ".join(sample.question.split()), " ".join(sample.answer.split())
            self.console.say(f"  {question[:100]}", f"    -> {answer[:110]}")
        self.save_state()
        return True

    def save_state(self) -> None:
        """Save what ``--resume`` needs, if anything has happened since the last training state."""
        at = self.trainer.position
        if not self.leader or self._saved == (at.step, at.batch, self.state.validated):
            return
        with self.times.of("saving"):
            checkpoints.write(self.config.adapter_path / files.STATE, f"{at.step:07d}-{at.batch:04d}", self._fill)
        self._saved = (at.step, at.batch, self.state.validated)

    def _fill(self, folder: Path) -> Mapping[str, object]:
        adapters = self.config.adapter_path / self.adapter_file
        if self.state.best.step is not None:
            (folder / _BEST).write_bytes(adapters.read_bytes())
        else:  # before the first validation the newest adapters are the best ones
            self.trainer.save_adapters(adapters)
        self.state.wall_seconds = self.wall_seconds
        return {"trainer": self.trainer.save(folder), "progress": asdict(self.state)}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume from a training state. Later lines of metrics.jsonl are dropped: they will be written again."""
        self.trainer.restore(checkpoint.folder, checkpoint.content["trainer"])
        self.state = RunState.read(checkpoint.content["progress"])
        self._before = self.state.wall_seconds
        at = self.trainer.position
        self._saved = (at.step, at.batch, self.state.validated)
        if self.leader and self.state.best.step is not None:
            with files.atomic(self.config.adapter_path / self.adapter_file) as temporary:
                temporary.write_bytes((checkpoint.folder / _BEST).read_bytes())
        self.metrics.drop_after(at.step, self.state.validated)

    def check_folder(self) -> None:
        """UserError (exit 4) if somebody has removed the run's folder: the true reason why a file cannot be written."""
        folder = self.config.adapter_path
        for path in (folder, folder / files.RUN_RECORD) if self.leader else ():
            with suppress(OSError):  # not known
                if not path.exists():
                    problem = f"{path}: removed while the run was writing to it (start the run again)"
                    raise UserError(problem, exit_code=4)

    def record_result(self) -> None:
        """Add to run.json how far the run has come."""
        if not self.leader or not (self.config.adapter_path / files.RUN_RECORD).exists():
            return
        state, by_reward = self.state, self.measure is not None and self.measure.name == "reward"
        result = Result(
            steps=self.trainer.position.step,
            best_step=state.best.step,
            best_valid_loss=None if by_reward else state.best.value,
            best_valid_reward=state.best.value if by_reward else None,
            seconds=state.seconds,
            seconds_on=state.seconds_on,
            wall_seconds=self.wall_seconds,
            seconds_of=state.seconds_of,
            stopped_early=self.stopped_early,
            validations=state.best.validations,
            trainable_parameters=self.trainer.trainable_parameters,
            against_start=state.best.against_start,
        )
        finish_run(self.config.adapter_path, result)
