"""JSON in a text, compared as values: 5 is 5.0, keys are in any order, true is not 1."""

import json
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from finetune.errors import shortened


class NoJson(ValueError):
    """A text is not JSON: no object or list, a name twice, NaN."""


def read(text: str) -> Any:
    """The object or list that a text is, or a list of those that its lines are; numbers become Decimal. Raises NoJson."""
    text = text.strip()
    if text[:1] not in ("{", "["):
        raise NoJson
    try:
        return _loads(text)
    except NoJson:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or any(line.lstrip()[0] not in "{[" for line in lines):
            raise
        return [_loads(line) for line in lines]


def read_inside(text: str) -> Any:
    """The first object or list in a text that says other things too. Raises NoJson."""
    begin = min((at for at in map(text.find, "{[") if at >= 0), default=None)
    if begin is None:
        raise NoJson
    try:
        return _DECODER.raw_decode(text, begin)[0]
    except (ValueError, RecursionError, ArithmeticError):
        raise NoJson from None


def differences(expected: Any, found: Any, place: str = "") -> Iterator[str]:
    """What is wrong with a value, one text for each place: "total is 14805, not 148.05"."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in dict.fromkeys([*expected, *found]):
            inner = f"{place}.{name}" if place else name
            if name not in found:
                yield f"{inner} is missing"
            elif name not in expected:
                yield f"{inner} is not in the reference"
            else:
                yield from differences(expected[name], found[name], inner)
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield f"{place or 'the list'} has {len(found)} items, not {len(expected)}"
        for at, (one, other) in enumerate(zip(expected, found, strict=False), start=1):
            yield from differences(one, other, f"{place}[{at}]")
    elif not _same(expected, found):
        yield f"{place or 'the value'} is {_shown(found)}, not {_shown(expected)}"


def _same(expected: Any, found: Any) -> bool:
    if isinstance(expected, str) and isinstance(found, str):
        return unicodedata.normalize("NFC", expected) == unicodedata.normalize("NFC", found)
    return type(expected) is type(found) and bool(expected == found)


def _shown(value: Any) -> str:
    return shortened(str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False, default=str))


def _loads(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError, ArithmeticError):
        raise NoJson from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NoJson  # which of the two values is meant?
    return found


def _no_number(name: str) -> None:
    raise NoJson(name)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number, strict=False
)
