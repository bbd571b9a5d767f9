"""What a task is: a kind of rows, and a way to score answers to them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from finetune.models.encoder import Message
from finetune.records.files import Row

# what is wrong with the row's own answer, or None
Checker = Callable[[Row], str | None]


@dataclass(frozen=True, kw_only=True)
class RowKind:
    name: str
    about: str  # one line for --list
    hub_dataset: str | None  # the default rows
    licence: str | None  # of the default rows
    required: tuple[str, ...]  # fields of a row that must be non-empty text; () where to_messages checks by itself
    optional: tuple[str, ...]  # fields that are text where they are there
    aliases: Mapping[str, tuple[str, ...]]  # of a field: other names under which it is found
    to_messages: Callable[[Row], list[Message]]  # raises ValueError that says what is wrong with the row
    builtin: Callable[[Mapping[str, int], int], dict[str, list[Row]]] | None  # (rows by split, seed) -> rows by split
    split_rule: str | None  # how the builtin rows are divided
    # rows with the same prompt become one row, whose "accepted" lists the answers of all
    several_answers: bool = False
    kept: Callable[[Row], Row] = lambda row: row  # what stays of a row beside its messages
    scored_as: str = ""  # the task whose score holds for these rows, where they are no task of their own
    open_checker: Callable[[], AbstractContextManager[Checker]] | None = None


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
