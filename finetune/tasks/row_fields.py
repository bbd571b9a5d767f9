"""What becomes of each field of a row beside the conversation: used, told, left out by --ignore, or not used."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from finetune.models.thinking import FIELDS
from finetune.records.files import Row
from finetune.tasks import beside, media, thinking, tool_rows
from finetune.tasks.base import RowKind
from finetune.tasks.conversations import refused_in, shape_of
from finetune.tasks.learning import IGNORABLE, MARKS, RATINGS, is_feedback, says_nothing
from finetune.tasks.text_marks import looks_marked, turns_in
from finetune.tasks.values import is_empty, is_listed, listed, read_as

_IGNORABLE = frozenset[str]().union(FIELDS, tool_rows.FIELDS, IGNORABLE, media.FIELDS, beside.IGNORABLE)


def ignoring(row: Row, names: Collection[str]) -> tuple[Row, set[str]]:
    """The row without those fields of ``names`` that ``to_messages`` would refuse, in its messages too; and which it had."""
    refusable, had = _IGNORABLE & {*names}, set[str]()
    if not refusable:
        return row, had
    found = dict(row)
    for name, value in row.items():
        if name in refusable:
            had.add(name)
            del found[name]
        elif is_listed(value):
            turns = listed(value)
            had |= refusable.intersection(*[set().union(*turns)])
            found[name] = [{key: said for key, said in turn.items() if key not in refusable} for turn in turns]
    return found, had


def without_other_tools(row: Row, kind: RowKind, ignored: Collection[str], note: Callable[[str], None]) -> Row:
    """The row with fields for tools that are not those of its conversation under other names: under their own they would be
    shown to the model. ``note`` is told."""
    names = {name for name in tool_rows.FIELDS if row.get(name) and (name in ignored or not kind.calls_tools)}
    for name in sorted(names):
        note(f"the field {name} is kept as source_{name}, and not shown to the model")
    return {f"source_{name}" if name in names else name: value for name, value in row.items()}


def unused(row: Row) -> Iterator[str]:
    """What in a row that ``to_messages`` accepts is not learned and not used for scoring: its fields, and those of its messages
    as ``"weight in messages"``. What is null or empty says nothing."""
    shape = shape_of(row) or ()
    used = {*shape, *beside.SYSTEM, *tool_rows.FIELDS, *(name for name in row if is_feedback(name, row[name]))}
    if len(shape) > 1:
        used |= {*beside.HISTORY}
    if len(shape) == 2:
        used |= {"input", *beside.used(row)} if not is_listed(row[shape[0]]) else set()
        used |= {name for name in FIELDS if thinking.is_thinking(name, row.get(name)) and not is_listed(row[shape[1]])}
    yield from (name for name in unused_fields(row, used) if not says_nothing(name, row[name]))
    for field in shape:
        yield from unused_in_messages(row, field)


def unused_fields(row: Row, used: Collection[str]) -> Iterator[str]:
    """The fields with a value that are not among those that are ``used``."""
    return (name for name, value in row.items() if name not in used and not is_empty(value))


def unused_in_messages(row: Row, field: str) -> Iterator[str]:
    """What in the messages of a field is neither role nor text, nor a mark for what is learned."""
    turns = listed(row[field]) if is_listed(row.get(field)) else []
    for name in dict.fromkeys(name for turn in turns for name in turn):
        if name not in ("role", "content", "from", "value") and not all(_is_used(turn, name) for turn in turns):
            yield f"{name} in {field}"


def _is_used(turn: Mapping[str, Any], name: str) -> bool:
    """Whether what a message has under this name is learned, decides what is learned, or says nothing."""
    role = tool_rows.speaker(turn)
    is_read = role == "assistant" and (name in MARKS or thinking.is_thinking(name, turn.get(name)))
    if role == "assistant" and name == "refusal":
        is_read = refused_in(turn, turn.get("content", turn.get("value"))) is not None
    is_read = is_read or tool_rows.uses(turn, name)
    return is_read or is_empty(turn.get(name)) or says_nothing(name, turn[name], str(role))


def told(row: Row) -> Iterator[str]:
    """What a person should know of how a row that ``to_messages`` accepts was read."""
    shape = shape_of(row) or ()
    if len(shape) == 2 and not is_listed(row[shape[0]]):
        yield from beside.told(row, row[shape[1]])
    yield from (what for field in shape for what in read_as(row[field]))
    turns = [turn for field in shape if is_listed(row[field]) for turn in listed(row[field])]
    if any(
        refused_in(turn, turn.get("content", turn.get("value"))) and tool_rows.speaker(turn) == "assistant"
        for turn in turns
    ):
        yield "answers that stand in the field refusal, learned like others"
    if shape == ("text",) and looks_marked(row["text"]) and not turns_in(row["text"]):
        yield "texts with marks of a chat that make no conversation (the speakers do not take turns), learned as plain text"
    yield from tool_rows.told(row, shape)
    for name in (
        name for name in row if name in RATINGS and not is_empty(row[name]) and not is_feedback(name, row[name])
    ):
        yield f"{name} beside answers, which are all learned alike (leave out rows that you do not want)"
