"""What stands in the fields of rows: text, numbers, lists of messages, also written as text; and who speaks in a message."""

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from finetune.errors import shortened

ROLES = ("system", "user", "assistant")
# names of other programs for the three roles
OTHER_NAMES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant"}


def role_of(name: object) -> object:
    return OTHER_NAMES.get(name, name) if isinstance(name, str) else name


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


_SPEAKER = rf"""(['"])(?:role|from)\2\s*:\s*(['"])(?:{"|".join([*ROLES, *OTHER_NAMES])})\3"""
_LISTED = re.compile(rf"""\s*\[\s*\{{\s*(?:(?P<role>{_SPEAKER})|(['"])\w+\4\s*:)""")


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


def json_type(value: object) -> str:
    """What JSON calls a value, with its article."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def joined(parts: list[Any]) -> str:
    """The text of a message in parts: [{"type": "text", "text": "..."}]."""
    for part in parts:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = shortened(str(part.get("type"))) if isinstance(part, Mapping) else type(part).__name__
            raise ValueError(f"a message has a part that is not text ({kind})")
    return "\n".join(part["text"] for part in parts)


def is_empty(value: object) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())
