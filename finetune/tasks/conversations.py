"""The shapes in which people keep conversations, each recognised by its own fields and made into messages.

A file may mix them. What is recognised here is the shape alone; whether the conversation can be trained on is
``preflight``'s to say.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from finetune.errors import shortened
from finetune.models.encoder import Message
from finetune.records.files import Row

_NAMES = 12  # of fields in a message

ROLES = ("system", "user", "assistant")
# names of other programs for the three roles
_OTHER_NAMES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant"}


def to_messages(row: Row) -> list[Message]:
    """The conversation of a row. ValueError says what is wrong with the row, or which fields it has."""
    for fields, read in FORMATS.items():
        if all(row.get(field) is not None for field in fields):
            return read(row)
    known = ", ".join(" and ".join(fields) for fields in FORMATS)
    raise ValueError(f"not a conversation (fields: {named(row)}; known: {known})")


def named(fields: Iterable[str]) -> str:
    """The names of a row's fields for a message: the first dozen, none endless."""
    names = [shortened(name) for name in fields]
    return ", ".join([*names[:_NAMES], *(["..."] if len(names) > _NAMES else [])]) or "none"


def without_source(row: Row) -> Row:
    """The row without the fields that its messages were made from."""
    return {name: value for name, value in row.items() if name not in _SOURCE_FIELDS}


def _messages(row: Row) -> list[Message]:
    return _turns(row["messages"], "role", "content")


def _conversations(row: Row) -> list[Message]:
    """ShareGPT's."""
    return _turns(row["conversations"], "from", "value")


def _turns(turns: Any, role_field: str, text_field: str) -> list[Message]:
    if isinstance(turns, str):  # a CSV file has no lists
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError):
            raise ValueError(f"a text where the list of messages should be: {shortened(turns)!r}") from None
    if not isinstance(turns, list) or not turns:
        raise ValueError("no messages in it")
    messages: list[Message] = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise ValueError(f"a message is {type(turn).__name__}, not an object")
        role = turn.get(role_field, turn.get("role"))
        role = _OTHER_NAMES.get(role, role) if isinstance(role, str) else role
        if role not in ROLES:
            raise ValueError(f"a message has the role {shortened(str(role))!r} (use {', '.join(ROLES)})")
        text = turn.get(text_field, turn.get("content"))
        text = _joined(text) if isinstance(text, list) else text
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"a message of the {role} has no text")
        messages.append({"role": role, "content": text})
    return messages


def _joined(parts: list[Any]) -> str:
    """The text of a message in parts: [{"type": "text", "text": "..."}]."""
    for part in parts:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = shortened(str(part.get("type"))) if isinstance(part, Mapping) else type(part).__name__
            raise ValueError(f"a message has a part that is no text ({kind})")
    return "\n".join(part["text"] for part in parts)


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


# of each markup that texts for fine-tuning are kept in: what opens a turn, what closes its role, what closes the turn
_MARKUP = (
    ("<|im_start|>", "\n", "<|im_end|>"),
    ("<start_of_turn>", "\n", "<end_of_turn>"),
    ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
_INST, _END_INST, _SYS, _END_SYS = "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"
_ALPACA_INSTRUCTION, _ALPACA_INPUT, _ALPACA_RESPONSE = "### Instruction:", "### Input:", "### Response:"
PLAIN_TEXT = "Write a text."  # the prompt of a text that has none


def _text(row: Row) -> list[Message]:
    """A text with the markup of a chat is taken apart; any other is learned as the answer to one fixed prompt."""
    text = row["text"]
    if not isinstance(text, str):
        raise ValueError(f"'text' is {type(text).__name__}, not text")
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
    return _turns([{"role": "user", "content": PLAIN_TEXT}, {"role": "assistant", "content": text}], "role", "content")


def _marked(text: str, opening: str, after_role: str, closing: str) -> list[dict[str, str]]:
    """The turns between the marks; the last one may lack its closing mark."""
    turns = []
    for part in text.split(opening)[1:]:
        role, _, words = part.partition(after_role)
        turns.append({"role": role.strip(), "content": words.partition(closing)[0].strip()})
    return turns


def _inst(text: str) -> list[dict[str, str]]:
    """Of Llama 2 and Mistral."""
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
# mlx-lm would take these for the row; an answer to check against stays
_SOURCE_FIELDS = {"system", "input", *(field for fields in FORMATS for field in fields)} - {"answer"}
