"""Thinking in rows: found in fields of messages and rows and in the text of answers, and what ``--thinking`` makes of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finetune.models.call_text import spoken
from finetune.models.conversation import Message
from finetune.models.thinking import FIELDS, MARKS, split, written
from finetune.records.files import Row

MODES = ("learn", "keep", "drop")  # --thinking
TOLD = {
    "learn": "answers with thinking, which is learned (--thinking keep or drop changes that)",
    "keep": "answers with thinking, which is context and not learned",
    "drop": "answers whose thinking was dropped",
}
_AS_TEXT = "answers that begin with {}, learned as text (--thinking learn, keep or drop reads it as thinking)"


def field_of(turn: Mapping[str, Any]) -> str | None:
    """What a message or row of an assistant has as its thinking. ValueError if two fields have different texts."""
    found = {name: turn[name].strip() for name in FIELDS if isinstance(turn.get(name), str) and turn[name].strip()}
    if len(set(found.values())) > 1:
        raise ValueError(f"{' and '.join(found)} are different texts (keep one of them, or --ignore the others)")
    return next(iter(found.values()), None)


def is_thinking(name: str, value: object) -> bool:
    """Whether a field of an assistant's message, or of a row, is read as thinking."""
    return name in FIELDS and isinstance(value, str)


def answer(text: str, thought: str | None = None) -> Message:
    """The turn of the assistant; ``thought`` stood beside the text. ValueError if other thinking is in it, or has no end."""
    in_text, said = split(text)
    if in_text and thought and in_text != thought:
        raise ValueError(
            "the thinking before the answer is another text than the field beside it (keep one of them, or --ignore the field)"
        )
    if in_text is not None and not said.strip():
        raise ValueError("an answer is thinking alone, without what is said after it")
    found = in_text if thought is None else thought
    if found is None:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": said, "reasoning_content": found}


def before_calls(message: Message, thought: str | None) -> Message:
    """A turn of tools; one that calls with its thinking, which stood beside the text or is its beginning."""
    if "tool_calls" not in message:
        return message
    in_text, said = split(message["content"])
    if in_text and thought and in_text != thought:
        raise ValueError("the thinking before a call is another text than the field beside it (keep one of them)")
    found = in_text if thought is None else thought
    return message if found is None else {**message, "content": said, "reasoning_content": found}


def parts_of(parts: Sequence[Any]) -> tuple[list[Any], str | None]:
    """The parts of a message without those that are thinking, as Anthropic and Mistral write it, and the thinking."""
    thoughts, others = [], []
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        thought = part.get("thinking", part.get("text")) if kind in ("thinking", "reasoning") else None
        if isinstance(thought, list):
            thought = "\n".join(str(piece.get("text", "")) for piece in thought if isinstance(piece, Mapping))
        if isinstance(thought, str) and thought.strip():
            thoughts.append(thought.strip())
        elif kind != "redacted_thinking":
            others.append(part)
    return others, "\n".join(thoughts) or None


def applied(messages: Sequence[Message], mode: str | None, note: Callable[[str], None]) -> list[Message]:
    """The conversation as ``--thinking`` says; ``note`` is told what was made of it. Without a mode it is learned."""
    found = [_marked(message) if mode else message for message in messages]
    if not any("reasoning_content" in message for message in found):
        for text in (message["content"].lstrip() for message in found if message["role"] == "assistant"):
            if opening := next((opening for opening, end in MARKS if text.startswith(opening) and end in text), None):
                note(_AS_TEXT.format(opening))
                break
        return found
    note(TOLD[mode or "learn"])
    return [_as_said(message, mode) for message in found]


def _marked(message: Message) -> Message:
    """With thinking between any of the marks that are known taken out of the text."""
    if message["role"] != "assistant" or "reasoning_content" in message:
        return message
    thought, said = split(message["content"], MARKS)
    if thought is not None and not said.strip() and not message.get("tool_calls"):
        raise ValueError("an answer is thinking alone, without what is said after it")
    return message if thought is None else {**message, "content": said, "reasoning_content": thought}


def _as_said(message: Message, mode: str | None) -> Message:
    if "reasoning_content" not in message:
        return message
    if mode in ("keep", "drop") and any(
        opening in message["content"] and end in message["content"] for opening, end in MARKS
    ):
        raise ValueError(f"an answer has thinking in its middle too, which --thinking {mode} cannot tell from the rest")
    if mode == "keep":
        return {**message, "reasoning_weight": 0}
    if mode == "drop":
        plain = message.copy()
        del plain["reasoning_content"]
        return plain
    return message


def paired(row: Row, mode: str | None) -> Row:
    """A row with its ``rejected`` answer as ``--thinking`` says. ValueError if only one of the two answers has thinking."""
    chosen: Message = row["messages"][-1]
    thought, said = split(row["rejected"], MARKS if mode else MARKS[:1])
    if mode == "drop":
        if said.strip() == spoken(chosen).strip():
            raise ValueError("chosen and rejected are the same without their thinking")
        return {**row, "rejected": said}
    if (thought is None) != ("reasoning_content" not in chosen):
        with_it, without = ("chosen", "rejected") if thought is None else ("rejected", "chosen")
        raise ValueError(f"{with_it} has thinking and {without} has none (--thinking drop)")
    return row if thought is None else {**row, "rejected": written(thought, said)}
