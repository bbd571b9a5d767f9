"""The shapes in which people keep conversations, each recognised by its own fields and made into messages.

A file can mix them. Only the shape is recognised here; ``dataset/preflight.py`` decides whether the conversation can be
trained on.
"""

import ast
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from finetune.errors import json_type, shell_command, shortened
from finetune.models.conversation import Message
from finetune.records.files import Row
from finetune.tasks import tool_rows
from finetune.tasks.base import BadRow
from finetune.tasks.learning import MARKS, REFUSED, demand_whole, says_nothing, weight_of
from finetune.tasks.text_marks import turns_in

_NAMES = 12  # of fields in a message

ROLES = ("system", "user", "assistant")
# names of other programs for the three roles
_OTHER_NAMES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant"}


def to_messages(row: Row) -> list[Message]:
    """The conversation of a row. BadRow says what is wrong with the row, or which fields it has."""
    if shape := shape_of(row):
        demand_whole(row)
        return tool_rows.checked(FORMATS[shape](row), tool_rows.tools_of(row))
    for fields in FORMATS:
        if all(field in row for field in fields):
            raise ValueError(f"{next(field for field in fields if row[field] is None)} is null, not text")
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
    """The row without the fields that its messages were made from, and with its tools as the messages need them."""
    made_from = {*_SOURCE_FIELDS, *(shape_of(row) or ())}
    return tool_rows.with_tools({name: value for name, value in row.items() if name not in made_from}, row)


def ignoring(row: Row, names: Collection[str]) -> tuple[Row, set[str]]:
    """The row without those fields of ``names`` that ``to_messages`` would refuse, in its messages too; and which it had."""
    refusable, had = {*REFUSED, *tool_rows.FIELDS} & {*names}, set[str]()
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
    used = {*shape, *tool_rows.FIELDS, "system"} | {"instruction": {"input", "history"}, "text": set()}.get(
        shape[0], set() if len(shape) == 1 else {"history"}
    )
    yield from (name for name in unused_fields(row, used) if not says_nothing(name, row[name]))
    for field in shape:
        yield from unused_in_messages(row, field)


def unused_fields(row: Row, used: Collection[str]) -> Iterator[str]:
    """The fields with a value that are not among those that are ``used``."""
    return (name for name, value in row.items() if name not in used and not _is_empty(value))


def unused_in_messages(row: Row, field: str) -> Iterator[str]:
    """What in the messages of a field is neither role nor text, nor a mark for what is learned."""
    turns = listed(row[field]) if is_listed(row.get(field)) else []
    for name in dict.fromkeys(name for turn in turns for name in turn):
        if name not in ("role", "content", "from", "value") and not all(_is_used(turn, name) for turn in turns):
            yield f"{name} in {field}"


def _is_used(turn: Mapping[str, Any], name: str) -> bool:
    """Whether what a message has under this name is learned, decides what is learned, or says nothing."""
    role = _role(turn.get("role", turn.get("from")))
    is_mark = name in MARKS and role == "assistant"
    return (
        is_mark or tool_rows.uses(turn, name) or _is_empty(turn.get(name)) or says_nothing(name, turn[name], str(role))
    )


def _is_empty(value: object) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())


def _messages(row: Row) -> list[Message]:
    return _with_system(_turns(row["messages"], "role", "content"), row.get("system"))


def _conversations(row: Row) -> list[Message]:
    """The shape of ShareGPT."""
    return _with_system(_turns(row["conversations"], "from", "value"), row.get("system"))


def _with_system(messages: list[Message], system: object) -> list[Message]:
    """The messages after the system message that stands beside them. ValueError if they have another one."""
    if _is_empty(system):
        return messages
    system = text_of(system, "the field system")
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    if messages[0]["content"].strip() != system.strip():
        raise ValueError("the field system is another text than the system message (keep one of them)")
    return messages


def listed(turns: Any) -> list[Any]:
    """A list of messages: as it is, or as text, because a CSV file has no lists. pandas writes them as Python shows them."""
    if isinstance(turns, str):
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError):
            try:
                turns = ast.literal_eval(turns.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                raise ValueError(
                    f"{shortened(turns, 40)!r} is not a list of messages in JSON (write them with json.dumps)"
                ) from None
    if not isinstance(turns, list):
        raise ValueError(f"the list of messages is {json_type(turns)}")
    return turns


def is_listed(value: object) -> bool:
    """Whether a value is a list of messages, or was one before it was written as text. An answer can be other JSON."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(turn, Mapping) and {"role", "from"} & turn.keys() for turn in value)
    if not isinstance(value, str) or not (begin := _LISTED.match(value)):
        return False
    try:
        turns = listed(value)
    except ValueError:
        return begin["role"] is not None
    return is_listed(turns) and all({"content", "value"} & turn.keys() for turn in turns)


_SPEAKER = rf"""(['"])(?:role|from)\2\s*:\s*(['"])(?:{"|".join([*ROLES, *_OTHER_NAMES])})\3"""
_LISTED = re.compile(rf"""\s*\[\s*\{{\s*(?:(?P<role>{_SPEAKER})|(['"])\w+\4\s*:)""")


def _turns(turns: Any, role_field: str, text_field: str) -> list[Message]:
    turns = listed(turns)
    if not turns:
        raise ValueError("the list of messages is empty")
    messages: list[Message] = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise ValueError(f"a message is {json_type(turn)}, not an object")
        name = turn.get(role_field, turn.get("role"))
        role = _role(name)
        if of_tools := tool_rows.turns_of(turn, name, text_field):
            messages += [_weighted(message, turn) for message in of_tools]
            continue
        if role not in ROLES:
            raise ValueError(f"a message has the role {shortened(str(role), 40)!r} (use {', '.join(ROLES)})")
        text = turn.get(text_field, turn.get("content"))
        text = _joined(text) if isinstance(text, list) else text
        messages.append(
            _weighted({"role": role, "content": text_of(text, f"the content of a message of the {role}")}, turn)
        )
    return messages


def _weighted(message: Message, turn: Mapping[str, Any]) -> Message:
    """The message with the mark of its turn, if it has one."""
    weight = weight_of(turn, message["role"])
    return message if weight is None else {**message, "weight": weight}


def _role(name: object) -> object:
    return _OTHER_NAMES.get(name, name) if isinstance(name, str) else name


def text_of(value: object, what: str) -> str:
    """``value`` if it is text, or a number as text; else ValueError that says what it is instead."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, str):
        raise ValueError(f"{what} is empty")
    remedy = " (write it as text: json.dumps)" if isinstance(value, (dict, list)) else ""
    raise ValueError(f"{what} is {json_type(value)}, not text{remedy}")


def _joined(parts: list[Any]) -> str:
    """The text of a message in parts: [{"type": "text", "text": "..."}]."""
    for part in parts:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = shortened(str(part.get("type"))) if isinstance(part, Mapping) else type(part).__name__
            raise ValueError(f"a message has a part that is not text ({kind})")
    return "\n".join(part["text"] for part in parts)


def _pair(question: str, answer: str) -> Callable[[Row], list[Message]]:
    return lambda row: turns_of(row[question], row[answer], row, names=(question, answer))


def turns_of(question: object, answer: object, row: Row, names: tuple[str, str]) -> list[Message]:
    """A question with its answer, each a text or a list of messages, after the row's system message and its history."""
    asked, answered = (
        _turns(value, "role", "content") if is_listed(value) else [{"role": role, "content": _content(value, name)}]
        for role, value, name in (("user", question, names[0]), ("assistant", answer, names[1]))
    )
    return in_context([*asked, *answered], row)


def in_context(messages: list[Message], row: Row) -> list[Message]:
    """The messages of a row after what stands in its fields ``system`` and ``history``."""
    demand_whole(row)
    return _with_system([*_history(row.get("history")), *messages], row.get("system"))


def _history(turns: object) -> list[Message]:
    """Earlier turns, as pairs of a question and its answer."""
    pairs = listed(turns) if turns else []
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError("history is not a list of pairs of a question and its answer")
    texts = [_content(text, "a text in history") for pair in pairs for text in pair]
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


def _content(value: object, name: str) -> str:
    return text_of(_joined(value) if isinstance(value, list) else value, name)


def instruction(row: Row) -> list[Message]:
    """Alpaca's: the input, if there is one, stands below the instruction."""
    question, given = row["instruction"], row.get("input")
    if not _is_empty(given):
        question = f"{text_of(question, 'instruction').strip()}\n\n{text_of(given, 'input').strip()}"
    return turns_of(question, row["output"], row, names=("instruction", "output"))


PLAIN_TEXT = "Write a text."  # the prompt of a text that has none


def _text(row: Row) -> list[Message]:
    """A text with the marks of a chat becomes its turns; any other becomes the answer to one fixed prompt."""
    text = row["text"]
    if not isinstance(text, str):
        raise ValueError(f"the field 'text' is {json_type(text)}, not text")
    if turns := turns_in(text):
        return _with_system(_turns(turns, "role", "content"), row.get("system"))
    return turns_of(PLAIN_TEXT, text, {"system": row.get("system")}, names=("", "text"))


FORMATS: dict[tuple[str, ...], Callable[[Row], list[Message]]] = {
    ("query", "tools", "answers"): tool_rows.query,
    ("messages",): _messages,
    ("conversations",): _conversations,
    ("instruction", "output"): instruction,
    ("prompt", "completion"): _pair("prompt", "completion"),
    ("prompt", "response"): _pair("prompt", "response"),
    ("question", "answer"): _pair("question", "answer"),
    ("text",): _text,
}
# mlx-lm would train on these instead; an answer to check against stays
_SOURCE_FIELDS = {"system", "input", *(field for fields in FORMATS for field in fields)} - {
    *("answer", "query", "tools", "answers")
}
