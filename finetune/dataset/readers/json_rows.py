"""Rows in JSON: a row a line, an array of rows, rows one after the other, or an object that holds rows or columns."""

import codecs
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from finetune.dataset.readers import json_values
from finetune.dataset.readers.json_values import LineTooLong, Value
from finetune.dataset.readers.parts import Part
from finetune.dataset.readers.sourced import LONGEST, SPLIT_NAMES, SourcedRow, Wanted, row_problem
from finetune.errors import UserError, shortened
from finetune.tasks.conversations import FORMATS, named
from finetune.terminal import say

_MOST_OBJECT = (
    1 << 28
)  # characters of an object that holds all rows; as objects they take up to twenty times as much memory
_LONGEST = LONGEST
_MOST_TURNS = 100_000
_A_MESSAGE = 'one message, not a conversation (write one conversation a line: {"messages": [...]})'
_GLANCE = 1 << 20  # bytes of a line
_SPEAKERS = ({"role", "content"}, {"from", "value"})


def read(part: Part, wanted: Wanted) -> Iterator[SourcedRow]:
    """The rows of a part, whatever its name says of their arrangement; what it does not say is told."""
    if _is_lines(part):
        if part.suffix == ".json":
            say(f"Note: {part.place}: a row a line, as in .jsonl")
        yield from _lines(part, wanted)
    else:
        yield from _values(part, wanted)


def _begin(part: Part) -> list[Value]:
    """The first two lines that are not blank."""
    with part.open() as file:
        return list(islice((line for line in json_values.lines(file, part.place, _GLANCE) if not line.is_blank), 2))


def _is_lines(part: Part) -> bool:
    """Whether there is a value a line. UserError if there is no JSON at all."""
    try:
        begin = _begin(part)
    except LineTooLong:  # a line that is too long for a glance
        text = part.begin.removeprefix(codecs.BOM_UTF8).lstrip()
        if text[:1] not in (b"{", b"["):
            raise UserError(_no_json(part, Value(1, text=text.decode(errors="replace")))) from None
        return part.suffix != ".json" and text[:1] == b"{"
    if not begin:
        return True
    if begin[0].problem.startswith("not UTF-8"):
        return True
    objects = [isinstance(line.value, dict) for line in begin]
    if not any(
        line.text.removeprefix("\ufeff").lstrip().startswith(("{", "[")) for line in begin if line.problem
    ) and all(line.problem.startswith("not JSON") for line in begin):
        raise UserError(_no_json(part, begin[0]))
    if len(begin) == 1 and "is not a JSON value" in begin[0].problem:  # NaN or Infinity
        return part.suffix != ".json"
    if len(begin) == 1:
        return objects[0] and part.suffix != ".json" and _inside(begin[0].value) is None
    if any(objects) or all(isinstance(line.value, list) for line in begin):
        return True
    # the first line of an object that is written over several is cut off, another is damaged
    return part.suffix != ".json" and not _goes_on(begin[0].text)


def _goes_on(line: str) -> bool:
    """Whether a line is the beginning of a longer JSON value."""
    text = line.removeprefix("\ufeff").strip()
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except (ValueError, RecursionError):
        pass
    return False


def _no_json(part: Part, line: Value) -> str:
    shown = shortened(line.text.lstrip("\ufeff"), 40)
    kind = f"{part.suffix!r} is not a file type that can be read" if part.suffix else "not JSON lines"
    if part.suffix in (".json", ".jsonl", ".ndjson"):
        kind = "not JSON"
    if part.suffix in (".txt", ".md"):
        return f"{part.place}: a text, not rows (--type text learns from texts)"
    separators = {",": ".csv", ";": ".csv", "\t": ".tsv"}
    if ending := next((ending for mark, ending in separators.items() if mark in line.text), None):
        return f"{part.place}:{line.number}: {kind}: it begins with {shown!r} (if it is a table, name it {ending})"
    remedy = "write the rows as .jsonl, .json, .csv or .parquet; files with other names are read as JSON lines"
    return f"{part.place}:{line.number}: {kind}: it begins with {shown!r} ({remedy})"


def _lines(part: Part, wanted: Wanted) -> Iterator[SourcedRow]:
    split, told = part.split, _Told(part)
    with part.open() as file:
        for line in json_values.lines(file, part.place, _LONGEST):
            place = f"{part.place}:{line.number}"
            if line.problem or line.is_blank:
                yield SourcedRow(place, None, line.problem, split, line.text)
            elif (row := told.as_row(line.value)) is None:
                yield SourcedRow(
                    place, None, "not a JSON object (one row a line, in braces)", split, _shown(line.value)
                )
            elif _is_message(row, wanted):
                yield SourcedRow(place, None, _A_MESSAGE, split, _shown(line.value))
            else:
                yield SourcedRow(place, row, split=split, mended=line.mended)


def _is_message(value: Any, wanted: Wanted) -> bool:
    """Whether an object is a message of a conversation, and no fields of it are wanted."""
    return isinstance(value, dict) and not wanted.names & value.keys() and any(map(value.keys().__ge__, _SPEAKERS))


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:10_000]


@dataclass
class _Told:
    """What has been told of a part: once is enough."""

    part: Part
    what: set[str] = field(default_factory=set)

    def note(self, text: str) -> None:
        if text not in self.what:
            self.what.add(text)
            say(f"Note: {self.part.place}: {text}")

    def as_row(self, value: Any) -> dict[str, Any] | None:
        """A value as a row: an object is one; so is a list of messages."""
        if isinstance(value, dict):
            return value
        if isinstance(value, list) and value:
            for speaker, name in zip(_SPEAKERS, ("messages", "conversations"), strict=True):
                if all(isinstance(turn, dict) and speaker <= turn.keys() for turn in value):
                    self.note(f"each list of messages is read as the field {name} of a row")
                    return {name: value}
        return None


def _values(part: Part, wanted: Wanted) -> Iterator[SourcedRow]:
    told, split = _Told(part), part.split
    with part.open() as file:
        found = json_values.values(file, part.place, _MOST_OBJECT, _LONGEST)
        first = next(found, None)
        if first is None:
            return
        second = next(found, None)
        if second is None and isinstance(first.value, dict) and not first.is_part:
            yield from _object(part, first, wanted, told)
            return
        if (second and not first.is_part) or (first.is_part and part.suffix != ".json"):
            told.note("an array of rows" if first.is_part else "rows one after the other, not in an array")
        rest = chain([first], [second] if second else [], found)
        if first.is_part and _is_message(first.value, wanted):
            told.note("one conversation, whose messages are the parts of the array")
            turns = [value.value for value in islice(rest, _MOST_TURNS)]
            yield _sourced(f"{part.place} row 1", turns, split, told)
            return
        for value in rest:
            yield _sourced(f"{part.place} row {value.number}", value.value, split, told, value.mended)


def _sourced(place: str, value: Any, split: str | None, told: _Told, mended: tuple[str, ...] = ()) -> SourcedRow:
    row = told.as_row(value)
    if row is None:
        return SourcedRow(place, None, "not a JSON object", split, _shown(value))
    if problem := row_problem(row):
        return SourcedRow(place, None, problem, split, _shown(value))
    return SourcedRow(place, row, split=split, mended=mended)


def _object(part: Part, first: Value, wanted: Wanted, told: _Told) -> Iterator[SourcedRow]:
    """The rows that one object holds; the object itself, if it is a row."""
    split = part.split
    inside = _inside(first.value, wanted.names)
    if inside is None:
        yield _sourced(f"{part.place} row 1", first.value, split, told, first.mended)
        return
    if isinstance(inside, str):
        raise UserError(f"{part.place}: {inside}")
    told.note(inside.what)
    for name, rows in inside.rows.items():
        place = f"{part.place} {name} row" if len(inside.rows) > 1 else f"{part.place} row"
        own = SPLIT_NAMES.get(name.lower(), split)
        for number, row in enumerate(rows, start=1):
            yield _sourced(f"{place} {number}", row, own, told, first.mended if number == 1 else ())


@dataclass(frozen=True)
class _Inside:
    """The rows of an object, by the name of their list, and in words where they were."""

    rows: Mapping[str, list[Any]]
    what: str


def _inside(value: Mapping[str, Any], names: frozenset[str] = frozenset()) -> _Inside | str | None:
    """What rows an object holds; None if it is a row itself; a text that says why that cannot be told."""
    if made := _as_columns(value, names | _FIELDS):
        return made
    if any(all(name in value for name in fields) for fields in FORMATS) or not value:
        return None
    lists = {name: part for name, part in value.items() if isinstance(part, list) and part}
    rows = {name: part for name, part in lists.items() if all(isinstance(row, dict) for row in part)}
    if sum(isinstance(value.get(name), str) for name in names) > 1:
        return None  # a row, one of whose fields is a list of objects
    if any("role" in turn or {"from", "value"} <= turn.keys() for part in rows.values() for turn in part[:1]):
        return None  # lists of messages, of one row
    if len(rows) == 1:
        (name,) = rows
        beside = [other for other in value if other != name]
        more = f"; beside it, not used: {named(beside)}" if beside else ""
        return _Inside(rows, f"its rows are the list {shortened(name, 40)!r}{more}")
    if rows and all(name.lower() in SPLIT_NAMES for name in rows):
        beside = [other for other in value if other not in rows]
        more = f"; beside them, not used: {named(beside)}" if beside else ""
        return _Inside(rows, f"its rows are the lists {named(rows)}{more}")
    if len(rows) > 1 and not names & value.keys():
        return f"an object with several lists of rows: {named(rows)} (write the rows of one, or of all, as one array)"
    return None


_FIELDS = frozenset(name for fields in FORMATS for name in fields)


def _as_columns(value: Mapping[str, Any], names: frozenset[str]) -> _Inside | str | None:
    """Rows of an object of columns, or of rows by their keys: the forms in which pandas writes tables."""
    parts = list(value.values())
    if {"columns", "data"} <= value.keys() <= {"columns", "data", "index", "index_names", "column_names"}:
        header, data = value["columns"], value["data"]
        if isinstance(header, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
            return _Inside({"": [dict(zip(map(str, header), row, strict=False)) for row in data]}, _COLUMNS)
    if len(parts) > 1 and all(isinstance(part, list) for part in parts) and len({len(part) for part in parts}) == 1:
        messages = any(isinstance(turn, dict) and {"role", "from"} & turn.keys() for part in parts for turn in part[:1])
        if parts[0] and not messages and not all(isinstance(part[0], dict) for part in parts):
            return _Inside({"": [dict(zip(value, row, strict=True)) for row in zip(*parts, strict=True)]}, _COLUMNS)
    if not parts or not all(isinstance(part, dict) and part for part in parts):
        return None
    numbered = all(key.isdigit() for part in parts for key in part)
    if names & value.keys() and numbered and len({tuple(part) for part in parts}) == 1:
        return _Inside({"": [{name: part[key] for name, part in value.items()} for key in parts[0]]}, _COLUMNS)
    if names & value.keys():
        return None
    if all(names & part.keys() for part in parts):
        return _Inside({"": parts}, "an object whose values are the rows; its keys are not used")
    if len({tuple(part) for part in parts}) == 1 and len(parts) > 1:
        return (
            f"an object of objects, of which neither {named(value)} nor {named(parts[0])} are known as fields"
            " (name the fields with --column, or write an array of rows)"
        )
    return None


_COLUMNS = "an object of columns, read as rows"
