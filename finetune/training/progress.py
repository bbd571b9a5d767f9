"""How far a training run is: its metrics, its best adapters, its states, and when it has gone on for long enough."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetune.backends.interface import Step, Trainer
from finetune.errors import UserError
from finetune.evaluation.verdict import paired_bootstrap
from finetune.records import files
from finetune.records.difference import Difference
from finetune.records.run import Result, keep_metrics, read_metrics
from finetune.rollouts.collapse import CollapseWatch
from finetune.settings.config import TrainingConfig
from finetune.terminal import Progress
from finetune.training import checkpoints
from finetune.training.reporters import Log
from finetune.training.validation import Measure, Values, Watcher

_HISTORY = 2  # earlier adapters kept beside the best
_BEST = "best.safetensors"


class RunProgress:
    """Takes what the trainer did, keeps it on disk and in memory; ``leader`` is the one process that writes.

    ``measure`` is None without validation rows. ``from_start``: the adapters that the run begins with are measured too, and
    kept where none is better.
    """

    def __init__(
        self,
        config: TrainingConfig,
        trainer: Trainer,
        adapter_file: str,
        watcher: Watcher,
        measure: Measure | None,
        lines: Sequence[int],
        report: Log,
        leader: bool,
        from_start: bool = False,
    ):
        self.config, self.leader = config, leader
        self.seconds = 0.0
        self.shares: dict[str, float] = {}  # seconds by what they were spent on, beside training itself
        self.best_step: int | None = None
        self.best: float | None = None
        # of the adapters that the run began with, and of the best
        self._values: dict[str, Values] = {"start": [], "best": []}
        self.validations = 0  # of which the best is taken: the start's is not counted
        self._trainer, self._watcher, self._report = trainer, watcher, report
        self.measure = measure
        self._file = adapter_file
        self._lines = lines  # of the training rows in their file
        self._collapse = CollapseWatch()
        self._validated = -1 if from_start else 0  # last step with a validation
        self._since_best = 0  # validations
        self._unreported: list[Step] = []
        self._saved: tuple[int, int, int] | None = None  # step, batch and validation of the newest state

    @property
    def stopped_early(self) -> bool:
        return (
            self._since_best >= (self.config.patience or math.inf) and self._trainer.position.step < self._trainer.steps
        )

    @property
    def ended(self) -> bool:
        done = self._trainer.position.step >= self._trainer.steps and not self.validation_due()
        return done or self.stopped_early

    def take_step(self, step: Step, bar: Progress) -> None:
        """Count a step, report now and then, keep a state now and then; UserError (exit 5) where it was not finite."""
        if not step.finite:
            lines = ",".join(str(self._lines[row]) for row in step.rows)
            where = f"{files.split_file(self.config.data_dir, 'train')}:{lines}"
            kept = f"; the adapters of step {self.best_step} are kept" if self.best_step is not None else ""
            remedy = f"lower --learning-rate, now {self.config.learning_rate}"
            raise UserError(f"{where}: the loss is not finite at step {step.step} ({remedy}{kept})", exit_code=5)
        self.seconds += step.seconds
        for name in ("rollout", "reward"):
            self.shares[name] = self.shares.get(name, 0.0) + step.metrics.get(f"{name}_seconds", 0.0)
        bar.advance(note=_note(step))
        self._unreported.append(step)
        self._collapse.add(step.metrics)
        if step.step % self.config.steps_per_report == 0:
            self._append(_report(self._unreported) | {"seconds": self.seconds})
            self._unreported = []
        if problem := self._collapse.problem:
            kept = f"the adapters of step {self.best_step} are kept" if self.best_step is not None else "none are kept"
            raise UserError(
                f"step {step.step}: {problem}; {kept} (another reward, a lower --learning-rate, or --grpo-kl 0.05)",
                exit_code=5,
            )
        if step.step % self.config.steps_per_save == 0 and not self.validation_due():
            self.save_state()

    def validation_due(self) -> bool:
        """Whether the step just done ends with a validation that has not been."""
        at = self._trainer.position
        due = at.step % self.config.steps_per_eval == 0 or at.step == self._trainer.steps
        return self.measure is not None and due and at.batch == 0 and self._validated < at.step

    def validate(self, bar: Progress, stop: Callable[[], bool]) -> bool:
        """Measure the model and keep the adapters; False where ``stop`` came in between, and nothing is kept."""
        step, measure = self._trainer.position.step, self.measure
        assert measure is not None
        found = measure.of(stop, lambda note: bar.advance(0, note))
        if found is None:
            return False
        value, values = found
        seen = self._watcher.look() if self.leader else {}
        # of a run that is going wrong the reward may well be the best
        best = measure.better(value, self.best) and not self._collapse.drifting
        self.validations += step > 0
        if step == 0:
            self._values["start"] = values
        if best:
            self.best_step, self.best, self._values["best"] = step, value, values
        self._since_best = 0 if best else self._since_best + 1
        self._validated = step
        self._keep_adapters(best)
        self._append({"step": step, measure.key: value, "best": best, "seconds": self.seconds, **seen})
        if self.leader:
            score = f", score {seen['task_score']:.1%}" if seen.get("task_score") is not None else ""
            bar.say(f"step {step}: validation {measure.name} {value:.3f}{score}" + (" (best so far)" if best else ""))
            for sample in seen.get("samples", []):
                bar.say(
                    f"  {' '.join(sample['question'].split())[:100]}\n    -> {' '.join(sample['answer'].split())[:110]}"
                )
        self.save_state()
        return True

    def _keep_adapters(self, best: bool) -> None:
        """In the history, and as *the* adapters where they are the best so far."""
        if not self.leader:
            return
        folder = self.config.adapter_path
        self._trainer.save_adapters(folder / f"{self._trainer.position.step:07d}_{self._file}")
        if best:
            self._trainer.save_adapters(folder / self._file)
        for old in sorted(folder.glob(f"[0-9]*_{self._file}"))[:-_HISTORY]:
            old.unlink()

    def save_state(self) -> None:
        """Keep what ``--resume`` needs, if anything happened since the last time."""
        at = self._trainer.position
        if not self.leader or self._saved == (at.step, at.batch, self._validated):
            return
        checkpoints.write(self.config.adapter_path / files.STATE, f"{at.step:07d}-{at.batch:04d}", self._fill)
        self._saved = (at.step, at.batch, self._validated)

    def _fill(self, folder: Path) -> dict[str, Any]:
        best = self.config.adapter_path / self._file
        if self.best_step is not None:  # so that a state is complete in itself
            (folder / _BEST).write_bytes(best.read_bytes())
        else:  # stopped before the first validation: these are the best there are
            self._trainer.save_adapters(best)
        progress = {
            "seconds": self.seconds,
            "best_step": self.best_step,
            "best": self.best,
            "values": self._values,
            "validations": self.validations,
            "shares": self.shares,
            "collapse": asdict(self._collapse),
            "validated": self._validated,
            "since_best": self._since_best,
            "unreported": [asdict(step) for step in self._unreported],
        }
        return {"trainer": self._trainer.save(folder), "progress": progress}

    def restore(self, folder: Path, progress: dict[str, Any]) -> None:
        """Go on from what ``save_state`` kept; later metrics are dropped, they will come again."""
        self.seconds, self.best_step = progress["seconds"], progress["best_step"]
        self.best, self.shares = progress["best"], progress["shares"]
        self._values = progress.get("values", self._values)
        self.validations = progress.get("validations", 0)
        self._collapse = CollapseWatch.read(progress["collapse"])
        self._validated, self._since_best = progress["validated"], progress["since_best"]
        self._unreported = [Step.read(step) for step in progress["unreported"]]
        at = self._trainer.position
        self._saved = (at.step, at.batch, self._validated)
        if not self.leader:
            return
        if self.best_step is not None:
            with files.atomic(self.config.adapter_path / self._file) as temporary:
                temporary.write_bytes((folder / _BEST).read_bytes())
        keep_metrics(self.config.adapter_path, at.step, self._validated)

    @property
    def against_start(self) -> Difference | None:
        """How the best adapters differ from those the run began with, row by row; None where nothing says so."""
        # without a validation at the start there are no pairs
        pairs = zip(self._values["start"], self._values["best"], strict=False)
        both = [(start, best) for start, best in pairs if start is not None and best is not None]
        if not self.best_step or not both:
            return None
        start, best = ([values[side] for values in both] for side in (0, 1))
        return paired_bootstrap(start, best, [1.0] * len(both), self.validations)

    def result(self) -> Result:
        """How far the run has come, for its record."""
        reward = self.measure is not None and self.measure.key == "valid_reward"
        return Result(
            steps=self._trainer.position.step,
            best_step=self.best_step,
            best_valid_loss=None if reward else self.best,
            best_valid_reward=self.best if reward else None,
            seconds=self.seconds,
            seconds_on=self.shares,
            stopped_early=self.stopped_early,
            validations=self.validations,
            trainable_parameters=self._trainer.trainable_parameters,
            against_start=self.against_start,
        )

    def draw(self) -> None:
        """The curve of the run as a picture beside the adapters."""
        from finetune.report.curve import curve_picture

        picture = curve_picture(read_metrics(self.config.adapter_path))
        if picture is not None:
            with files.atomic(self.config.adapter_path / files.CURVE) as temporary:
                temporary.write_bytes(picture)

    def _append(self, metrics: dict[str, Any]) -> None:
        if self.leader:
            files.append_jsonl(self.config.adapter_path / files.METRICS, metrics)
            self._report(metrics)


def _note(step: Step) -> str:
    """A step in a few words, for the bar."""
    if "reward" in step.metrics:
        seen = step.metrics
        flat = seen["frac_reward_zero_std"]
        return (
            f"reward {seen['reward']:.3f}, {seen['completion_length']:.0f} tokens, {flat:.0%} of groups without signal"
        )
    rate = step.tokens / step.seconds
    return f"loss {step.loss:.3f}, {rate:.0f} tokens/s, {step.peak_memory_mb / 1e3:.1f} GB"


def _report(steps: Sequence[Step]) -> dict[str, Any]:
    """The line of metrics.jsonl for the steps since the last one."""
    seconds = sum(step.seconds for step in steps)
    learned = sum(step.learned for step in steps)
    names = {name: None for step in steps for name in step.metrics}
    metrics = {name: [step.metrics[name] for step in steps if name in step.metrics] for name in names}
    return {
        "step": steps[-1].step,
        "loss": sum(step.loss * step.learned for step in steps) / learned if learned else 0.0,
        "learning_rate": steps[-1].learning_rate,
        "tokens_per_second": sum(step.tokens for step in steps) / seconds,
        "rows_per_second": sum(len(step.rows) for step in steps) / seconds,
        "peak_memory_mb": steps[-1].peak_memory_mb,
        **{name: sum(values) / len(values) for name, values in metrics.items()},
    }
