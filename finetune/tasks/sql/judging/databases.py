"""Other rows for a row's own tables, so that no query is right by luck: a database as a script, from a seed.

A generated database keeps the schema, the constants that gold compares with, and the look of the row's own
values. It has more rows, duplicates, values just beside the constants, and NULL where a column takes it. Each
table starts as the row's own, shuffled column by column; the rest are copies of own rows with some values
sampled anew, since a row that meets all of gold's conditions but one is what tells two queries apart.
"""

import math
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from finetune.tasks.sql.judging.execution import Column, Description, Row, Table, Value
from finetune.tasks.sql.judging.gold import ColumnName, Constant, Gold

MAX_OWN_ROWS, MAX_EXTRA_ROWS = 20, 40
NULL_SHARE = 0.06
DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(.*)", re.DOTALL)
PARTIAL_DATE = re.compile(r"(\d{4})(?:-(\d\d))?-?")
WORDS = re.compile(r"[A-Z]*[a-z0-9]+|[A-Z]+")

SAMPLES: dict[str, list[Value]] = {  # for a column without a value of its own
    "bool": [0, 1],
    "int": [1, 2, 3, 5, 8],
    "float": [0.5, 1.5, 2.25, 10.0],
    "date": ["2021-03-04", "2022-07-15", "2023-11-30"],
    "text": ["north", "south", "east"],
    "fixed": ["{}"],
}
FIXED = "JSONTEXT"  # a declared type: its values are taken as they are

Place = tuple[str, str]  # table and column, in lower case


@dataclass
class Source:
    """Where a column's values come from: its own, those beside gold's constants, or its parent's keys."""

    column: Column
    own: list[Value]
    kind: str  # bool, int, float, date, text, or fixed: nothing but its own values
    unique: bool
    near: list[Value] = field(default_factory=list)
    parent: Place | None = None


def generate(own: Description, gold: Gold, seed: str, *, distinct: bool = False) -> tuple[str, str]:
    """The same database as two scripts, the second with the rows of each table in the opposite order.

    A gold that answers differently on the two depends on how rows happen to be stored. ``distinct``: no two rows have the same
    key of several columns, of which either script would keep another one.
    """
    draw = random.Random(seed)
    redraw = draw.choice((0.2, 0.4, 0.6))
    extra = min(draw.choice((16, 24, 32)) + 2 * gold.limit, MAX_EXTRA_ROWS)
    sources = _sources(own.tables, gold)
    keys = {
        place: _keys(source, min(len(table.rows), MAX_OWN_ROWS) + extra, draw)
        for table in own.tables
        for place, source in _of(table, sources)
        if source.unique
    }
    inserts = {}
    for table in own.tables:
        originals = table.rows[:MAX_OWN_ROWS]
        templates = draw.choices(originals or [(None,) * len(table.columns)], k=extra)
        columns = []
        for index, (place, source) in enumerate(_of(table, sources)):
            shuffled = draw.sample([row[index] for row in originals], len(originals))
            copied = [
                _drawn(source, keys, draw) if row[index] is None or draw.random() < redraw else row[index]
                for row in templates
            ]
            columns.append(keys[place] if source.unique else shuffled + copied)
        rows = _distinct(table, zip(*columns, strict=True)) if distinct else zip(*columns, strict=True)
        inserts[table.name] = [_insert(table, row) for row in rows]
    tables_first = sorted(own.schema, key=lambda item: item[0] != "table")
    schema = "".join(f"{sql};\n" for _, sql in tables_first)
    forwards = "".join("".join(inserts[table.name]) for table in own.tables)
    backwards = "".join("".join(reversed(inserts[table.name])) for table in own.tables)
    return schema + forwards, schema + backwards


def _distinct(table: Table, rows: Iterable[Row]) -> list[Row]:
    """The rows without those that repeat a key of several columns."""
    names = [column.name for column in table.columns]
    keys = [[names.index(name) for name in key] for key in table.unique if len(key) > 1]
    seen: set[tuple[int, Row]] = set()
    kept = []
    for row in rows:
        values = [(number, tuple(row[at] for at in key)) for number, key in enumerate(keys)]
        if seen.isdisjoint(values):
            kept.append(row)
            seen.update(values)
    return kept


def _of(table: Table, sources: dict[Place, Source]) -> list[tuple[Place, Source]]:
    places = [(table.name.lower(), column.name.lower()) for column in table.columns]
    return [(place, sources[place]) for place in places]


def _sources(tables: tuple[Table, ...], gold: Gold) -> dict[Place, Source]:
    sources: dict[Place, Source] = {}
    referenced = {(other.lower(), (name or "").lower()) for table in tables for _, other, name in table.foreign}
    for table in tables:
        for index, column in enumerate(table.columns):
            place = (table.name.lower(), column.name.lower())
            own = [row[index] for row in table.rows if row[index] is not None]
            distinct = len(set(own)) == len(own) == len(table.rows)
            key = distinct and (place in referenced or (index == 0 and _named_as_key(table, column)))
            unique = key or (column.name,) in table.unique
            sources[place] = Source(column, own, _kind(column, own), unique)
    for left, right in _joins(tables, gold, sources):
        _join(left, right, sources)
    for name, constant in gold.constants:
        for place in _places(name, sources):
            sources[place].near += _beside(constant, sources[place])
    return sources


def _named_as_key(table: Table, column: Column) -> bool:
    """``id``, or ``vessel_id`` of ``vessels``: most keys are not declared."""
    stem = re.sub(r"_?id$", "", column.name, flags=re.IGNORECASE)
    last_word = (WORDS.findall(table.name) or [""])[-1].lower()
    named = stem != column.name and last_word.startswith(stem.lower()[:-1])
    foreign = any(column.name == own_column for own_column, _, _ in table.foreign)
    return named and not foreign


def _places(name: ColumnName, sources: dict[Place, Source]) -> list[Place]:
    table, column = name
    return [place for place in sources if place[1] == column and table in (None, place[0])]


def _joins(tables: tuple[Table, ...], gold: Gold, sources: dict[Place, Source]) -> list[tuple[Place, Place]]:
    """The columns that hold the same things: declared, set equal by gold, or of one name in two tables."""
    joins = []
    for table in tables:
        for own, other, column in table.foreign:
            keys = [names for parent in tables if parent.name.lower() == other.lower() for names in parent.unique]
            key = column or (keys[0][0] if keys else own)
            joins.append(((table.name.lower(), own.lower()), (other.lower(), key.lower())))
    for first, second in gold.equal:
        joins += [(left, right) for left in _places(first, sources) for right in _places(second, sources)]
    joins += [(left, right) for left in sources for right in sources if left < right and left[1] == right[1]]
    return [(left, right) for left, right in joins if left != right and left in sources and right in sources]


def _join(left: Place, right: Place, sources: dict[Place, Source]) -> None:
    """A column beside a key takes values from its keys; two that are not keys take each other's values."""
    if sources[left].unique != sources[right].unique:
        child, parent = (right, left) if sources[left].unique else (left, right)
        sources[child].parent = sources[child].parent or parent
    elif not sources[left].unique and sources[left].kind == sources[right].kind:
        sources[left].near += sources[right].own
        sources[right].near += sources[left].own


def _keys(source: Source, count: int, draw: random.Random) -> list[Value]:
    """``count`` values: the own, those beside gold's constants, new ones, NULL for what is missing."""
    keys = list(dict.fromkeys([*source.own[:MAX_OWN_ROWS], *source.near]))
    steps = range(1, 4 * count)  # more than are needed: a key that gold inserts must be free in some database
    shifted = [_shift(draw.choice(source.own or SAMPLES[source.kind]), step, source.kind) for step in steps]
    new = [key for key in dict.fromkeys(shifted) if key not in keys]
    keys = [*keys, *draw.sample(new, len(new)), *[None] * count][:count]
    draw.shuffle(keys)
    return keys


def _drawn(source: Source, keys: dict[Place, list[Value]], draw: random.Random) -> Value:
    if not source.column.required and draw.random() < NULL_SHARE:
        return None
    if source.parent is not None:
        return draw.choice(keys[source.parent])
    if source.near and draw.random() < 0.55:
        return draw.choice(source.near)
    value = draw.choice(source.own or SAMPLES[source.kind])
    return value if draw.random() < 0.5 else _shift(value, draw.choice((-2, -1, 1, 2, 3, 7)), source.kind)


def _kind(column: Column, own: list[Value]) -> str:
    """What the values are, or, if there are none, what the declared type says."""
    declared = column.type.upper()
    if declared == FIXED:
        return "fixed"
    if set(own) == {0, 1} or (set(own) <= {0, 1} and re.search("BOOL|BIT", declared)):
        return "bool"
    if not own:
        if "DATE" in declared or "TIME" in declared:
            return "date"
        if "INT" in declared or "SERIAL" in declared:
            return "int"
        return "float" if re.search("REAL|FLOA|DOUB|DEC|NUM", declared) else "text"
    if all(isinstance(value, int) for value in own):
        return "int"
    if all(isinstance(value, int | float) for value in own):
        return "float"
    return "date" if all(isinstance(value, str) and _is_date(value) for value in own) else "text"


def _is_date(text: str) -> bool:
    match = DATE.fullmatch(text)
    try:
        return match is not None and bool(date(*map(int, match.groups()[:3])))
    except ValueError:
        return False


def _shift(value: Value, steps: int, kind: str) -> Value:
    """Another value of the same look, ``steps`` away: a year stays near, a positive number positive."""
    if kind == "fixed":
        return value
    if kind == "bool":
        return 1 if value == 0 else 0
    if isinstance(value, int):
        moved = value + steps * (1 if 1900 <= value <= 2100 else max(1, abs(value) // 10))
        return abs(moved) if value >= 0 else moved
    if isinstance(value, float):
        real = round(value + steps * max(abs(value) / 10, 0.1), 4)
        return abs(real) if value >= 0 else real
    if isinstance(value, str) and kind == "date":
        return _days_later(value, 31 * steps)
    return f"{value} {abs(steps)}" if isinstance(value, str) else value


def _days_later(text: str, days: int) -> str:
    try:
        return (date.fromisoformat(text[:10]) + timedelta(days=days)).isoformat() + text[10:]
    except OverflowError:
        return text


def _beside(constant: Constant, source: Source) -> list[Value]:
    """Values equal to a constant of gold's, and just not; none if the column is of another kind."""
    if source.kind in ("bool", "fixed"):
        return []
    if source.kind in ("int", "float"):
        try:
            number = float(constant)
        except ValueError:
            return []
        number = int(number) if number.is_integer() else number
        return [number, number - 1, number + 1] if math.isfinite(number) else []
    text = str(constant)
    bare = text.replace("%", "").replace("_", "x") if "%" in text else text
    if source.kind == "text":
        return [bare, f"{bare} B", f"A {bare}", f"A {bare} B"] if "%" in text else [bare, bare, f"{bare} B"]
    tail = str(source.own[0])[10:] if source.own else ""
    if _is_date(bare):
        day = bare[:10] + (bare[10:] or tail)
        return [day, _days_later(day, -1), _days_later(day, 1)]
    partial = PARTIAL_DATE.fullmatch(bare)
    if partial is None:
        return []
    month = partial[2] if partial[2] and "01" <= partial[2] <= "12" else None
    return [f"{partial[1]}-{month or other}-{day}{tail}" for other in ("02", "11") for day in ("05", "20")]


def _insert(table: Table, row: Row) -> str:
    """OR IGNORE: a row that a CHECK or a compound key refuses is skipped."""
    name = _quoted(table.name, '"')
    names = ", ".join(_quoted(column.name, '"') for column in table.columns)
    return f"INSERT OR IGNORE INTO {name} ({names}) VALUES ({', '.join(map(_literal, row))});\n"


def _quoted(text: str, mark: str) -> str:
    return mark + text.replace(mark, 2 * mark) + mark


def _literal(value: Value) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, tuple):
        return f"X'{value[1]}'"
    if isinstance(value, str):
        return f"CAST(X'{value.encode().hex()}' AS TEXT)" if "\0" in value else _quoted(value, "'")
    return {math.inf: "9e999", -math.inf: "-9e999"}.get(value, repr(value))
