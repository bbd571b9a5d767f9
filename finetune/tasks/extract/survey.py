"""The fields and types that the objects of rows have, found from all of them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from finetune.errors import shortened
from finetune.tasks.extract.fits import has_format, read_date
from finetune.tasks.extract.schema import Node
from finetune.tasks.values import json_type
from finetune.terminal import counted

_MOST_FIELDS = 200  # different ones, those of inner objects too
_MOST_VALUES = 10  # of a field with few values
_FEWEST_EACH = 5  # rows for each of them, on average
_LONGEST_VALUE = 40  # characters
_FEWEST_DATES = 3
# day and month with two digits fit two forms as long as no day is beyond the twelfth
_DATE_FORMS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d %B %Y", "%B %d, %Y", "%d %b %Y", "%b %d, %Y"),
)
_LIKE_A_DATE = re.compile(r"(?=.*\d{4})[\w./ ,-]{8,20}")
_KINDS = {"integer": "a number", "number": "a number", "string": "text"}


@dataclass
class _Seen:
    """What values were seen in one place of the objects."""

    types: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)  # type -> place of the first row
    values: Counter[str] | None = field(default_factory=Counter)  # of texts; None if there are many
    iso: str | None = "date"  # the format that all texts have so far
    forms: tuple[str, ...] = _DATE_FORMS  # the date forms that all texts have so far
    zeros: int = 0  # floats without a fraction
    fields: dict[str, "_Seen"] = field(default_factory=dict)
    items: "_Seen | None" = None

    def see(self, value: Any, place: str) -> None:
        kind = _type(value)
        self.types[kind] += 1
        self.first.setdefault(kind, place)
        if isinstance(value, str):
            self._see_text(value)
        elif isinstance(value, float) and value.is_integer():
            self.zeros += 1
        elif isinstance(value, Mapping):
            self._see_object(value, place)
        elif isinstance(value, list) and value:
            self.items = self.items or _Seen()
            for item in value:
                self.items.see(item, place)

    def _see_text(self, value: str) -> None:
        if self.values is not None:
            self.values[value] += 1
            if len(self.values) > _MOST_VALUES or len(value) > _LONGEST_VALUE or not value:
                self.values = None
        if self.iso == "date" and not has_format(value, "date"):
            self.iso = "date-time" if self.types["string"] == 1 else None
        if self.iso == "date-time" and not has_format(value, "date-time"):
            self.iso = None
        if self.forms:
            fits = _LIKE_A_DATE.fullmatch(value)
            self.forms = tuple(form for form in self.forms if fits and read_date(value, form))

    def _see_object(self, value: Mapping[str, Any], place: str) -> None:
        before: str | None = None
        for name, inner in value.items():
            if name not in self.fields:
                self._insert(name, before)
            self.fields[name].see(inner, place)
            before = name

    def _insert(self, name: str, before: str | None) -> None:
        """A field behind the one that it was behind in its object."""
        order = [*self.fields]
        at = order.index(before) + 1 if before is not None else 0
        at = len(order) if before is None and not order else at
        order.insert(at, name)
        self.fields[name] = _Seen()
        self.fields = {one: self.fields[one] for one in order}

    def count(self) -> int:
        below = sum(one.count() for one in self.fields.values()) + (self.items.count() if self.items else 0)
        return len(self.fields) + below

    def node(self) -> Node:
        whole = self.types["integer"]
        types = tuple(
            kind for kind in ("object", "array", "string", "integer", "number", "boolean") if self.types[kind]
        )
        if "integer" in types and whole == self.zeros:  # all are written as 5.0
            types = tuple(dict.fromkeys("number" if kind == "integer" else kind for kind in types))
        if "integer" in types and "number" in types:
            types = tuple(kind for kind in types if kind != "integer")
        nullable = ("null",) if self.types["null"] else ()
        if not types:  # nothing but null, in all rows
            types = ("string",)
        objects = self.types["object"]
        enum = self._enum() if types == ("string",) else ()
        is_text = types == ("string",) and not enum and self.types["string"] >= _FEWEST_DATES
        return Node(
            (*types, *nullable),
            enum=(*enum, None) if enum and nullable else enum,
            properties={name: seen.node() for name, seen in self.fields.items()},
            required=frozenset(n for n, seen in self.fields.items() if seen.types.total() == objects),
            items=self.items.node() if self.items else None,
            format=self.iso or "" if is_text else "",
            date_form=self.forms[0] if is_text and not self.iso and len(self.forms) == 1 else "",
        )

    def _enum(self) -> tuple[str, ...]:
        """The values, if they are few and each comes often: others will come later in a field of another kind."""
        values = self.values
        if not values or values.total() < _FEWEST_EACH * max(2, len(values)) or min(values.values()) < 2:
            return ()
        return tuple(value for value, _ in values.most_common())

    def differing(self, path: str = "") -> Iterator[str]:
        """The fields whose values have several types."""
        kinds = Counter[str]()
        places: dict[str, str] = {}
        for kind, count in self.types.items():
            if kind != "null":
                name = _WORDS[kind]
                kinds[name] += count
                places.setdefault(name, self.first[kind])
        if len(kinds) > 1:
            rare = kinds.most_common()[-1][0]
            of = "value" if "[]" in path else "row"
            what = " and ".join(f"{name} in {counted(count, of)}" for name, count in reversed(kinds.most_common()))
            yield f"'{shortened(path)}' is {what} (the first {rare}: {places[rare]})"
        for name, seen in self.fields.items():
            yield from seen.differing(f"{path}.{name}" if path else name)
        if self.items:
            yield from self.items.differing(f"{path}[]")

    def whole(self, path: str = "") -> Iterator[str]:
        """The fields whose numbers are written with a fraction of zero in some rows and without one in others."""
        if self.zeros and self.types["integer"] > self.zeros:
            yield path
        for name, seen in self.fields.items():
            yield from seen.whole(f"{path}.{name}" if path else name)
        if self.items:
            yield from self.items.whole(f"{path}[]")


_WORDS = {"object": "an object", "array": "a list", "string": "text", "boolean": "true or false"} | dict.fromkeys(
    ("integer", "number"), "a number"
)


def _type(value: Any) -> str:
    """The type, and of a float that it is whole: 5.0 is an integer to JSON schema."""
    if isinstance(value, float):
        return "integer" if value.is_integer() and abs(value) < 2**53 else "number"
    words = {"null": "null", "true or false": "boolean", "a number": "integer", "text": "string", "a list": "array"}
    return words.get(json_type(value), "object")


class Survey:
    """Sees the object of each row; then it knows their schema."""

    def __init__(self) -> None:
        self._seen, self.rows = _Seen(), 0

    def see(self, value: Mapping[str, Any], place: str) -> None:
        """ValueError if the objects have so many different fields that their names are data."""
        self.rows += 1
        before = len(self._seen.fields)
        self._seen.see(value, place)
        if (len(self._seen.fields) > before or self.rows % 100 == 1) and self._seen.count() > _MOST_FIELDS:
            raise ValueError(
                f"the objects have more than {_MOST_FIELDS} different fields, so their names are data (write a list of objects"
                ' such as {"name": ..., "value": ...}, or name the fields with --schema)'
            )

    def schema(self) -> Node:
        return self._seen.node()

    @property
    def whole(self) -> frozenset[str]:
        """The fields whose whole numbers are written with and without a fraction of zero."""
        return frozenset(self._seen.whole())

    @property
    def differing(self) -> list[str]:
        """What is told of fields whose values have several types."""
        return list(self._seen.differing())

    def shares(self) -> dict[str, tuple[int, int]]:
        """For each field by its path: in how many objects it is, and of how many."""
        return dict(_shares(self._seen, ""))


def _shares(seen: _Seen, path: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, one in seen.fields.items():
        below = f"{path}.{name}" if path else name
        yield below, (one.types.total(), seen.types["object"])
        yield from _shares(one, below)
