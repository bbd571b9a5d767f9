"""What is found in rows before any of them is trained on: errors, which stop, and what is handled by rule and counted."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from finetune.models.encoder import ChatEncoder, Example, Message
from finetune.records.files import Row

_PLACES = 3  # kept of each finding
_LONGEST = 200_000  # characters of a conversation; more would take minutes to split into tokens


@dataclass
class Findings:
    """Errors with their rows, and for each thing handled by rule how often and where first."""

    errors: list[tuple[str, str, Row | str]] = field(default_factory=list)  # place, what is wrong, the row or its text
    dropped: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    blank_lines: int = 0

    @property
    def handled(self) -> Counter[str]:
        """What needed a rule, dropped or mended; not what was only not drawn."""
        return Counter(
            {reason: count for reason, count in (self.dropped + self.mended).items() if reason in self.places}
        )

    @property
    def rejected(self) -> list[Row]:
        return [{"place": place, "reason": problem, "row": row} for place, problem, row in self.errors]

    def error(self, place: str, problem: str, row: Row | str) -> None:
        self.errors.append((place, problem, row))

    def drop(self, reason: str, place: str) -> None:
        self.dropped[reason] += 1
        self._remember(reason, place)

    def mend(self, reason: str, place: str) -> None:
        self.mended[reason] += 1
        self._remember(reason, place)

    def _remember(self, reason: str, place: str) -> None:
        places = self.places.setdefault(reason, [])
        if len(places) < _PLACES:
            places.append(place)


def checked(messages: list[Message], mend: Callable[[str], None]) -> list[Message]:
    """The conversation in a form that every chat template takes; ValueError where there is nothing to learn."""
    if not any(message["role"] == "assistant" for message in messages):
        raise ValueError("no turn of the assistant, nothing to learn")
    first = 1 if messages[0]["role"] == "system" else 0
    if any(message["role"] == "system" for message in messages[first:]):
        raise ValueError("a system message after the first message")
    begin = next((i for i, message in enumerate(messages) if message["role"] == "user"), len(messages))
    if begin > first:
        mend("answers before the first question left out")
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=0)
    if last < len(messages) - 1:
        mend("questions after the last answer left out")
    merged: list[Message] = messages[:first]
    for message in messages[begin : last + 1]:
        if len(merged) > first and merged[-1]["role"] == message["role"]:
            merged[-1] = {**message, "content": f"{merged[-1]['content']}\n\n{message['content']}"}
            mend("neighbouring turns of one role joined")
        else:
            merged.append(message)
    if len(merged) == first or merged[-1]["role"] != "assistant":
        raise ValueError("no question before the assistant's turn")
    for message in merged:
        if has_controls(message["content"]):
            mend("control characters kept as they are")
            break
    return merged


_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def has_controls(text: str) -> bool:
    """Characters that no one types: NUL, escape, and the like; not tabs and line ends."""
    return _CONTROLS.search(text) is not None


def unwritable(row: Row) -> bool:
    """Half a surrogate pair, NaN or infinity somewhere in the row, names of fields included: no JSON in UTF-8."""
    try:
        json.dumps(row, ensure_ascii=False, allow_nan=False, default=str).encode()
    except ValueError:  # also of the encoding
        return True
    return False


def too_long(row: Row) -> bool:
    return sum(len(value) for value in row.values() if isinstance(value, str)) > _LONGEST


_WORDS = re.compile(r"\w+")


def likeness(messages: list[Message]) -> str:
    """Two conversations with the same one have the same prompts, but for case, white space and punctuation."""
    prompts = (message["content"] for message in messages if message["role"] != "assistant")
    return "\n".join(" ".join(_WORDS.findall(prompt.casefold())) or prompt for prompt in prompts)


def token_problem(encoder: ChatEncoder, example: Example | ValueError, limit: int) -> str | None:
    """Why the conversation cannot be learned by this model."""
    if isinstance(example, ValueError):
        return str(example)
    if len(example.tokens) > limit:
        return f"more than {limit} tokens"
    if not any(example.loss_mask):
        return "the chat template leaves no token to learn"
    bos = encoder.tokenizer.bos_token_id
    if bos is not None and example.tokens[:2] == [bos, bos]:
        return "the chat template begins twice"
    if example.tokens[-1] not in encoder.stop_tokens:
        return "the end of the turn is not learned"
    return None
