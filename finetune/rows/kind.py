"""What a kind of rows is."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from finetune.artifacts import Row
from finetune.encoding import Message

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
