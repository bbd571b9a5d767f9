"""What a task is: a kind of rows, and a way to score answers to them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from finetune.artifacts import Row
from finetune.rows import RowKind


@dataclass(frozen=True)
class Score:
    """How good an answer is, 0 to 1, and why. ``value`` is None where it cannot be judged, through no fault of the answer."""

    value: float | None
    kind: str  # a class that can be counted, such as "ok" or "unknown_column"
    reason: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)  # what else was measured, 0 to 1, such as "ROUGE-L"


Scorer = Callable[[Row, str], Score]


@dataclass(frozen=True, kw_only=True)
class Task(RowKind):
    open_scorer: Callable[[], AbstractContextManager[Scorer]]
    metric: str  # what the mean score is called
    malformed: frozenset[str]  # kinds of answers that do not keep to the task's form
    partial: Mapping[str, float] = field(default_factory=dict)  # what wrong answers of a kind are worth as a reward
    loss_decides: bool = False  # where most rows have no score of their own
    question: Callable[[Row], str]  # the row in short, for people
