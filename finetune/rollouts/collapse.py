"""Signs that a model that learns from its own completions is going wrong, before the reward shows it.

A policy fails in two ways that its reward does not show: its completions all become the same, and nothing is left to learn
from; or it finds what the reward likes and nobody wants, most often completions that no longer end. Both are measured against
the first steps of the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from finetune.records.run import renamed_metrics

_WINDOW = 5  # rollouts that are averaged
_ENTROPY_GONE = 0.02  # of its first value
_ENTROPY_HIGH = 4.0  # times its first value, and more than this many nats a token
_CLIPPED_TOO_OFTEN, _CLIPPED_OFTEN = 0.5, 0.25  # more than at the beginning
_MUCH_SHORTER = 0.2  # of the first length
_WATCHED = ("entropy", "completion_length", "clipped_ratio")


@dataclass
class CollapseWatch:
    """Compares the metrics of the last rollouts with those of the first."""

    first: list[dict[str, float]] = field(default_factory=list)
    last: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def read(cls, state: Mapping[str, Sequence[Mapping[str, float]]]) -> "CollapseWatch":
        """From the JSON of a training state, also of an older version."""
        return cls(**{name: [renamed_metrics(seen) for seen in kept] for name, kept in state.items()})

    def add(self, metrics: Mapping[str, float]) -> None:
        """The metrics of a step; only those of a new rollout count."""
        if "entropy" not in metrics:
            return
        kept = {name: metrics[name] for name in _WATCHED}
        if len(self.first) < _WINDOW:
            self.first.append(kept)
        self.last = [*self.last, kept][-_WINDOW:]

    def _means(self, name: str) -> tuple[float, float]:
        """Of the first rollouts and of the last."""
        return fmean(seen[name] for seen in self.first), fmean(seen[name] for seen in self.last)

    @property
    def drifting(self) -> bool:
        """Whether the model of this moment should not be kept as the best, whatever its reward."""
        if not self.last:
            return False
        before, now = self._means("clipped_ratio")
        return now > before + _CLIPPED_OFTEN or self.problem is not None

    @property
    def problem(self) -> str | None:
        """Why the run should end; None while it is sound."""
        if len(self.last) < _WINDOW:
            return None
        before, now = self._means("clipped_ratio")
        if now > before + _CLIPPED_TOO_OFTEN:
            return f"completions no longer end: {now:.0%} are cut off at the token limit, {before:.0%} at the beginning"
        before, now = self._means("completion_length")
        if now < _MUCH_SHORTER * before:
            return f"completions have shrunk to {now:.1f} tokens, from {before:.1f}"
        before, now = self._means("entropy")
        if now < _ENTROPY_GONE * before:
            return f"completions are all alike: entropy {now:.4f} nats a token, {before:.4f} at the beginning"
        if now > _ENTROPY_HIGH * before and now > _ENTROPY_HIGH:
            return f"completions are noise: entropy {now:.2f} nats a token, {before:.2f} at the beginning"
        return None
