"""Whether a value fits a schema, and where it does not."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any

from finetune.errors import shortened
from finetune.records.files import Row
from finetune.tasks.extract.schema import Node, is_of
from finetune.tasks.values import json_type

_NAMES = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ISO_TIME = re.compile(r"(?P<date>\d{4}-\d{2}-\d{2})[Tt](?P<time>\S+)")


def problems(value: Any, node: Node, path: str = "") -> Iterator[tuple[str, str]]:
    """Each place at which a value does not fit, such as "customer.name", and why."""
    if not is_of(value, node.types):
        yield path, f"{json_type(value)}, not {' or '.join(_NAMES[kind] for kind in node.types)}"
        return
    if node.enum and not any(same_value(value, one) for one in node.enum):
        yield path, f"{shown(value)}, which is none of {shortened(', '.join(map(shown, node.enum)))}"
    if isinstance(value, dict):
        yield from _of_object(value, node, path)
    elif isinstance(value, list):
        yield from _between(len(value), node, path, "minItems", "maxItems", "items")
        for at, item in enumerate(value if node.items else ()):
            assert node.items
            yield from problems(item, node.items, f"{path}[{at}]")
    elif isinstance(value, str):
        yield from _of_text(value, node, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _of_number(value, node, path)


def same_value(a: object, b: object) -> bool:
    """Whether two values are the same in JSON: 5 and 5.0 are, 1 and true are not."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _of_object(value: Row, node: Node, path: str) -> Iterator[tuple[str, str]]:
    for name, one in node.properties.items():
        below = f"{path}.{name}" if path else name
        if name in value:
            yield from problems(value[name], one, below)
        elif name in node.required:
            yield below, "missing"
    for name in value:
        if name not in node.properties:
            yield f"{path}.{name}" if path else shortened(name), "not in the schema"


def _of_text(value: str, node: Node, path: str) -> Iterator[tuple[str, str]]:
    yield from _between(len(value), node, path, "minLength", "maxLength", "characters")
    if "pattern" in node.limits and not compiled(node.limits["pattern"]).search(value):
        yield path, f"{shown(value)} does not match {shortened(node.limits['pattern'])}"
    if node.format and not has_format(value, node.format):
        yield path, f"{shown(value)} is no {node.format}"
    if node.date_form and read_date(value, node.date_form) is None:
        yield path, f"{shown(value)} is no date as {worded(node.date_form)}"


def _between(size: int, node: Node, path: str, least: str, most: str, what: str) -> Iterator[tuple[str, str]]:
    if size < node.limits.get(least, 0):
        yield path, f"{size} {what}, fewer than {node.limits[least]}"
    if size > node.limits.get(most, size):
        yield path, f"{size} {what}, more than {node.limits[most]}"


def _of_number(value: float, node: Node, path: str) -> Iterator[tuple[str, str]]:
    tests: dict[str, tuple[Callable[[float, float], bool], str]] = {
        "minimum": (lambda a, b: a < b, "less than"),
        "maximum": (lambda a, b: a > b, "more than"),
        "exclusiveMinimum": (lambda a, b: a <= b, "not more than"),
        "exclusiveMaximum": (lambda a, b: a >= b, "not less than"),
    }
    for name, (fails, words) in tests.items():
        if name in node.limits and fails(value, node.limits[name]):
            yield path, f"{shown(value)} is {words} {node.limits[name]}"


@lru_cache(maxsize=256)
def compiled(pattern: str) -> "re.Pattern[str]":
    return re.compile(pattern)


def has_format(value: str, name: str) -> bool:
    """Whether a text has one of the ``FORMATS`` of JSON schema."""
    try:
        if name == "date":
            return _ISO_DATE.fullmatch(value) is not None and bool(date.fromisoformat(value))
        if name == "date-time":
            found = _ISO_TIME.fullmatch(value)
            return found is not None and datetime.fromisoformat(value).tzinfo is not None
        if name == "time":
            return time.fromisoformat(value) is not None and ":" in value
    except ValueError:
        return False
    return (_EMAIL if name == "email" else _UUID).fullmatch(value) is not None


def read_date(value: str, form: str) -> date | None:
    """The date that a text is in a form of ``strptime``; None if it is none."""
    try:
        return datetime.strptime(value.strip(), form).date()
    except ValueError:
        return None


def worded(form: str) -> str:
    """A form of ``strptime`` for people: DD.MM.YYYY."""
    words = {"%d": "DD", "%m": "MM", "%Y": "YYYY", "%B": "month", "%b": "mon"}
    for mark, word in words.items():
        form = form.replace(mark, word)
    return form


def shown(value: object) -> str:
    return shortened(json.dumps(value, ensure_ascii=False), 60)
