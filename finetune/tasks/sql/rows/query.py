"""What a pattern makes: a question with its SQL, and what must hold of the result for the row to be kept."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetune.tasks.sql.rows.conditions import Condition
from finetune.tasks.sql.rows.database import Database, Entity, Field, Value
from finetune.tasks.sql.rows.wording import Unsuitable, Voice, listing

IN_TABLE = (
    "Using the {table} table: {prompt}",
    "In the table {table}: {prompt}",
    "{prompt} Use the {table} table.",
    "{prompt} (Table: {table})",
)
# Wordings for "these columns of these rows". The first group leaves no doubt that equal results are repeated;
# the second is for selections that hold a unique column, where nothing can repeat.
OF_EACH = (
    "Give the {columns} of each of the {rows}.",
    "For each of the {rows}, return the {columns}.",
    "List the {columns} of each of the {rows}.",
    "Show the {columns} of each one of the {rows}.",
    "Go through the {rows} and give the {columns} of each.",
    "What is recorded as the {columns} of each of the {rows}?",
)
OF_ALL = (
    "What are the {plurals} of the {rows}?",
    "What are the {plurals} of all {rows}?",
    "What are the {plurals} of {rows}?",
    "List the {columns} of all {rows}.",
    "List the {plurals} of the {rows}.",
    "Show me the {columns} for all {rows}.",
    "Find the {rows} and give their {plurals}.",
    "Find the {plurals} of all {rows}.",
    "For all {rows}, show the {columns}.",
    "Return the {plurals} of the {rows}.",
    "I need the {columns} of all {rows}.",
    "Get the {columns} for {rows}.",
    "{columns} of all {rows}.",
    *OF_EACH[:2],
)
WHICH = (
    "Which {nouns} {that}? Give the {plurals}.",
    "Which {nouns} {that}? List their {plurals}.",
    "Which {nouns} {that}? Return the {columns} of each.",
)


@dataclass(frozen=True)
class Query:
    prompt: str
    sql: str
    explanation: str
    differs: tuple[str, ...] = ()  # simpler queries, each of which must give another result
    ranking: str = ""  # the sort keys that decide the result; no two may be equal

    def holds(self, database: Database) -> bool:
        """Whether the query finds something on this database and its answer depends on each of its parts."""
        result = _bag(database, self.sql)
        if not result or all(value in (None, 0) for row in result for value in row):
            return False
        if self.ranking:
            keys = _bag(database, self.ranking)
            if len(keys) < 2 or len(set(keys)) < len(keys):
                return False
        return all(_bag(database, simpler) != result for simpler in self.differs)


def tables_of(query: Query) -> set[str]:
    """The names of the tables that the query reads."""
    return set(re.findall(r"(?:FROM|JOIN) (\w+)", query.sql))


def naming_table(voice: Voice, query: Query) -> Query:
    """The same query, with its table named in the question if it needs only one."""
    tables = tables_of(query)
    if len(tables) > 1:
        return query
    return replace(query, prompt=voice.say(IN_TABLE, table=voice.text(tables.pop()), prompt=query.prompt))


def _bag(database: Database, sql: str) -> list[tuple[Value, ...]]:
    """The rows in one order, decimals rounded: the last bits of a sum depend on the order of its terms."""
    rows = [tuple(round(value, 6) if isinstance(value, float) else value for value in row) for row in database.run(sql)]
    return sorted(rows, key=repr)


def where(conditions: Sequence[Condition], conjunction: str = "and", *, full: bool = False) -> str:
    """The WHERE clause with a space before it, or nothing."""
    tests = [condition.full_sql if full else condition.sql for condition in conditions]
    return f" WHERE {f' {conjunction.upper()} '.join(tests)}" if tests else ""


def keeping(conditions: Sequence[Condition], conjunction: str = "and", *, full: bool = False) -> str:
    """The start of an explanation."""
    tests = where(conditions, conjunction, full=full).removeprefix(" WHERE ")
    return f"Keeps the rows where {tests} and returns" if tests else "Returns"


def nouns(fields: Sequence[Field]) -> str:
    return listing([field.column.noun for field in fields])


def plurals(fields: Sequence[Field]) -> str:
    return listing([field.column.plural for field in fields])


def names(fields: Sequence[Field], *, full: bool = False) -> str:
    return ", ".join(field.full if full else field.name for field in fields)


def some_columns(voice: Voice, entity: Entity, avoid: Sequence[Field] = (), most: int = 3) -> list[Field]:
    """One to ``most`` columns to show; mostly the label (or the key of a table without one) comes first."""
    shown = [
        field
        for field in entity.fields
        if field.column.kind in ("category", "number", "year", "date") and field not in avoid
    ]
    first = [entity.label] if entity.label not in avoid and (voice.chance(0.8) or not shown) else []
    count = voice.rng.randint(0 if first else 1, most - 1)
    if not first and not shown:
        raise Unsuitable
    return first + voice.rng.sample(shown, min(count, len(shown)))


def is_unique(fields: Sequence[Field]) -> bool:
    return any(field.column.kind in ("label", "key") for field in fields)


def column_of(db: Database, voice: Voice, *kinds: str) -> tuple[Entity, Field]:
    return voice.pick([(entity, field) for entity in db.tables for field in entity.of(*kinds)])
