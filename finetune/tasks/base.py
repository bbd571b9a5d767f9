"""What a task is: a kind of rows, and a way to score answers to them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from finetune.artifacts import Row
from finetune.rows import RowKind


@dataclass(frozen=True)
class Score:
    """How good an answer is, 0 to 1, and why. ``value`` is None where the row itself cannot be judged."""

    value: float | None
    kind: str  # a class that can be counted, such as "ok" or "unknown_column"
    reason: str = ""


Scorer = Callable[[Row, str], Score]


@dataclass(frozen=True, kw_only=True)
class Task(RowKind):
    open_scorer: Callable[[], AbstractContextManager[Scorer]]
    metric: str  # what the mean score is called
    question: Callable[[Row], str]  # the row in short, for people
