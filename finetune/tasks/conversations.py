"""The shapes in which people keep conversations, each recognised by its own fields and made into messages.

A file can mix them. Only the shape is recognised here; ``dataset/preflight.py`` decides whether the conversation can be
trained on.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from finetune.errors import shell_command, shortened
from finetune.models.encoder import Message
from finetune.records.files import Row
from finetune.tasks.base import BadRow

_NAMES = 12  # of fields in a message

ROLES = ("system", "user", "assistant")
# names of other programs for the three roles
_OTHER_NAMES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant"}


def to_messages(row: Row) -> list[Message]:
    """The conversation of a row. BadRow says what is wrong with the row, or which fields it has."""
    for fields, read in FORMATS.items():
        if all(row.get(field) is not None for field in fields):
            return read(row)
    for fields in FORMATS:
        if all(field in row for field in fields):
            raise ValueError(f"{next(field for field in fields if row[field] is None)} is null, not text")
    known = ", ".join(" and ".join(fields) for fields in FORMATS)
    raise BadRow("not a conversation", column_remedy, known)


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
    """The row without the fields that its messages were made from."""
    return {name: value for name, value in row.items() if name not in _SOURCE_FIELDS}


def _messages(row: Row) -> list[Message]:
    return _turns(row["messages"], "role", "content")


def _conversations(row: Row) -> list[Message]:
    """The shape of ShareGPT."""
    return _turns(row["conversations"], "from", "value")


def _turns(turns: Any, role_field: str, text_field: str) -> list[Message]:
    if isinstance(turns, str):  # a CSV file has no lists
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError):
            raise ValueError(f"{shortened(turns, 40)!r} is not a list of messages in JSON") from None
    if not isinstance(turns, list):
        raise ValueError(f"the list of messages is {json_type(turns)}")
    if not turns:
        raise ValueError("the list of messages is empty")
    messages: list[Message] = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise ValueError(f"a message is {json_type(turn)}, not an object")
        role = turn.get(role_field, turn.get("role"))
        role = _OTHER_NAMES.get(role, role) if isinstance(role, str) else role
        if role not in ROLES:
            raise ValueError(f"a message has the role {shortened(str(role), 40)!r} (use {', '.join(ROLES)})")
        text = turn.get(text_field, turn.get("content"))
        text = _joined(text) if isinstance(text, list) else text
        if text is None and (calls := [name for name in _CALLS if turn.get(name)]):
            raise ValueError(f"a message of the {role} has {calls[0]} and no text (tool calls are not supported)")
        messages.append({"role": role, "content": text_of(text, f"the content of a message of the {role}")})
    return messages


_CALLS = ("tool_calls", "function_call")


def text_of(value: object, what: str) -> str:
    """``value`` if it is text; else ValueError that says what it is instead."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, str):
        raise ValueError(f"{what} is empty")
    remedy = " (write it as text: json.dumps)" if isinstance(value, (dict, list)) else ""
    raise ValueError(f"{what} is {json_type(value)}, not text{remedy}")


def json_type(value: object) -> str:
    """What JSON calls a value, with its article."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _joined(parts: list[Any]) -> str:
    """The text of a message in parts: [{"type": "text", "text": "..."}]."""
    for part in parts:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = shortened(str(part.get("type"))) if isinstance(part, Mapping) else type(part).__name__
            raise ValueError(f"a message has a part that is not text ({kind})")
    return "\n".join(part["text"] for part in parts)


def _pair(question: str, answer: str) -> Callable[[Row], list[Message]]:
    return lambda row: turns_of(row[question], row[answer], row.get("system"), names=(question, answer))


def turns_of(
    question: object, answer: object, system: object = None, names: tuple[str, str] = ("", "")
) -> list[Message]:
    """A question with its answer; a system message that is empty or not text is dropped."""
    turns = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
    turns.append({"role": "user", "content": _content(question, names[0])})
    turns.append({"role": "assistant", "content": _content(answer, names[1])})
    return turns


def _content(value: object, name: str) -> str:
    return text_of(_joined(value) if isinstance(value, list) else value, name)


def instruction(row: Row) -> list[Message]:
    """Alpaca's: the input, if there is one, stands below the instruction."""
    question = row["instruction"]
    if isinstance(question, str) and isinstance(row.get("input"), str) and row["input"].strip():
        question = f"{question.strip()}\n\n{row['input'].strip()}"
    return turns_of(question, row["output"], row.get("system"), names=("instruction", "output"))


# markup of chats kept as text: what opens a turn, what ends its role, what closes the turn
_MARKUP = (
    ("<|im_start|>", "\n", "<|im_end|>"),
    ("<start_of_turn>", "\n", "<end_of_turn>"),
    ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
_INST, _END_INST, _SYS, _END_SYS = "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"
_ALPACA_INSTRUCTION, _ALPACA_INPUT, _ALPACA_RESPONSE = "### Instruction:", "### Input:", "### Response:"
PLAIN_TEXT = "Write a text."  # the prompt of a text that has none


def _text(row: Row) -> list[Message]:
    """A text with the markup of a chat becomes its turns; any other becomes the answer to one fixed prompt."""
    text = row["text"]
    if not isinstance(text, str):
        raise ValueError(f"the field 'text' is {json_type(text)}, not text")
    for opening, after_role, closing in _MARKUP:
        if opening in text:
            return _turns(_marked(text.replace("\r\n", "\n"), opening, after_role, closing), "role", "content")
    if _INST in text:
        return _turns(_inst(text), "role", "content")
    before, _, answer = text.partition(_ALPACA_RESPONSE)
    _, found, question = before.partition(_ALPACA_INSTRUCTION)
    if found and answer:
        question, _, given = question.partition(_ALPACA_INPUT)
        return instruction({"instruction": question.strip(), "input": given, "output": answer.strip()})
    return turns_of(PLAIN_TEXT, text, names=("", "text"))


def _marked(text: str, opening: str, after_role: str, closing: str) -> list[dict[str, str]]:
    """The turns between the marks; the last one can lack its closing mark."""
    turns = []
    for part in text.split(opening)[1:]:
        role, _, words = part.partition(after_role)
        turns.append({"role": role.strip(), "content": words.partition(closing)[0].strip()})
    return turns


def _inst(text: str) -> list[dict[str, str]]:
    """The turns of Llama 2's and Mistral's markup."""
    turns = []
    for part in text.split(_INST)[1:]:
        question, _, answer = part.partition(_END_INST)
        system, found, rest = question.partition(_END_SYS)
        if found:
            turns.append({"role": "system", "content": system.replace(_SYS, "").strip()})
        turns.append({"role": "user", "content": (rest if found else question).strip()})
        if answer := answer.partition("</s>")[0].strip():
            turns.append({"role": "assistant", "content": answer})
    return turns


FORMATS: dict[tuple[str, ...], Callable[[Row], list[Message]]] = {
    ("messages",): _messages,
    ("conversations",): _conversations,
    ("instruction", "output"): instruction,
    ("prompt", "completion"): _pair("prompt", "completion"),
    ("prompt", "response"): _pair("prompt", "response"),
    ("question", "answer"): _pair("question", "answer"),
    ("text",): _text,
}
# mlx-lm would train on these instead; an answer to check against stays
_SOURCE_FIELDS = {"system", "input", *(field for fields in FORMATS for field in fields)} - {"answer"}
