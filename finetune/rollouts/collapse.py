"""Signs that a model that learns from its own answers is going wrong, before the reward says so.

A policy fails in two ways that its reward does not show: it always says the same, and nothing is left to learn from; or it
finds what the reward likes and nobody wants, most often answers that no longer end. Both are seen against the first steps
of the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from finetune.records.run import renamed_metrics

_FEW = 5  # rollouts that are taken together
_ENTROPY_GONE = 0.02  # of what it was
_ENTROPY_HIGH = 4.0  # times what it was, and more than this many nats a token
_CUT_TOO_OFTEN, _CUT_OFTEN = 0.5, 0.25  # more than at the beginning
_MUCH_SHORTER = 0.2  # of the length at the beginning


@dataclass
class CollapseWatch:
    """Takes the metrics of each rollout."""

    first: list[dict[str, float]] = field(default_factory=list)
    last: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def read(cls, state: Mapping[str, Sequence[Mapping[str, float]]]) -> "CollapseWatch":
        """From the JSON of a training state, also of an older version."""
        return cls(**{name: [renamed_metrics(seen) for seen in kept] for name, kept in state.items()})

    def take(self, metrics: Mapping[str, float]) -> None:
        if "entropy" not in metrics:
            return
        kept = {name: metrics[name] for name in ("entropy", "completion_length", "clipped_ratio")}
        if len(self.first) < _FEW:
            self.first.append(kept)
        self.last = [*self.last, kept][-_FEW:]

    def _mean(self, name: str) -> tuple[float, float]:
        return fmean(seen[name] for seen in self.first), fmean(seen[name] for seen in self.last)

    @property
    def drifting(self) -> bool:
        """Whether what the model now is should not be kept as its best, whatever its reward."""
        if not self.last:
            return False
        before, now = self._mean("clipped_ratio")
        return now > before + _CUT_OFTEN or self.problem is not None

    @property
    def problem(self) -> str | None:
        """Why the run should end; None while it may go on."""
        if len(self.last) < _FEW:
            return None
        before, now = self._mean("clipped_ratio")
        if now > before + _CUT_TOO_OFTEN:
            return f"the answers no longer end: {now:.0%} are cut off, {before:.0%} at the beginning"
        before, now = self._mean("completion_length")
        if now < _MUCH_SHORTER * before:
            return f"the answers have shrunk to {now:.1f} tokens, from {before:.1f}"
        before, now = self._mean("entropy")
        if now < _ENTROPY_GONE * before:
            return f"the answers are all alike: entropy {now:.4f} nats a token, {before:.4f} at the beginning"
        if now > _ENTROPY_HIGH * before and now > _ENTROPY_HIGH:
            return f"the answers are noise: entropy {now:.2f} nats a token, {before:.2f} at the beginning"
        return None
