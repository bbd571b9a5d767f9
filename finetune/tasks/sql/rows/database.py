"""One seeded database of a domain: it chooses names, types and rows, and answers queries in memory."""

import random
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from finetune.tasks.sql.rows.pools import POOLS
from finetune.tasks.sql.rows.schema import Column, Domain, Table

Value = Any  # what SQLite gives back: str, int, float or None

PARENT_ROWS = (4, 8)
CHILD_ROWS = (8, 16)


@dataclass(frozen=True)
class Field:
    """A column as it stands in one database."""

    table: str
    name: str
    column: Column
    values: tuple[Value, ...]

    @property
    def full(self) -> str:
        return f"{self.table}.{self.name}"

    @property
    def known(self) -> list[Value]:
        return [value for value in self.values if value is not None]


@dataclass(frozen=True)
class Entity:
    """A table as it stands in one database: the rows of a kind of thing."""

    name: str
    table: Table
    fields: tuple[Field, ...]

    def of(self, *kinds: str) -> list[Field]:
        """The columns of these kinds that never hold NULL."""
        return [field for field in self.fields if field.column.kind in kinds and not field.column.nullable]

    def nullable(self) -> list[Field]:
        return [field for field in self.fields if field.column.nullable]

    @property
    def key(self) -> Field:
        return self.of("key")[0]

    @property
    def label(self) -> Field:
        return (self.of("label") or self.of("key"))[0]


@dataclass(frozen=True)
class Link:
    """A foreign key: many children to one parent."""

    child: Entity
    parent: Entity
    field: Field

    @property
    def condition(self) -> str:
        return f"{self.field.full} = {self.parent.key.full}"

    @property
    def join(self) -> str:
        return f"{self.child.name} JOIN {self.parent.name} ON {self.condition}"


class Database:
    """Tables filled from ``rng``."""

    def __init__(self, domain: Domain, rng: random.Random):
        self._rng = rng
        self._pascal = rng.random() < 0.25
        self._text = rng.choice(("TEXT", "VARCHAR(50)", "VARCHAR(100)", "VARCHAR(255)"))
        self._int = rng.choice(("INT", "INTEGER"))
        self._decimal = rng.choice(("DECIMAL(10,2)", "REAL", "FLOAT"))
        self._key = rng.choice(("INT PRIMARY KEY", "INTEGER PRIMARY KEY"))
        self._named_columns = rng.random() < 0.7
        self._foreign_keys = rng.choice(("clause", "clause", "inline", "by name"))
        self._booleans = rng.choice(([1, 0], [True, False]))

        self.tables: list[Entity] = []
        self.links: list[Link] = []
        for table in domain.tables:
            self._fill(table)
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.executescript(self.context(self.tables))

    def run(self, sql: str) -> list[tuple[Value, ...]]:
        return self._connection.execute(sql).fetchall()

    def context(self, tables: Sequence[Entity]) -> str:
        """The SQL text that makes these of the tables elsewhere."""
        return " ".join(f"{self._create(entity, tables)} {self._insert(entity)}" for entity in tables)

    def close(self) -> None:
        self._connection.close()

    def _fill(self, table: Table) -> None:
        rng = self._rng
        name = self._spell(rng.choice(table.spellings))
        columns = self._some(table.columns)
        is_child = any(column.kind == "reference" for column in columns)
        count = rng.randint(*(CHILD_ROWS if is_child else PARENT_ROWS))
        fields = []
        for column in columns:
            if column.kind == "reference":
                values = self._references(self.tables[column.parent], count)
            elif column.kind == "flag":
                values = tuple(_shared(self._booleans, count, rng))
            else:
                values = _values(column, count, rng)
            fields.append(Field(name, self._spell(rng.choice(column.spellings)), column, values))
        entity = Entity(name, table, tuple(fields))
        self.tables.append(entity)
        self.links += [
            Link(entity, self.tables[field.column.parent], field)
            for field in fields
            if field.column.kind == "reference"
        ]

    def _some(self, columns: Sequence[Column]) -> list[Column]:
        """The columns without up to two that can be spared, so that the databases of a domain differ."""
        spare = [column for column in columns if column.kind not in ("key", "reference", "label")]
        count = self._rng.randint(0, max(0, min(2, len(spare) - 3)))
        dropped = self._rng.sample(spare, count)
        return [column for column in columns if column not in dropped]

    def _references(self, parent: Entity, count: int) -> tuple[Value, ...]:
        """Keys of the parent, unevenly spread; half of the time one or two parents stay without children."""
        keys = list(parent.key.values)
        self._rng.shuffle(keys)
        chosen = keys[: len(keys) - self._rng.choice((0, 0, 1, 2))]
        weights = [rank + 1 for rank in range(len(chosen))]
        values = chosen + self._rng.choices(chosen, weights, k=max(0, count - len(chosen)))
        self._rng.shuffle(values)
        return tuple(values[:count])

    def _spell(self, name: str) -> str:
        if not self._pascal:
            return name
        return "".join("ID" if part == "id" else part.capitalize() for part in name.split("_"))

    def _create(self, entity: Entity, present: Sequence[Entity]) -> str:
        lines, foreign = [], []
        for field in entity.fields:
            line = f"{field.name} {self._type(field)}"
            if field.column.kind == "reference" and self.tables[field.column.parent] in present:
                parent = self.tables[field.column.parent]
                target = f"REFERENCES {parent.name}({parent.key.name})"
                if self._foreign_keys == "inline":
                    line += f" {target}"
                elif self._foreign_keys == "clause" or field.name != parent.key.name:
                    foreign.append(f"FOREIGN KEY ({field.name}) {target}")
            lines.append(line)
        return f"CREATE TABLE {entity.name} ({', '.join(lines + foreign)});"

    def _type(self, field: Field) -> str:
        kind = field.column.kind
        if kind == "number" and isinstance(field.known[0], float):
            return self._decimal
        return {
            "key": self._key,
            "date": "DATE",
            "flag": "BOOLEAN",
            "label": self._text,
            "category": self._text,
        }.get(kind, self._int)

    def _insert(self, entity: Entity) -> str:
        names = f" ({', '.join(field.name for field in entity.fields)})" if self._named_columns else ""
        columns = [[literal(value) for value in field.values] for field in entity.fields]
        rows = ", ".join(f"({', '.join(row)})" for row in zip(*columns, strict=True))
        return f"INSERT INTO {entity.name}{names} VALUES {rows};"


def literal(value: Value) -> str:
    """The value as SQL text."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).removesuffix(".0")


def _values(column: Column, count: int, rng: random.Random) -> tuple[Value, ...]:
    values: list[Value]
    if column.kind == "key":
        first = rng.choice((1, 1, 101))
        return tuple(range(first, first + count))
    if column.kind == "label":
        values = _labels(column.pool, count, rng)
    elif column.kind == "category":
        values = _shared(rng.sample(column.pool, min(len(column.pool), rng.randint(2, 4), count - 1)), count, rng)
    elif column.kind == "date":
        start = date(int(column.low), 1, 1)
        days = (date(int(column.high), 12, 31) - start).days
        values = [(start + timedelta(day)).isoformat() for day in rng.sample(range(days + 1), count)]
    else:
        values = _numbers(column, count, rng)
    if column.nullable:
        for row in rng.sample(range(count), rng.randint(2, max(2, count // 3))):
            values[row] = None
    return tuple(values)


def _labels(templates: Sequence[str], count: int, rng: random.Random) -> list[Value]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[_expand(rng.choice(templates), rng)] = None
    return list(found)


def _expand(template: str, rng: random.Random) -> str:
    text = re.sub(r"\{(\w+)\}", lambda match: rng.choice(POOLS[match[1]]), template)
    return re.sub("#", lambda _: str(rng.randrange(10)), text)


def _shared(choices: Sequence[Value], count: int, rng: random.Random) -> list[Value]:
    """Every choice at least once, the rest by chance."""
    values = [*choices, *rng.choices(choices, k=count - len(choices))]
    rng.shuffle(values)
    return values


def _numbers(column: Column, count: int, rng: random.Random) -> list[Value]:
    """Different numbers where the range has plenty, so that an order over them is clear."""
    steps = range(round((column.high - column.low) / column.step) + 1)
    chosen = rng.sample(steps, count) if len(steps) > 3 * count else rng.choices(steps, k=count)
    if isinstance(column.step, int):
        return [int(column.low) + step * column.step for step in chosen]
    return [round(column.low + step * column.step, 2) for step in chosen]
