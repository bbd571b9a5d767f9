"""The shapes in which people keep conversations, each recognised by its own fields and made into messages.

A file can mix them. Only the shape is recognised here; ``dataset/preflight.py`` decides whether the conversation can be
trained on.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from finetune.errors import shell_command, shortened
from finetune.models.conversation import Message
from finetune.models.thinking import FIELDS
from finetune.records.files import Row
from finetune.tasks import beside, learning, media, thinking, tool_rows
from finetune.tasks.base import BadRow
from finetune.tasks.text_marks import looks_marked, turns_in
from finetune.tasks.values import (
    ROLES,
    is_empty,
    is_listed,
    is_parts,
    joined,
    json_type,
    listed,
    read_as,
    role_of,
    text_of,
)

_NAMES = 12  # of fields in a message


def to_messages(row: Row) -> list[Message]:
    """The conversation of a row. BadRow says what is wrong with the row, or which fields it has."""
    if shape := shape_of(row):
        learning.demand_whole(row)
        learning.demand_no_bad_answer(row)
        media.demand_text(row)
        messages = tool_rows.checked(FORMATS[shape](row), tool_rows.tools_of(row))
        media.demand_no_places(messages)
        return messages
    for fields in FORMATS:
        if all(field in row for field in fields):
            raise ValueError(f"{next(field for field in fields if row[field] is None)} is null, not text")
    if {"chosen", "rejected"} <= row.keys():
        raise BadRow("a pair of answers, not a conversation", lambda _: "--type preference reads pairs")
    known = ", ".join(" and ".join(fields) for fields in FORMATS)
    raise BadRow("not a conversation", column_remedy, known)


def shape_of(row: Row) -> tuple[str, ...] | None:
    """The fields of the first shape that a row has; None if it has none."""
    return next((fields for fields in FORMATS if all(row.get(field) is not None for field in fields)), None)


def column_remedy(row: Row) -> str:
    """The flag that makes prompt and answer of a row's own fields, with two of them as an example."""
    texts = [name for name, value in row.items() if isinstance(value, str) and value.strip() and _can_be_named(name)]
    question, answer = [*texts, "FIELD", "FIELD"][:2]
    return f"name its fields, for example {shell_command('--column', f'prompt={question},completion={answer}')}"


def _can_be_named(field: str) -> bool:
    """Whether --column can name the field."""
    return field != "" and field == field.strip() and not set(field) & set("=,")


def named(fields: Iterable[str]) -> str:
    """The names of a row's fields for a message: the first dozen, long ones shortened."""
    names = [shortened(name) for name in fields]
    return ", ".join([*names[:_NAMES], *(["..."] if len(names) > _NAMES else [])]) or "none"


def without_source(row: Row) -> Row:
    """The row without the fields that its messages were made from. An answer to check against stays, and its tools."""
    made_from = _SOURCE_FIELDS | ({*(shape_of(row) or ())} - {"answer"})
    return tool_rows.with_tools({name: value for name, value in row.items() if name not in made_from}, row)


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


def unused(row: Row) -> Iterator[str]:
    """What in a row that ``to_messages`` accepts is not learned and not used for scoring: its fields, and those of its messages
    as ``"weight in messages"``. What is null or empty says nothing."""
    shape = shape_of(row) or ()
    used = {*shape, *beside.SYSTEM, *tool_rows.FIELDS, *(name for name in row if learning.is_feedback(name, row[name]))}
    if len(shape) == 2:
        used |= {*beside.HISTORY}
        used |= {"input", *beside.used(row)} if not is_listed(row[shape[0]]) else set()
        used |= {name for name in FIELDS if thinking.is_thinking(name, row.get(name)) and not is_listed(row[shape[1]])}
    yield from (name for name in unused_fields(row, used) if not learning.says_nothing(name, row[name]))
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
    role = role_of(turn.get("role", turn.get("from")))
    is_read = role == "assistant" and (name in learning.MARKS or thinking.is_thinking(name, turn.get(name)))
    is_read = is_read or tool_rows.uses(turn, name)
    return is_read or is_empty(turn.get(name)) or learning.says_nothing(name, turn[name], str(role))


def told(row: Row) -> Iterator[str]:
    """What a person should know of how a row that ``to_messages`` accepts was read."""
    shape = shape_of(row) or ()
    if len(shape) == 2 and not is_listed(row[shape[0]]):
        yield from beside.told(row, row[shape[1]])
    yield from (what for field in shape for what in read_as(row[field]))
    if shape == ("text",) and looks_marked(row["text"]) and not turns_in(row["text"]):
        yield "texts with marks of a chat that make no conversation (the speakers do not take turns), learned as plain text"
    yield from tool_rows.told(row, shape)
    for name in (
        name
        for name in row
        if name in learning.RATINGS and not is_empty(row[name]) and not learning.is_feedback(name, row[name])
    ):
        yield f"{name} beside answers, which are all learned alike (leave out rows that you do not want)"


def _messages(row: Row) -> list[Message]:
    return _with_system(_turns(row["messages"], "role", "content"), row)


def _conversations(row: Row) -> list[Message]:
    """The shape of ShareGPT."""
    return _with_system(_turns(row["conversations"], "from", "value"), row)


def _with_system(messages: list[Message], row: Row) -> list[Message]:
    """The messages after the system message that stands beside them. ValueError if they have another one."""
    value = beside.one_of(row, beside.SYSTEM)
    if value is None:
        return messages
    if not isinstance(value, str):
        raise ValueError(f"the field system is {json_type(value)}, not text")
    system = value
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    if messages[0]["content"].strip() != system.strip():
        raise ValueError("the field system is another text than the system message (keep one of them)")
    return messages


def _turns(turns: Any, role_field: str, text_field: str) -> list[Message]:
    turns = listed(turns)
    if not turns:
        raise ValueError("the list of messages is empty")
    messages: list[Message] = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise ValueError(f"a message is {json_type(turn)}, not an object")
        name = turn.get(role_field, turn.get("role"))
        role = role_of(name)
        text, thought = turn.get(text_field, turn.get("content")), None
        if role == "assistant":
            thought = thinking.field_of(turn)
        if role == "assistant" and isinstance(text, list):
            text, in_parts = thinking.parts_of(text)
            thought = thought or in_parts
        if of_tools := tool_rows.turns_of(turn, name, text):
            messages += [_weighted(thinking.before_calls(message, thought), turn) for message in of_tools]
            continue
        if role not in ROLES:
            raise ValueError(f"a message has the role {shortened(str(role), 40)!r} (use {', '.join(ROLES)})")
        text = joined(text) if is_parts(text) else text
        said = text_of(text, f"the content of a message of the {role}")
        message = thinking.answer(said, thought) if role == "assistant" else Message(role=role, content=said)
        messages.append(_weighted(message, turn))
    return messages


def _weighted(message: Message, turn: Mapping[str, Any]) -> Message:
    """The message with the mark of its turn, if it has one."""
    weight = learning.weight_of(turn, message["role"])
    return message if weight is None else {**message, "weight": weight}


def _pair(question: str, answer: str) -> Callable[[Row], list[Message]]:
    return lambda row: turns_of(row[question], row[answer], row, names=(question, answer))


def turns_of(question: object, answer: object, row: Row, names: tuple[str, str]) -> list[Message]:
    """A question with its answer, each a text or a list of messages, after the row's system message and its history."""
    if is_listed(question):
        asked = _turns(question, "role", "content")
    else:
        below = "" if "input" in names or names[0] == "" else "input"
        asked = [{"role": "user", "content": beside.prompt(row, _content(question, names[0]), below=below)}]
        answer = beside.answer(row, answer)
    if is_listed(answer):
        answered = _turns(answer, "role", "content")
    else:
        answered = [thinking.answer(_content(answer, names[1]), thinking.field_of(row))]
    return in_context([*asked, *answered], row)


def in_context(messages: list[Message], row: Row) -> list[Message]:
    """The messages of a row after what stands in its fields ``system`` and ``history``."""
    learning.demand_whole(row)
    media.demand_text(row)
    return _with_system([*_history(beside.one_of(row, beside.HISTORY)), *messages], row)


def _history(turns: object) -> list[Message]:
    """Earlier turns: messages, pairs of a question and its answer, or a text with labels of who speaks."""
    if is_empty(turns):
        return []
    if isinstance(turns, str) and (labelled := turns_in(turns)):
        return _turns(labelled, "role", "content")
    turns = listed(turns)
    if is_listed(turns):
        return _turns(turns, "role", "content")
    messages: list[Message] = []
    for pair in turns:
        if isinstance(pair, Mapping) and len(pair) == 2 and [role_of(name) for name in pair] == ["user", "assistant"]:
            pair = list(pair.values())
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError("history is not a list of pairs of a question and its answer, or of messages")
        if other := next((text for text in pair if isinstance(text, (list, dict, bool))), None):
            raise ValueError(f"a text in history is {json_type(other)}, not text")
        asked, answered = (text_of(text, "a text in history") for text in pair)
        messages += [{"role": "user", "content": asked}, thinking.answer(answered)]
    return messages


def _content(value: object, name: str) -> str:
    return text_of(joined(value) if is_parts(value) else value, name)


def instruction(row: Row) -> list[Message]:
    """Alpaca's: the input, if there is one, stands below the instruction."""
    return turns_of(row["instruction"], row["output"], row, names=("instruction", "output"))


PLAIN_TEXT = "Write a text."  # the prompt of a text that has none


def _text(row: Row) -> list[Message]:
    """A text with the marks of a chat becomes its turns; any other becomes the answer to one fixed prompt."""
    text = row["text"]
    if not isinstance(text, str):
        raise ValueError(f"the field 'text' is {json_type(text)}, not text")
    if turns := turns_in(text):
        return _with_system(_turns(turns, "role", "content"), row)
    return turns_of(PLAIN_TEXT, text, {name: row.get(name) for name in beside.SYSTEM}, names=("", "text"))


FORMATS: dict[tuple[str, ...], Callable[[Row], list[Message]]] = {
    ("query", "tools", "answers"): tool_rows.query,
    ("messages",): _messages,
    ("conversations",): _conversations,
    ("instruction", "output"): instruction,
    ("prompt", "completion"): _pair("prompt", "completion"),
    ("prompt", "response"): _pair("prompt", "response"),
    ("question", "answer"): _pair("question", "answer"),
    ("text",): _text,
    ("instruction", "response"): _pair("instruction", "response"),
    ("query", "response"): _pair("query", "response"),
    ("problem", "solution"): _pair("problem", "solution"),
    ("input", "output"): _pair("input", "output"),
    ("user", "assistant"): _pair("user", "assistant"),
}
# mlx-lm would train on some of these instead
_SOURCE_FIELDS = {
    *("messages", "conversations", "text", "system", "instruction", "input", "output"),
    *("prompt", "completion", "response", "question"),
}
_IGNORABLE = frozenset[str]().union(FIELDS, tool_rows.FIELDS, learning.IGNORABLE, media.FIELDS, beside.IGNORABLE)
