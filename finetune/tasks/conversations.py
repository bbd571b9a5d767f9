"""The shapes in which people keep conversations, each recognised by its own fields and made into messages.

A file can mix them. Only the shape is recognised here; ``dataset/preflight.py`` decides whether the conversation can be
trained on.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from finetune.errors import shell_command, shortened
from finetune.models.conversation import Message
from finetune.records.files import Row
from finetune.tasks import beside, media, thinking, tool_links, tool_rows
from finetune.tasks.base import BadRow
from finetune.tasks.learning import demand_no_bad_answer, demand_whole, weight_of
from finetune.tasks.text_marks import turns_in
from finetune.tasks.values import (
    ROLES,
    is_empty,
    is_listed,
    is_parts,
    joined,
    json_type,
    listed,
    role_of,
    text_of,
)

_NAMES = 12  # of fields in a message


def to_messages(row: Row) -> list[Message]:
    """The conversation of a row. BadRow says what is wrong with the row, or which fields it has."""
    if shape := shape_of(row):
        demand_whole(row)
        demand_no_bad_answer(row)
        media.demand_text(row)
        messages = tool_links.checked(FORMATS[shape](row), tool_rows.tools_of(row))
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
        if tool_rows.speaker(turn) == "assistant":
            text, thought = refused_in(turn, text) or text, thinking.field_of(turn)
        if role == "assistant" and isinstance(text, list):
            text, in_parts = thinking.parts_of(text)
            thought = thought or in_parts
        if of_tools := tool_rows.turns_of(turn, name, text):
            messages += [_weighted(thinking.before_calls(message, thought), turn) for message in of_tools]
            continue
        if role not in ROLES:
            raise ValueError(f"a message has the role {shortened(str(role), 40)!r} (use {', '.join(ROLES)}, tool)")
        text = joined(text) if is_parts(text) else text
        said = text_of(text, f"the content of a message of the {role}")
        message = thinking.answer(said, thought) if role == "assistant" else Message(role=role, content=said)
        messages.append(_weighted(message, turn))
    return messages


def refused_in(turn: Mapping[str, Any], text: object) -> str | None:
    """What an assistant says in the field ``refusal`` in the place of ``text``, as OpenAI's API has it; None if nothing."""
    refusal = turn.get("refusal")
    return refusal if is_empty(text) and isinstance(refusal, str) and refusal.strip() else None


def _weighted(message: Message, turn: Mapping[str, Any]) -> Message:
    """The message with the mark of its turn, if it has one."""
    weight = weight_of(turn, message["role"])
    return message if weight is None else {**message, "weight": weight}


def _pair(question: str, answer: str) -> Callable[[Row], list[Message]]:
    return lambda row: turns_of(row[question], row[answer], row, names=(question, answer))


def turns_of(question: object, answer: object, row: Row, names: tuple[str, str]) -> list[Message]:
    """A question with its answer, each a text or a list of messages, after the row's system message and its history."""
    if is_listed(question):
        asked = _turns(question, "role", "content")
    else:
        below = "" if "input" in names or names[0] == "" else "input"
        asked = [{"role": "user", "content": beside.prompt(row, _content(question, names[0]), answer, below=below)}]
        answer = beside.answer(row, answer)
    if is_listed(answer):
        answered = _turns(answer, "role", "content")
    else:
        answered = [thinking.answer(_content(answer, names[1]), thinking.field_of(row))]
    return in_context([*asked, *answered], row)


def in_context(messages: list[Message], row: Row) -> list[Message]:
    """The messages of a row after what stands in its fields ``system`` and ``history``."""
    demand_whole(row)
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
        return tool_links.linked(_turns(turns, "role", "content"))
    messages: list[Message] = []
    for pair in turns:
        if isinstance(pair, Mapping) and len(pair) == 2 and [role_of(name) for name in pair] == ["user", "assistant"]:
            pair = list(pair.values())
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError("history is not a list of pairs of a question and its answer, or of messages")
        for other in (text for text in pair if isinstance(text, (list, dict, bool))):
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
    ("query", "tools", "answers"): lambda row: in_context(tool_rows.query(row), row),
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
