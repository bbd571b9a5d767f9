"""Patterns that group the rows of one table."""

from finetune.tasks.sql.rows.aggregates import NUMBER_OF_ROWS, Measure, count_or_value, measure_of
from finetune.tasks.sql.rows.conditions import condition, rows_where
from finetune.tasks.sql.rows.database import Database, Entity, Field
from finetune.tasks.sql.rows.query import Query, column_of, keeping, where
from finetune.tasks.sql.rows.wording import Unsuitable, Voice

PER_GROUP = (
    "For each {group}, give the {group} and the {measure}.",
    "What is the {measure} for each {group}? Show the {group} as well.",
    "What is the {measure} per {group}? Return the {group} too.",
    "Show every {group} and, beside it, the {measure}.",
    "List the {groups} and, for each of them, the {measure}.",
    "{measure} per {group}, with the {group}.",
    "Group the {nouns} by {group} and return each {group} and the {measure}.",
    "Break the {nouns} down by {group}: show the {group} and the {measure}.",
    "Calculate the {measure} by {group}, listing the {group} too.",
)
PER_GROUP_COUNT = (
    "How many {nouns} are there for each {group}? Show the {group} and the number.",
    "Count the {nouns} by {group}, giving the {group} and the count.",
)
# Over a part of the rows; a group that the condition leaves empty is not asked for.
PER_GROUP_AMONG = (
    "Among the {rows}, what is the {measure} for each {group}? Show the {group} too.",
    "Taking only the {rows}, give each {group} that occurs and the {measure}.",
    "Considering only {rows}, show the {measure} for every {group} found, with the {group}.",
    "Look at the {rows}: list each {group} among them and the {measure}.",
    "Keep only the {rows}, group them by {group} and return the {group} and the {measure}.",
    "For the {rows}, what is the {measure} by {group}? Include the {group}.",
)
SPANS = (  # as first mentioned, as mentioned again, as strftime writes it
    ("year", "year", "%Y"),
    ("year", "year", "%Y"),
    ("calendar month (01 to 12)", "month", "%m"),
    ("month (as YYYY-MM)", "month", "%Y-%m"),
)
ORDERED_BY_TIME = (
    "Sort from earliest to latest.",
    "Put the earliest first.",
    "Order the result by time, earliest first.",
)


def per_group(voice: Voice, entity: Entity, group: Field, measure: Measure) -> Query:
    """SELECT group, measure FROM table GROUP BY group, at times over a part of the rows."""
    avoid = [group, measure.field] if measure.field else [group]
    conditions = [condition(voice, entity, avoid)] if voice.chance(0.5) else []
    nouns = entity.table.plural
    wordings = PER_GROUP if measure.field else PER_GROUP + PER_GROUP_COUNT
    query = f"SELECT {group.name}, {measure.sql} FROM {entity.name}"
    return Query(
        prompt=voice.say(
            PER_GROUP_AMONG if conditions else wordings,
            group=group.column.noun,
            groups=group.column.plural,
            measure=measure.said if conditions and measure.field else measure.of(nouns),
            nouns=nouns,
            rows=rows_where(voice, entity, conditions),
        ),
        sql=f"{query}{where(conditions)} GROUP BY {group.name};",
        explanation=f"{keeping(conditions)} {measure.sql} for each {group.name} of {entity.name}.",
        differs=(f"{query} GROUP BY {group.name};",) if conditions else (),
    )


def group_count(db: Database, voice: Voice) -> Query:
    entity, group = column_of(db, voice, "category")
    return per_group(voice, entity, group, NUMBER_OF_ROWS)


def group_aggregate(db: Database, voice: Voice) -> Query:
    entity, group = column_of(db, voice, "category")
    return per_group(voice, entity, group, measure_of(voice, voice.pick(entity.of("number"))))


def group_by_two(db: Database, voice: Voice) -> Query:
    entity, first = column_of(db, voice, "category")
    second = voice.pick([field for field in entity.of("category") if field != first])
    measure = count_or_value(voice, entity)
    wordings = (
        "For each combination of {first} and {second}, give both and the {measure}.",
        "What is the {measure} for each pair of {first} and {second}? Show the {first} and the {second} too.",
        "Group the {nouns} by {first} and {second} and return both and the {measure}.",
        "Show the {first}, the {second} and the {measure} for every combination that occurs.",
        "{measure} per {first} and {second}, with both of them.",
    )
    pair = f"{first.name}, {second.name}"
    return Query(
        prompt=voice.say(
            wordings,
            first=first.column.noun,
            second=second.column.noun,
            nouns=entity.table.plural,
            measure=measure.of(entity.table.plural),
        ),
        sql=f"SELECT {pair}, {measure.sql} FROM {entity.name} GROUP BY {pair};",
        explanation=f"Returns {measure.sql} for each pair of {pair} of {entity.name}.",
    )


def group_by_date(db: Database, voice: Voice) -> Query:
    entity, day = column_of(db, voice, "date")
    span, short, form = voice.pick(SPANS)
    measure = count_or_value(voice, entity)
    ordered = voice.chance(0.4)
    wordings = (
        "For each {span} of the {day}, give the {short} and the {measure}.",
        "What is the {measure} for each {span}, going by the {day}? Show the {short} as well.",
        "Group the {nouns} by the {span} of their {day} and return the {short} and the {measure}.",
        "Show the {measure} per {span} of the {day}, together with the {short}.",
        "{measure} by {span} of the {day}, with the {short}.",
        "Going by the {day}, what is the {measure} in each {span}? Return the {short} and the result.",
    )
    prompt = voice.say(
        wordings,
        span=span,
        short=short,
        day=day.column.noun,
        nouns=entity.table.plural,
        measure=measure.of(entity.table.plural),
    )
    part = f"strftime('{form}', {day.name})"
    order = f" ORDER BY {part} ASC" if ordered else ""
    return Query(
        prompt=f"{prompt} {voice.pick(ORDERED_BY_TIME)}" if ordered else prompt,
        sql=f"SELECT {part}, {measure.sql} FROM {entity.name} GROUP BY {part}{order};",
        explanation=f"Returns {measure.sql} of {entity.name} for each {short} of {day.name}"
        f"{', earliest first' if ordered else ''}.",
        differs=(f"SELECT {day.name}, {measure.sql} FROM {entity.name} GROUP BY {day.name};",),
    )


def group_order(db: Database, voice: Voice) -> Query:
    """All groups, sorted by what was computed for them."""
    entity, group = column_of(db, voice, "category")
    measure = count_or_value(voice, entity, 0.3)
    descending = voice.chance(0.7)
    wordings = (
        "For each {group}, give the {group} and the {measure}, {first} {short} first.",
        "List the {groups} and the {measure} for each, sorted by that {short} in {order} order.",
        "Rank the {groups} by the {measure}, {first} first; show the {group} and the {short}.",
        "What is the {measure} per {group}? Show the {group} too and sort by the {short}, {first} first.",
        "{groups} in {order} order of the {measure}, showing the {group} and the {short}.",
        "Group the {nouns} by {group} and return the {group} and the {measure}, {first} {short} first.",
    )
    source = f"FROM {entity.name} GROUP BY {group.name}"
    first = "highest" if descending else "lowest"
    return Query(
        prompt=voice.say(
            wordings,
            group=group.column.noun,
            groups=group.column.plural,
            nouns=entity.table.plural,
            measure=measure.of(entity.table.plural),
            short="value" if measure.field else "number",
            first=first,
            order="descending" if descending else "ascending",
        ),
        sql=f"SELECT {group.name}, {measure.sql} {source} ORDER BY {measure.sql} {'DESC' if descending else 'ASC'};",
        explanation=f"Returns {measure.sql} for each {group.name} of {entity.name}, {first} first.",
        ranking=f"SELECT {measure.sql} {source};",
    )


def group_top(db: Database, voice: Voice) -> Query:
    """The one group with the most rows or the highest value."""
    entity, group = column_of(db, voice, "category")
    measure = count_or_value(voice, entity, 0.6)
    if measure.function in ("MAX({})", "MIN({})"):
        raise Unsuitable  # "the highest lowest price" is not a question people ask
    most = voice.chance(0.75)
    with_value = voice.chance(0.5)
    if measure.field:
        extreme = f"the {'highest' if most else 'lowest'} {measure.of(entity.table.plural)}"
    else:
        extreme = f"the {'most' if most else 'fewest'} {entity.table.plural}"
    shown = f"the {group.column.noun} and the {measure.said}" if with_value else f"only the {group.column.noun}"
    wordings = (
        "Which {group} has {extreme}? Give {shown}.",
        "Find the {group} with {extreme} and return {shown}.",
        "What is the {group} with {extreme}? Return {shown}.",
        "Name the one {group} that has {extreme}; return {shown}.",
        "The {group} with {extreme}: {shown}.",
    )
    source = f"FROM {entity.name} GROUP BY {group.name} ORDER BY {measure.sql} {'DESC' if most else 'ASC'}"
    return Query(
        prompt=voice.say(
            wordings,
            group=group.column.noun,
            extreme=extreme,
            shown=shown,
        ),
        sql=f"SELECT {group.name}{f', {measure.sql}' if with_value else ''} {source} LIMIT 1;",
        explanation=f"Sorts each {group.name} of {entity.name} by {measure.sql} and keeps the first.",
        ranking=f"SELECT {measure.sql} {source} LIMIT 2;",
    )
