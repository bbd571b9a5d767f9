"""What a task is: a kind of rows, and a way to score answers to them."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from finetune.models.conversation import Message
from finetune.records.classes import Classes
from finetune.records.dataset import Labels
from finetune.records.files import Row
from finetune.signals import Stop


class BadRow(ValueError):
    """A row does not have the fields that it needs. The message says why, and ``known`` which fields would do.

    ``remedy`` says what the user can do about rows like it. It takes the row of the source, before --column renamed fields.
    """

    def __init__(self, reason: str, remedy: Callable[[Row], str], known: str = ""):
        super().__init__(reason)
        self.remedy, self.known = remedy, known


@dataclass(frozen=True)
class WrongAnswer:
    """What is wrong with a row's own answer: ``reason`` is the same for rows alike and can be counted, ``detail`` is not.

    ``keeps``: the row is kept all the same, and the reason is told.
    """

    reason: str
    detail: str = ""
    remedy: str = ""
    keeps: bool = False


Checker = Callable[[Row], WrongAnswer | None]
Tell = Callable[[str], None]  # is told of a repair of a row, or of something to know about it


@dataclass(frozen=True)
class Asked:
    """What flags say of rows that are surveyed."""

    columns: Mapping[str, str]  # field of the task -> field of the rows
    several: bool = False  # --multi-label
    in_prompt: str = "auto"  # --labels-in-prompt


@dataclass(frozen=True)
class Surveyed:
    """What is known of the rows of several sources once all of them have been seen."""

    kinds: Sequence["RowKind"]  # of each source: how its rows are read
    labels: Labels
    notes: Sequence[str]  # what a person should know
    fields: Collection[str]  # names of fields that there are


class TakeSurvey(Protocol):
    """Looks at all rows of the sources of one kind, which have names. UserError if they are none of this kind."""

    def __call__(self, kind: "RowKind", sources: Mapping[str, Iterable[Row]], asked: Asked) -> Surveyed: ...


class Configure(Protocol):
    """The same kind of rows, in one dialect, with the tables of one file; with a check of every row's own answer or without."""

    def __call__(self, dialect: str | None, schema: Path | None, *, check_answers: bool) -> "RowKind": ...


@dataclass(frozen=True, kw_only=True)
class RowKind:
    """A value of ``--type`` of dataset.py: which fields a row has and how they become a conversation.

    ``required`` fields are non-empty text in every row (none if ``to_messages`` checks by itself), ``optional`` ones are text
    if they are there; ``aliases`` lists further names under which each is found. ``to_messages`` raises ValueError that says
    what is wrong with the row. ``builtin(rows by split, seed)`` generates rows by split and raises ValueError if there are not
    as many; ``split_rule`` says how those are divided. ``open_checker`` opens a check of a row's own answer.
    """

    name: str
    about: str  # one line for --list
    also_called: tuple[str, ...] = ()  # other words for --type, which are no values of it
    to_messages: Callable[[Row], list[Message]]
    hub_dataset: str | None = None  # the default rows
    licence: str | None = None  # of the default rows
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    builtin: Callable[[Mapping[str, int], int], dict[str, list[Row]]] | None = None
    split_rule: str | None = None
    calls_tools: bool = False  # the fields of ``tool_rows`` are the tools of the conversation
    conversations: bool = False  # rows can have several turns of the assistant: --learn and --thinking apply
    several_answers: bool = False  # rows with the same prompt become one, whose "accepted" lists the answers of all
    kept: Callable[[Row], Row] = lambda row: row  # the fields that stay beside the messages
    unused: Callable[[Row], Iterable[str]] | None = (
        None  # what of a row is not used (default: no required or optional field)
    )
    told: Callable[[Row], Iterable[str]] = lambda row: ()  # what a person should know of how a row was read
    known: tuple[str, ...] = ()  # further fields that are used, or known to be of no use
    writes_system: bool = False  # every row gets a system message of the task, which names what is asked for
    plain_text: bool = False  # rows are documents, cut into pieces and learned without a chat template
    scored_as: str = ""  # the task that scores these rows, if they are not a task of their own
    open_checker: Callable[[], AbstractContextManager[Checker]] | None = None
    checked: tuple[str, ...] = ()  # the fields that the check reads, all if empty: rows alike in them are checked once
    prepared: Callable[[Row, Tell, Tell], Row] = lambda row, mend, note: row  # before it becomes a conversation
    configured: "Configure | None" = None  # for --dialect and --schema
    survey: "TakeSurvey | None" = None  # looks at all rows before the first becomes a conversation
    stratified: str = ""  # the field, a text or several, whose values have the same share in each split
    one_answer: bool = False  # a prompt has one answer: rows that contradict each other are dropped


@dataclass(frozen=True)
class Score:
    """How good an answer is, 0 to 1, and why. ``value`` is None if the row cannot judge any answer."""

    value: float | None
    kind: str  # a class that can be counted, such as "ok" or "unknown_column"
    reason: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)  # what else was measured, 0 to 1, such as "ROUGE-L"


Scorer = Callable[[Row, str], Score]
Summarise = Callable[[Sequence[Row], Mapping[str, Sequence[str]]], Classes]  # rows, and the answers of each side


@dataclass(frozen=True, kw_only=True)
class Task(RowKind):
    """A kind of rows whose answers can be scored: a value of ``--dataset-type`` of train.py."""

    open_scorer: Callable[[Stop], AbstractContextManager[Scorer]]  # ``stop`` interrupts what it waits for
    metric: str  # what the mean score is called
    malformed: frozenset[str]  # kinds of answers that are not well-formed
    has_form: bool = True  # False: any text is well-formed, so "well-formed" is left out of tables
    rows_with_form: Callable[[Row], bool] | None = None  # if only some rows have a form: which
    measure: str  # what makes an answer right, after "better by": "executed SQL", "the right label"
    measure_of: Callable[[Row], str] | None = None  # the same for a row, if it is not the same for all
    kind_words: Mapping[str, str] = field(default_factory=dict)  # kind -> for people, such as "an unknown column"
    partial: Mapping[str, float] = field(default_factory=dict)  # kind of a wrong answer -> its reward, 0 to 1
    loss_decides: bool = False  # if most rows have no score, the verdict is by loss; else there is none
    question: Callable[[Row], str]  # one line that tells a reader which row it is
    labels: tuple[str, ...] = ()  # all that an answer can be, as far as they are known; --restrict needs them
    knowing: "Callable[[Iterable[str]], Task] | None" = None  # the same task with its labels
    of_rows: "Callable[[Iterable[Row]], Task] | None" = None  # the same with the labels of these rows
    summarised: "Summarise | None" = None  # what answers say of each label

    def is_formed(self, row: Row) -> bool:
        """Whether an answer to the row can be malformed."""
        return self.rows_with_form(row) if self.rows_with_form else self.has_form

    def measures(self, rows: Iterable[Row]) -> str:
        """What makes answers to the rows right, the most frequent first: "the right call and exact match"."""
        counts = Counter(self.measure_of(row) if self.measure_of else self.measure for row in rows)
        return " and ".join(name for name, _ in counts.most_common()) or self.measure
