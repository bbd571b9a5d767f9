"""Patterns with a query inside the query."""

from collections.abc import Sequence

from finetune.tasks.sql.rows.conditions import Condition, condition, rows_where
from finetune.tasks.sql.rows.database import Database, Link, literal
from finetune.tasks.sql.rows.filters import select
from finetune.tasks.sql.rows.query import Query, column_of, names, nouns, some_columns, where
from finetune.tasks.sql.rows.schema import article
from finetune.tasks.sql.rows.wording import Unsuitable, Voice


def beside_average(db: Database, voice: Voice) -> Query:
    """Rows above or below the average of all rows, or of some."""
    entity, field = column_of(db, voice, "number")
    conditions = [condition(voice, entity, avoid=[field])] if voice.chance(0.35) else []
    fields = some_columns(voice, entity)
    operator, beyond = voice.pick(
        (
            (">", "above"),
            (">", "higher than"),
            (">", "greater than"),
            ("<", "below"),
            ("<", "lower than"),
            ("<", "less than"),
        )
    )
    average = f"the average {field.column.noun} of "
    average += f"the {rows_where(voice, entity, conditions)}" if conditions else f"all {entity.table.plural}"
    wordings = (
        "Which {nouns} have {a} {measure} {beyond} {average}? Give the {columns} of each.",
        "List the {columns} of each of the {nouns} whose {measure} is {beyond} {average}.",
        "Find the {nouns} with {a} {measure} {beyond} {average} and return the {columns} of each.",
        "Show the {columns} of every one of the {nouns} whose {measure} is {beyond} {average}.",
        "{columns} of each of the {nouns} with {a} {measure} {beyond} {average}.",
        "For which {nouns} is the {measure} {beyond} {average}? Give the {columns} of each.",
    )
    query = f"SELECT {names(fields)} FROM {entity.name}"
    inner = f"SELECT AVG({field.name}) FROM {entity.name}"
    return Query(
        prompt=voice.say(
            wordings,
            nouns=entity.table.plural,
            columns=nouns(fields),
            a=article(field.column.noun),
            measure=field.column.noun,
            beyond=beyond,
            average=average,
        ),
        sql=f"{query} WHERE {field.name} {operator} ({inner}{where(conditions)});",
        explanation=f"Computes the average of {field.name}{where(conditions).replace('WHERE', 'where')} "
        f"and returns {names(fields)} of the rows of {entity.name} where {field.name} is {beyond} it.",
        differs=(
            f"{query};",
            *([f"{query} WHERE {field.name} {operator} ({inner});"] if conditions else []),
        ),
    )


def at_extreme(db: Database, voice: Voice) -> Query:
    """All rows that share the highest or lowest value."""
    entity, field = column_of(db, voice, "number", "year", "date")
    conditions = [condition(voice, entity, avoid=[field])] if voice.chance(0.4) else []
    fields = some_columns(voice, entity)
    high = voice.chance(0.6)
    extreme = field.column.extremes[0 if high else 1]
    wordings: tuple[str, ...] = (
        "Among the {rows}, which have the {extreme} {measure}? Give the {columns} of each, including ties.",
        "Find the {extreme} {measure} among the {rows} and list the {columns} of each one that has it.",
        "Find every one of the {rows} whose {measure} equals the {extreme} among them; return the {columns}.",
        "Of the {rows}, show the {columns} of each one that reaches the {extreme} {measure} found there.",
    )
    if not conditions:
        wordings += (
            "Which {rows} have the {extreme} {measure} of all? Give the {columns}, with ties.",
            "Show the {columns} of the {rows} whose {measure} is the {extreme} in the whole table.",
            "Give the {columns} of whichever {rows} have the {extreme} {measure}, ties included.",
        )
    query = f"SELECT {names(fields)} FROM {entity.name}"
    inner = f"(SELECT {'MAX' if high else 'MIN'}({field.name}) FROM {entity.name}{where(conditions)})"
    outer = where([Condition(field, f"{{}} = {inner}", ""), *conditions])
    return Query(
        prompt=voice.say(
            wordings,
            rows=rows_where(voice, entity, conditions),
            columns=nouns(fields),
            measure=field.column.noun,
            extreme=extreme,
        ),
        sql=f"{query}{outer};",
        explanation=f"Returns {names(fields)} of the rows of {entity.name} where {field.name} equals "
        f"the {extreme}{where(conditions).replace('WHERE', 'where')}.",
        differs=(f"{query}{where(conditions)};",),
    )


def beside_named(db: Database, voice: Voice) -> Query:
    """Rows that go beyond one row, which is given by its label."""
    entity, field = column_of(db, voice, "number", "date", "year")
    label = voice.pick(entity.of("label"))
    value = voice.pick(label.values)
    fields = some_columns(voice, entity)
    operator = voice.pick((">", "<"))
    later, earlier = ("higher", "lower") if field.column.kind == "number" else ("later", "earlier")
    more = later if operator == ">" else earlier
    wordings = (
        "Which {nouns} have a {more} {measure} than {named}? Give the {columns} of each.",
        "List the {columns} of each of the {nouns} with a {more} {measure} than {named}.",
        "Find the {nouns} whose {measure} is {more} than that of {named} and show the {columns} of each.",
        "Show the {columns} of every one of the {nouns} that have a {more} {measure} than {named}.",
        "Compared with {named}, which {nouns} have a {more} {measure}? Return the {columns} of each.",
        "{columns} of each of the {nouns} whose {measure} is {more} than that of {named}.",
    )
    query = f"SELECT {names(fields)} FROM {entity.name}"
    prompt = voice.say(
        wordings,
        nouns=entity.table.plural,
        columns=nouns(fields),
        measure=field.column.noun,
        more=more,
        named=f"the {entity.table.noun} {voice.text(value)}",
    )
    return Query(
        prompt=prompt.replace(" a earlier", " an earlier"),
        sql=f"{query} WHERE {field.name} {operator} "
        f"(SELECT {field.name} FROM {entity.name} WHERE {label.name} = {literal(value)});",
        explanation=f"Looks up {field.name} where {label.name} is {literal(value)} and returns "
        f"{names(fields)} of the rows of {entity.name} where {field.name} {operator} that.",
        differs=(f"{query};", f"{query} WHERE {label.name} <> {literal(value)};"),
    )


def with_children(db: Database, voice: Voice) -> Query:
    """Parents that have a child, mostly of some kind."""
    link = voice.pick(db.links)
    conditions = [condition(voice, link.child)] if voice.chance(0.85) else []
    said = voice.pick(("{} one or more {}", "{} any {}"))
    return _by_children(voice, link, conditions, "IN", said)


def without_children(db: Database, voice: Voice) -> Query:
    """Parents that have no child, or none of some kind."""
    link = voice.pick(db.links)
    conditions = [condition(voice, link.child)] if voice.chance(0.75) else []
    if any(" not " in f" {c.that} " for c in conditions):
        raise Unsuitable  # a double negation
    return _by_children(voice, link, conditions, "NOT IN", "{} no {}")


def _by_children(voice: Voice, link: Link, conditions: Sequence[Condition], operator: str, said: str) -> Query:
    test = Condition(
        link.parent.key,
        f"{{}} {operator} (SELECT {link.field.name} FROM {link.child.name}{where(conditions)})",
        said.format(link.field.column.verb, rows_where(voice, link.child, conditions)),
    )
    tests = [condition(voice, link.parent), test] if voice.chance(0.2) else [test]
    return select(voice, link.parent, tests)
