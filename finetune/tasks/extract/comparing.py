"""An answer's object compared with the row's own, field by field.

Numbers are compared as numbers, dates as dates, texts without outer white space and in one Unicode form. The order of a list
counts if its items are numbers, such as coordinates; else it is a bag.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from finetune.tasks.extract.fits import read_date, same_value, shown
from finetune.tasks.extract.schema import Node
from finetune.tasks.values import json_type

MISSING, INVENTED, UNWANTED = "missing", "invented", "not in the text"
WRONG_TYPE = "wrong type"
_PLAIN = ("another number", "another text", "another value", "another date", "null")  # the values say that themselves
_NO_NODE = Node(())
_ISO_LIKE = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ]00:00(?::00)?(?:\.0+)?Z?)?")


class Fault(NamedTuple):
    """What is wrong with a field."""

    path: str  # such as "customer.name"
    kind: str  # such as "missing" or "lost sign"
    reason: str
    wanted: str | None  # in JSON and shortened; None if there is no such value
    found: str | None


class Compared(NamedTuple):
    fields: int  # those of the row, and those that the answer has beyond them
    faults: tuple[Fault, ...]


def compare(wanted: Mapping[str, Any], found: Mapping[str, Any], root: Node) -> Compared:
    """The faults of ``found``. A field that may be null and may be left out is the same either way."""
    nodes = _inner(root)
    expected, given = dict(flat(wanted)), dict(flat(found))
    faults = []
    for path, value in expected.items():
        if path in given:
            faults += _wrong(path, value, given[path], nodes.get(path, _NO_NODE), expected)
        elif not (value is None and _may_be_absent(path, root)):
            faults.append(Fault(path, MISSING, f"{path} is missing: {shown(value)}", shown(value), None))
    extra = [
        path
        for path, value in given.items()
        if path not in expected
        and not (value is None and _may_be_absent(path, root))
        and not _is_beside(path, expected)
    ]
    for path in extra:
        known = path in nodes
        kind = UNWANTED if known else INVENTED
        what = "the text has none" if known else "there is no such field"
        faults.append(Fault(path, kind, f"{path} is {shown(given[path])}, but {what}", None, shown(given[path])))
    return Compared(len(expected) + len(extra), tuple(faults))


def flat(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of an object, each with its path: those of inner objects in the place of these."""
    for name, inner in value.items():
        below = f"{path}.{name}" if path else name
        if isinstance(inner, Mapping) and inner:
            yield from flat(inner, below)
        else:
            yield below, inner


def _inner(node: Node, path: str = "") -> dict[str, Node]:
    found: dict[str, Node] = {}
    for name, one in node.properties.items():
        below = f"{path}.{name}" if path else name
        found[below] = one
        found |= _inner(one, below)
    return found


def _is_beside(path: str, expected: Mapping[str, Any]) -> bool:
    """Whether there is an object on one side only where the other has null or another value: that is a fault already."""
    parts = path.split(".")
    above = any(".".join(parts[:at]) in expected for at in range(1, len(parts)))
    return above or any(one.startswith(f"{path}.") for one in expected)


def _may_be_absent(path: str, root: Node) -> bool:
    node = root
    for name in path.split("."):
        if name not in node.properties:
            return False
        absent, node = name not in node.required, node.properties[name]
    return absent and node.nullable


def _wrong(path: str, wanted: Any, found: Any, node: Node, others: Mapping[str, Any]) -> list[Fault]:
    if equal(wanted, found, node):
        return []
    kind = _fault(path, wanted, found, node, others)
    more = "" if kind in _PLAIN else f" ({kind})"
    if kind == WRONG_TYPE:
        more = f" ({json_type(found)}, not {json_type(wanted)})"
    return [Fault(path, kind, f"{path} is {shown(found)}, not {shown(wanted)}{more}", shown(wanted), shown(found))]


def equal(wanted: Any, found: Any, node: Node = _NO_NODE) -> bool:
    """Whether two values say the same."""
    if isinstance(wanted, str) and isinstance(found, str):
        day = _date(wanted, node)
        return _plain(wanted) == _plain(found) or (day is not None and day == _date(found, node))
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        below = node.properties
        return wanted.keys() == found.keys() and all(
            equal(wanted[name], found[name], below.get(name, _NO_NODE)) for name in wanted
        )
    if isinstance(wanted, list) and isinstance(found, list):
        items = node.items or _NO_NODE
        if len(wanted) != len(found):
            return False
        if _in_order(wanted):
            return all(equal(a, b, items) for a, b in zip(wanted, found, strict=True))
        return not _unmatched(wanted, found, items)[0]
    return type(wanted) not in (str, list, dict) and type(found) not in (str, list, dict) and same_value(wanted, found)


def _in_order(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _unmatched(wanted: Sequence[Any], found: Sequence[Any], node: Node) -> tuple[list[Any], list[Any]]:
    """What is in one list and not in the other; an item that is there twice counts twice."""
    left, missing = list(found), []
    for item in wanted:
        at = next((at for at, other in enumerate(left) if equal(item, other, node)), None)
        if at is None:
            missing.append(item)
        else:
            del left[at]
    return missing, left


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _date(text: str, node: Node) -> date | None:
    """The day that a text of a date field says, in its own form or in ISO 8601's."""
    if node.date_form:
        return read_date(text, node.date_form)
    if node.format == "date" and (found := _ISO_LIKE.fullmatch(text.strip())):
        try:
            return date(*map(int, found.groups()))
        except ValueError:
            return None
    return None


def _fault(path: str, wanted: Any, found: Any, node: Node, others: Mapping[str, Any]) -> str:
    """The kind of fault of a value that is not the wanted one, as exact as can be told."""
    if found is None or wanted is None:
        return "null" if found is None else UNWANTED
    if json_type(wanted) != json_type(found):
        return WRONG_TYPE
    if isinstance(wanted, list):
        return _list_fault(wanted, found, node)
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool) and (kind := _number_fault(wanted, found)):
        return kind
    if isinstance(wanted, str) and (kind := _text_fault(_plain(wanted), _plain(found), node)):
        return kind
    for other, value in others.items():
        if other != path and not isinstance(value, (bool, list)) and value not in (None, "") and equal(value, found):
            return f"the value of {other}"
    return {"a number": "another number", "text": "another text"}.get(json_type(wanted), "another value")


def _number_fault(wanted: float, found: float) -> str:
    if wanted == -found:
        return "lost sign" if wanted < 0 else "a sign too many"
    digits = [re.sub(r"\D", "", json.dumps(value)).strip("0") for value in (wanted, found)]
    if digits[0] == digits[1] and digits[0] and "e" not in json.dumps(wanted) + json.dumps(found):
        return "decimal point moved"
    for places in range(6):
        if found == round(wanted, places):
            return "rounded"
    return ""


def _text_fault(wanted: str, found: str, node: Node) -> str:
    if _date(wanted, node):
        return "another date" if _date(found, node) else "no such date"
    if wanted.casefold() == found.casefold():
        return "upper and lower case"
    if wanted.split() == found.split():
        return "white space"
    if node.enum and found not in node.enum:
        return "none of the values"
    if found and found in wanted:
        return "a part of it"
    return "more than it" if wanted in found else ""


def _list_fault(wanted: Sequence[Any], found: Sequence[Any], node: Node) -> str:
    missing, extra = _unmatched(wanted, found, node.items or _NO_NODE)
    if not missing and not extra:
        return "another order"
    if missing and extra:
        return "other items"
    return "items missing" if missing else "items too many"
