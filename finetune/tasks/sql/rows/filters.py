"""Patterns that choose rows and columns of one table."""

from collections.abc import Sequence

from finetune.tasks.sql.rows.conditions import (
    Condition,
    between,
    compared,
    condition,
    equal,
    flagged,
    in_period,
    like,
    missing,
    not_equal,
    one_of,
    rows_where,
)
from finetune.tasks.sql.rows.database import Database, Entity
from finetune.tasks.sql.rows.query import (
    OF_ALL,
    OF_EACH,
    WHICH,
    Query,
    column_of,
    is_unique,
    keeping,
    names,
    nouns,
    plurals,
    some_columns,
    where,
)
from finetune.tasks.sql.rows.wording import Voice


def select(voice: Voice, entity: Entity, conditions: Sequence[Condition], conjunction: str = "and") -> Query:
    """SELECT columns FROM table WHERE conditions, each of which must matter."""
    constant = (
        [c.field for c in conditions if c.test.startswith(("{} =", "{} IS NULL"))] if conjunction == "and" else []
    )
    fields = some_columns(voice, entity, avoid=constant)
    words = {
        "columns": nouns(fields),
        "plurals": plurals(fields),
        "nouns": entity.table.plural,
        "rows": rows_where(voice, entity, conditions, conjunction),
        "that": f" {conjunction} ".join(condition.that for condition in conditions),
    }
    query = f"SELECT {names(fields)} FROM {entity.name}"
    fewer = [[c for c in conditions if c is not left_out] for left_out in conditions]
    return Query(
        prompt=voice.say(OF_ALL + WHICH if is_unique(fields) else OF_EACH, **words),
        sql=f"{query}{where(conditions, conjunction)};",
        explanation=f"{keeping(conditions, conjunction)} {names(fields)} from {entity.name}.",
        differs=tuple(f"{query}{where(kept)};" for kept in [*fewer, []]),
    )


def filter_equal(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "category")
    return select(voice, entity, [equal(voice, field)])


def filter_not_equal(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "category")
    return select(voice, entity, [not_equal(voice, field)])


def filter_compare(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "number", "number", "year")
    return select(voice, entity, [compared(voice, field)])


def filter_flag(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "flag")
    return select(voice, entity, [flagged(voice, field)])


def filter_between(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "number", "year", "date")
    return select(voice, entity, [between(voice, field)])


def filter_in(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "category")
    return select(voice, entity, [one_of(voice, field)])


def filter_like(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "label")
    return select(voice, entity, [like(voice, field)])


def filter_null(db: Database, voice: Voice) -> Query:
    entity, field = voice.pick([(entity, field) for entity in db.tables for field in entity.nullable()])
    return select(voice, entity, [missing(voice, field)])


def filter_date(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "date")
    return select(voice, entity, [voice.pick((in_period, compared))(voice, field)])


def filter_and(db: Database, voice: Voice) -> Query:
    entity = voice.pick(db.tables)
    first = condition(voice, entity)
    return select(voice, entity, [first, condition(voice, entity, avoid=[first.field])])


def filter_or(db: Database, voice: Voice) -> Query:
    entity = voice.pick(db.tables)
    first = condition(voice, entity)
    return select(voice, entity, [first, condition(voice, entity, avoid=[first.field])], "or")


def select_all(db: Database, voice: Voice) -> Query:
    entity = voice.pick(db.tables)
    conditions = [condition(voice, entity)]
    wordings = (
        "Show all details of the {rows}.",
        "List every column of the {rows}.",
        "Give me the full records of all {rows}.",
        "What are all the details of {rows}?",
        "Return everything that is stored about the {rows}.",
        "All columns for {rows}.",
        "Which {nouns} {that}? Show all columns.",
        "Show the complete rows of {rows}.",
    )
    return Query(
        prompt=voice.say(
            wordings,
            rows=rows_where(voice, entity, conditions),
            nouns=entity.table.plural,
            that=conditions[0].that,
        ),
        sql=f"SELECT * FROM {entity.name}{where(conditions)};",
        explanation=f"{keeping(conditions)} every column of {entity.name}.",
        differs=(f"SELECT * FROM {entity.name};",),
    )


def distinct_values(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "category")
    conditions = [condition(voice, entity, avoid=[field])] if voice.chance(0.7) else []
    wordings = (
        "What are the different {plurals} of the {rows}?",
        "List each {column} found among the {rows} only once.",
        "Which distinct {plurals} occur among the {rows}?",
        "Show the unique {plurals} of the {rows}.",
        "Give all different {plurals} of {rows}, without repeats.",
        "Distinct {plurals} of {rows}.",
        "Looking at the {rows}, which different {plurals} appear?",
        "What unique {plurals} can be found among the {rows}?",
    )
    rest = f"{field.name} FROM {entity.name}{where(conditions)};"
    return Query(
        prompt=voice.say(
            wordings,
            column=field.column.noun,
            plurals=field.column.plural,
            rows=rows_where(voice, entity, conditions),
        ),
        sql=f"SELECT DISTINCT {rest}",
        explanation=f"{keeping(conditions)} each different {field.name} of {entity.name} once.",
        differs=(f"SELECT {rest}",),
    )
