"""What stands in the fields of rows: text, numbers, lists of messages, also written as text; and who speaks in a message."""

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from finetune.errors import shortened

_DEEPEST = 64  # lists and objects in a tool or in arguments
ROLES = ("system", "user", "assistant")
ITEMS = ("function_call", "function_call_output")  # types of items of OpenAI's Responses API, which have no role
# names of other programs for the three roles
OTHER_NAMES = {
    **dict.fromkeys(("human", "prompter", "customer", "question"), "user"),
    **dict.fromkeys(
        ("gpt", "model", "bot", "chatgpt", "ai", "chatbot", "assistant_response", "agent", "answer"), "assistant"
    ),
    "developer": "system",
}


def role_of(name: object) -> object:
    """The role that a message's ``role`` or ``from`` means, whatever program wrote it; itself if it is none that is known."""
    plain = name.strip().lower() if isinstance(name, str) else name
    role = OTHER_NAMES.get(plain, plain) if isinstance(plain, str) else plain
    return role if role in ROLES else name


def listed(turns: Any) -> list[Any]:
    """A list of messages: as it is, or as text, because a CSV file has no lists. pandas writes them as Python shows them."""
    if isinstance(turns, str):
        try:
            turns = _loaded(turns, python=True)
        except (json.JSONDecodeError, RecursionError):
            raise ValueError(
                f"{shortened(turns, 40)!r} is not a list of messages in JSON (write them with json.dumps)"
            ) from None
        except ValueError as error:
            raise ValueError(f"the list of messages cannot be read: {error}") from None
    if _is_message(turns):
        return [turns]
    if not isinstance(turns, list):
        raise ValueError(f"the list of messages is {json_type(turns)}")
    return turns


def listed_or_nothing(turns: object) -> list[Any]:
    """As ``listed``; nothing for text that only looks like a list."""
    try:
        return listed(turns)
    except ValueError:
        return []


def is_listed(value: object) -> bool:
    """Whether a value is a list of messages, or was one before it was written as text. An answer can be other JSON."""
    if _is_message(value):
        return True
    if isinstance(value, list):
        return all(map(_is_turn, value)) and any({"role", "from"} & turn.keys() for turn in value)
    if not isinstance(value, str) or not (begin := _LISTED.match(value)):
        return False
    try:
        turns = listed(value)
    except ValueError:
        return begin["role"] is not None
    return is_listed(turns) and all(_SAYS & turn.keys() or turn.get("type") in ITEMS for turn in turns)


_SAYS = {"content", "value", "tool_calls", "function_call"}


def _is_turn(value: object) -> bool:
    return isinstance(value, Mapping) and bool({"role", "from"} & value.keys() or value.get("type") in ITEMS)


def _is_message(value: object) -> bool:
    """Whether a value is one message alone, with a role and a text."""
    if not isinstance(value, Mapping) or not ({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys()):
        return False
    return role_of(value.get("role", value.get("from"))) in ROLES


_SPEAKER = rf"""(['"])(?:role|from)\2\s*:\s*(['"])(?:{"|".join([*ROLES, *OTHER_NAMES])})\3"""
_LISTED = re.compile(rf"""\s*\[\s*\{{\s*(?:(?P<role>{_SPEAKER})|(['"])\w+\4\s*:)""")


def text_of(value: object, what: str) -> str:
    """``value`` as text: a number, true or false, an object or a list is its JSON, a list of one text that text. ``read_as``
    tells of them. ValueError if there is none, or several texts."""
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        if len(value) > 1:
            raise ValueError(f"{what} is a list of {len(value)} texts (one row for each, or one text: json.dumps)")
        value = value[0]
    if isinstance(value, str) and value.strip():
        return value
    if (isinstance(value, (str, list, dict)) and not value) or isinstance(value, str):
        raise ValueError(f"{what} is empty")
    if isinstance(value, (bool, int, float, list, dict)):
        return json.dumps(value, ensure_ascii=False)
    raise ValueError(f"{what} is {json_type(value)}, not text")


def read_as(value: object) -> Iterator[str]:
    """What a person should know of a value of which ``text_of`` makes text, or of messages that have such values."""
    if is_listed(value):
        contents = (turn.get("content", turn.get("value")) for turn in listed(value) if isinstance(turn, Mapping))
        yield from dict.fromkeys(what for content in contents for what in read_as(content))
    elif isinstance(value, bool):
        yield "true or false, learned as that word"
    elif isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        yield "lists of one text, learned as that text"
    elif isinstance(value, (dict, list)) and not is_parts(value):
        yield "objects and lists, learned as their JSON"


def is_parts(value: object) -> TypeGuard[list[Any]]:
    """Whether a value is the content of a message in parts: [{"type": "text", "text": "..."}]."""
    return isinstance(value, list) and any(
        isinstance(part, Mapping) and ("type" in part or part.keys() == {"text"}) for part in value
    )


def json_type(value: object) -> str:
    """What JSON calls a value, with its article."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def joined(parts: list[Any]) -> str:
    """The text of a message in parts: [{"type": "text", "text": "..."}]."""
    for part in parts:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = shortened(str(part.get("type"))) if isinstance(part, Mapping) else type(part).__name__
            raise ValueError(f"a message has a part that is not text ({kind}), and only text can be learned")
    return "\n".join(part["text"] for part in parts)


def is_empty(value: object) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())


def parsed(value: Any, what: str, *, python: bool = False) -> Any:
    """``value``, or what it is as JSON text; with ``python`` also as Python shows it, which is how pandas writes lists."""
    if not isinstance(value, str):
        return value
    try:
        return _loaded(value, python=python)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what} is not valid JSON: {shortened(value, 40)!r}: {error}") from None


def _loaded(text: str, *, python: bool) -> Any:
    """What a text says in JSON; with ``python`` also as Python shows it. JSONDecodeError if it is neither; another ValueError
    if it says what no row can hold: a number that is none, half of a character, a name twice, bytes."""
    try:
        found = json.loads(text, strict=False, parse_constant=_no_number, object_pairs_hook=_distinct)
    except json.JSONDecodeError:
        if not python:
            raise
        try:
            with warnings.catch_warnings():  # a backslash that Python would write twice
                warnings.simplefilter("ignore")
                shown = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            shown = ...
        if shown is ...:
            raise
        return json.loads(_written(shown))
    _written(found)
    return found


def _written(value: Any) -> str:
    """The value in JSON. ValueError if a row cannot hold it."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except TypeError as error:
        raise ValueError(str(error)) from None
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair (\\ud800 to \\udfff without its other half)") from None
    return text


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"it has a name twice: {shortened(', '.join(name for name, _ in pairs))}")
    return found


def strictly(text: str) -> Any:
    """The value of a JSON text that every program reads alike. ValueError if it is none: it has NaN, or a name twice."""
    try:
        found = json.loads(text, parse_constant=_no_number, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _written(found)
    return found


def demand_shallow(value: Any, what: str) -> None:
    """ValueError if lists and objects are nested so deeply in it that templates and parsers would fail."""
    level, depth = [value], 0
    while level:
        if depth > _DEEPEST:
            raise ValueError(f"{what} is nested more than {_DEEPEST} levels deep")
        inner = [v for one in level for v in (one.values() if isinstance(one, Mapping) else one)]
        level, depth = [v for v in inner if isinstance(v, Mapping | list)], depth + 1
