"""Which adapters of a run are the best, and the files that hold them."""

from dataclasses import dataclass, field
from pathlib import Path

from finetune.backends.interface import Trainer
from finetune.evaluation.verdict import paired_bootstrap
from finetune.records.difference import Difference
from finetune.training.folder import history
from finetune.training.validation import Values

_HISTORY = 2  # earlier adapters kept beside the best


@dataclass
class BestAdapters:
    """The best adapters so far by the validation measure. Adapters of step 0 are those that the run began with."""

    step: int | None = None
    value: float | None = None  # of the measure
    values: Values = field(default_factory=list)  # of the measure, for each validation row
    start_values: Values = field(default_factory=list)  # the same for the adapters of step 0, if they were validated
    validations: int = 0  # from which the best was chosen; the one of step 0 does not count
    since: int = 0  # validations since the best one

    def take(self, step: int, value: float, values: Values, *, improved: bool) -> None:
        """Count a validation; ``improved``: its adapters are the best so far."""
        if step == 0:
            self.start_values = values
        else:
            self.validations += 1
        if improved:
            self.step, self.value, self.values, self.since = step, value, values, 0
        else:
            self.since += 1

    @property
    def against_start(self) -> Difference | None:
        """The best adapters against those of step 0, paired by validation row; None if the start is the best or unknown."""
        pairs = zip(self.start_values, self.values, strict=False)  # without a validation at the start there are none
        both = [(start, best) for start, best in pairs if start is not None and best is not None]
        if not self.step or not both:
            return None
        start, best = ([values[side] for values in both] for side in (0, 1))
        return paired_bootstrap(start, best, [1.0] * len(both), self.validations)


def keep(trainer: Trainer, step: int, folder: Path, file: str, *, best: bool) -> None:
    """Save the adapters of ``step`` in the history, and as the run's adapters if they are the best so far."""
    trainer.save_adapters(folder / f"{step:07d}_{file}")
    if best:
        trainer.save_adapters(folder / file)
    for old in history(folder, file)[:-_HISTORY]:
        old.unlink(missing_ok=True)
