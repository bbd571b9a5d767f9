"""Patterns that keep the groups whose count or value lies in a range."""

from itertools import pairwise

from finetune.tasks.sql.rows.aggregates import measure_of
from finetune.tasks.sql.rows.conditions import condition, rows_where
from finetune.tasks.sql.rows.database import Database, Value
from finetune.tasks.sql.rows.query import Query, column_of, where
from finetune.tasks.sql.rows.wording import Unsuitable, Voice

# operator of a HAVING clause -> ways to say it of a number of rows, of a value
SEVERAL = {
    ">": ("more than {}", "over {}"),
    ">=": ("at least {}", "{} or more"),
    "<": ("fewer than {}",),
    "<=": ("at most {}", "no more than {}"),
    "=": ("exactly {}",),
}
BEYOND = {
    ">": ("above {}", "greater than {}", "higher than {}"),
    "<": ("below {}", "less than {}", "lower than {}"),
}


def several(voice: Voice, *operators: str) -> tuple[str, str]:
    """A bound on a number of rows, as SQL and in words: ("> 2", "more than two")."""
    operator = voice.pick(operators)
    bound = voice.rng.randint(3 if operator == "<" else 2, 4)
    return f"{operator} {bound}", voice.pick(SEVERAL[operator]).format(voice.count(bound))


def dividing(voice: Voice, values: list[Value]) -> Value:
    """A round number strictly between two neighbours among the values."""
    ordered = sorted(round(value, 6) for value in values)  # the last bits of a sum depend on the SQLite version
    low, high = voice.pick([(low, high) for low, high in pairwise(ordered) if high - low > 0.15])
    for digits in range(-6, 2):
        middle = round((low + high) / 2, digits)
        if low < middle < high and middle > 0:
            return int(middle) if digits <= 0 else middle
    raise Unsuitable


def group_having_count(db: Database, voice: Voice) -> Query:
    entity, group = column_of(db, voice, "category")
    conditions = [condition(voice, entity, avoid=[group])] if voice.chance(0.3) else []
    # Whether a group that the condition empties has "fewer than 3" rows is open, so then only lower bounds.
    bound, said = several(voice, ">", ">=", *(() if conditions else ("<", "<=", "=")))
    wordings = (
        "Which {groups} have {several} {rows}? Give the {group} and the number of {nouns}.",
        "List each {group} that has {several} {rows}, together with the number of {nouns}.",
        "Find the {groups} with {several} {rows} and return the {group} and the count.",
        "Show the {groups} that have {several} {rows}, along with how many there are.",
        "{groups} with {several} {rows}: show the {group} and the count.",
        "What are the {groups} with {several} {rows}, and how many does each have?",
    )
    source, grouped = f"SELECT {group.name}, COUNT(*) FROM {entity.name}", f" GROUP BY {group.name}"
    return Query(
        prompt=voice.say(
            wordings,
            group=group.column.noun,
            groups=group.column.plural,
            several=said,
            nouns=entity.table.plural,
            rows=rows_where(voice, entity, conditions),
        ),
        sql=f"{source}{where(conditions)}{grouped} HAVING COUNT(*) {bound};",
        explanation=f"Counts the rows of {entity.name} for each {group.name} and keeps the counts {bound}.",
        differs=(
            f"{source}{where(conditions)}{grouped};",
            *([f"{source}{grouped} HAVING COUNT(*) {bound};"] if conditions else []),
        ),
    )


def group_having_value(db: Database, voice: Voice) -> Query:
    entity, group = column_of(db, voice, "category")
    field = voice.pick(entity.of("number"))
    measure = measure_of(voice, field, rounded=False)
    source = f"SELECT {group.name}, {measure.sql} FROM {entity.name} GROUP BY {group.name}"
    bound = dividing(voice, [row[1] for row in db.run(source)])
    operator = voice.pick((">", "<"))
    wordings = (
        "For which {groups} is the {measure} of the {nouns} {beyond}? Give the {group} and the {measure}.",
        "List the {groups} for which the {measure} of the {nouns} is {beyond}, with that {measure}.",
        "Find each {group} where the {measure} of the {nouns} is {beyond}; return both.",
        "Show the {groups} for whose {nouns} the {measure} is {beyond}, and show the {measure} too.",
        "{groups} where the {measure} of the {nouns} is {beyond}: return the {group} and the {measure}.",
        "Give the {group} and the {measure} of the {nouns} for every {group} where the latter is {beyond}.",
    )
    return Query(
        prompt=voice.say(
            wordings,
            group=group.column.noun,
            groups=group.column.plural,
            nouns=entity.table.plural,
            measure=measure.said,
            beyond=voice.pick(BEYOND[operator]).format(voice.amount(field, bound)),
        ),
        sql=f"{source} HAVING {measure.sql} {operator} {bound};",
        explanation=f"Computes {measure.sql} for each {group.name} of {entity.name} "
        f"and keeps the values {operator} {bound}.",
        differs=(f"{source};",),
    )
