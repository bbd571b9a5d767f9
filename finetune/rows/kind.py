"""What a kind of rows is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from finetune.artifacts import Row
from finetune.encoding import Message


@dataclass(frozen=True)
class RowKind:
    name: str
    hub_dataset: str | None  # the default rows
    required: tuple[str, ...]  # fields of a row that must be non-empty text; () where to_messages checks by itself
    to_messages: Callable[[Row], list[Message]]  # raises ValueError that says what is wrong with the row
    builtin: Callable[[Mapping[str, int], int], dict[str, list[Row]]] | None  # (rows by split, seed) -> rows by split
