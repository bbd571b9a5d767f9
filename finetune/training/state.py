"""What a run knows beside the weights. It is saved with every training state, so that a resumed run continues the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finetune.backends.interface import Step
from finetune.rollouts.collapse import CollapseWatch
from finetune.training.best import BestAdapters

_OF_BEST = {"step": "best_step", "value": "best", "validations": "validations", "since": "since_best"}  # older keys


@dataclass
class RunState:
    """How far a run has come and what it has seen. ``asdict`` makes the JSON that ``read`` takes."""

    seconds: float = 0.0  # in optimizer steps, rollouts included
    wall_seconds: float = 0.0  # in all, up to the newest training state
    seconds_of: dict[str, float] = field(default_factory=dict)  # part of `wall_seconds`: "loading", "validation" ...
    seconds_on: dict[str, float] = field(default_factory=dict)  # part of ``seconds``: "rollout" and "reward"
    validated: int = 0  # step of the last validation; -1 if the adapters at the start are still to be validated
    best: BestAdapters = field(default_factory=BestAdapters)
    collapse: CollapseWatch = field(default_factory=CollapseWatch)
    unreported: list[Step] = field(default_factory=list)  # steps since the last line of metrics.jsonl

    def take(self, step: Step) -> None:
        """Count a finished step."""
        self.seconds += step.seconds
        for name in ("rollout", "reward"):
            self.seconds_on[name] = self.seconds_on.get(name, 0.0) + step.metrics.get(f"{name}_seconds", 0.0)
        self.unreported.append(step)
        self.collapse.add(step.metrics)

    @classmethod
    def read(cls, saved: Mapping[str, Any]) -> "RunState":
        """The state from its JSON. Older versions kept the choice of the best adapters beside the rest, and less of it."""
        best = saved["best"]
        if not isinstance(best, Mapping):
            best = {name: saved[key] for name, key in _OF_BEST.items() if key in saved}
            values = saved.get("values", {})
            best |= {"values": values.get("best", []), "start_values": values.get("start", [])}
        return cls(
            seconds=saved["seconds"],
            wall_seconds=saved.get("wall_seconds", saved["seconds"]),
            seconds_of=saved.get("seconds_of", {}),
            seconds_on=saved["seconds_on"] if "seconds_on" in saved else saved["shares"],
            validated=saved["validated"],
            best=BestAdapters(**best),
            collapse=CollapseWatch.read(saved["collapse"]),
            unreported=[Step.read(step) for step in saved["unreported"]],
        )
