"""The shapes in which people keep conversations, each recognised by its own fields and made into messages.

A file may mix them. What is recognised here is the shape alone; whether the conversation can be trained on is
``preflight``'s to say.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from finetune.artifacts import Row
from finetune.encoding import Message

ROLES = ("system", "user", "assistant")
# names of other programs for the three roles
_OTHER_NAMES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant"}


def to_messages(row: Row) -> list[Message]:
    """The conversation of a row. ValueError says what is wrong with the row, or which fields it has."""
    for fields, read in FORMATS.items():
        if all(row.get(field) is not None for field in fields):
            return read(row)
    known = ", ".join(" and ".join(fields) for fields in FORMATS)
    raise ValueError(f"not a conversation (fields: {', '.join(row) or 'none'}; known: {known})")


def without_source(row: Row) -> Row:
    """The row without the fields that its messages were made from."""
    return {name: value for name, value in row.items() if name not in _SOURCE_FIELDS}


def _messages(row: Row) -> list[Message]:
    return _turns(row["messages"], "role", "content")


def _conversations(row: Row) -> list[Message]:
    """ShareGPT's."""
    return _turns(row["conversations"], "from", "value")


def _turns(turns: Any, role_field: str, text_field: str) -> list[Message]:
    if not isinstance(turns, list) or not turns:
        raise ValueError("no messages in it")
    messages: list[Message] = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise ValueError(f"a message is {type(turn).__name__}, not an object")
        role = turn.get(role_field, turn.get("role"))
        role = _OTHER_NAMES.get(role, role) if isinstance(role, str) else role
        if role not in ROLES:
            raise ValueError(f"a message has the role {role!r} (use {', '.join(ROLES)})")
        text = turn.get(text_field, turn.get("content"))
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"a message of the {role} has no text")
        messages.append({"role": role, "content": text})
    return messages


def _pair(question: str, answer: str) -> Callable[[Row], list[Message]]:
    def read(row: Row) -> list[Message]:
        turns = [{"role": "user", "content": row[question]}, {"role": "assistant", "content": row[answer]}]
        if isinstance(row.get("system"), str) and row["system"].strip():
            turns = [{"role": "system", "content": row["system"]}, *turns]
        return _turns(turns, "role", "content")

    return read


def instruction(row: Row) -> list[Message]:
    """Alpaca's: the input, where there is one, stands below the instruction."""
    given, answer = row["instruction"], row["output"]
    if isinstance(given, str) and isinstance(row.get("input"), str) and row["input"].strip():
        given = f"{given.strip()}\n\n{row['input'].strip()}"
    return _pair("given", "answer")({"given": given, "answer": answer, "system": row.get("system")})


# one pattern for each markup that texts for fine-tuning are kept in: the name of a role, then its words
_MARKUP = (
    re.compile(r"<\|im_start\|>(?P<role>\w+)\n(?P<text>.*?)<\|im_end\|>", re.S),
    re.compile(r"<start_of_turn>(?P<role>\w+)\n(?P<text>.*?)<end_of_turn>", re.S),
    re.compile(r"<\|start_header_id\|>(?P<role>\w+)<\|end_header_id\|>\n\n(?P<text>.*?)<\|eot_id\|>", re.S),
)
_ALPACA_TEXT = re.compile(
    r"### Instruction:\s*(?P<instruction>.*?)\s*(?:### Input:\s*(?P<input>.*?)\s*)?### Response:\s*(?P<output>.*)", re.S
)
_PLAIN_TEXT = "Write a text."  # the prompt of a text that has none


def _text(row: Row) -> list[Message]:
    """A text with the markup of a chat is taken apart; any other is learned as the answer to one fixed prompt."""
    text = row["text"]
    if not isinstance(text, str):
        raise ValueError(f"'text' is {type(text).__name__}, not text")
    for markup in _MARKUP:
        if turns := [{"role": turn["role"], "content": turn["text"].strip()} for turn in markup.finditer(text)]:
            return _turns(turns, "role", "content")
    if turn := _ALPACA_TEXT.search(text):
        return instruction(turn.groupdict())
    return _turns([{"role": "user", "content": _PLAIN_TEXT}, {"role": "assistant", "content": text}], "role", "content")


FORMATS: dict[tuple[str, ...], Callable[[Row], list[Message]]] = {
    ("messages",): _messages,
    ("conversations",): _conversations,
    ("instruction", "output"): instruction,
    ("prompt", "completion"): _pair("prompt", "completion"),
    ("prompt", "response"): _pair("prompt", "response"),
    ("question", "answer"): _pair("question", "answer"),
    ("text",): _text,
}
# mlx-lm would take these for the row; an answer to check against stays
_SOURCE_FIELDS = {"system", "input", *(field for fields in FORMATS for field in fields)} - {"answer"}
