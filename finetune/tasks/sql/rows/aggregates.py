"""Patterns that count and add up the rows of one table."""

from collections.abc import Sequence
from dataclasses import dataclass

from finetune.tasks.sql.rows.conditions import Condition, condition, rows_where
from finetune.tasks.sql.rows.database import Database, Entity, Field
from finetune.tasks.sql.rows.query import Query, column_of, keeping, where
from finetune.tasks.sql.rows.wording import Unsuitable, Voice

COUNT = (
    "How many {rows} are there?",
    "What is the number of {rows}?",
    "What is the total number of {rows}?",
    "Count the {rows}.",
    "Give the number of {rows}.",
    "Number of {rows}.",
    "Tell me the number of {rows}.",
    "Return the count of {rows}.",
)
COUNT_WHICH = (
    "How many {nouns} {that}?",
    "How many of the {nouns} {that}?",
    "Tell me how many {nouns} {that}.",
)
AGGREGATE = (
    "What is the {measure} of the {rows}?",
    "What is the {measure} of all {rows}?",
    "What is the {measure} among {rows}?",
    "Calculate the {measure} of {rows}.",
    "Find the {measure} of the {rows}.",
    "Give the {measure} across all {rows}.",
    "For {rows}, what is the {measure}?",
    "{measure} of {rows}.",
    "Tell me the {measure} of all {rows}.",
)


@dataclass(frozen=True)
class Measure:
    """An aggregate of one column, or with no column the number of rows."""

    function: str  # "AVG({})", with {} for the column
    said: str  # "average height"; "number" of rows
    field: Field | None = None

    @property
    def sql(self) -> str:
        return self.function.replace("{}", self.field.name if self.field else "*")

    @property
    def full_sql(self) -> str:
        return self.function.replace("{}", self.field.full if self.field else "*")

    def of(self, rows: str) -> str:
        """ "number of turbines", "average height of the turbines" """
        return f"{self.said} of the {rows}" if self.field else f"{self.said} of {rows}"


NUMBER_OF_ROWS = Measure("COUNT({})", "number")


def measure_of(voice: Voice, field: Field, *, rounded: bool = True) -> Measure:
    """An aggregate that makes sense for the column."""
    column = field.column
    highest, lowest = column.extremes
    choices = [("MAX({})", highest), ("MIN({})", lowest)]
    if column.kind == "number":
        choices += [("MAX({})", "maximum"), ("MIN({})", "minimum")]
        choices += 3 * [("AVG({})", "average")] + [("AVG({})", "mean")]
        if column.has_total:
            choices += 4 * [("SUM({})", "total")] + [("SUM({})", "combined")]
        if rounded:
            choices += [("ROUND(AVG({}), 2)", "average")]
    function, adjective = voice.pick(choices)
    said = f"{adjective} {column.noun}"
    return Measure(function, f"{said} (rounded to 2 decimals)" if "ROUND" in function else said, field)


def count_or_value(voice: Voice, entity: Entity, chance_of_count: float = 0.5) -> Measure:
    if voice.chance(chance_of_count):
        return NUMBER_OF_ROWS
    return measure_of(voice, voice.pick(entity.of("number")), rounded=False)


def without_each(conditions: Sequence[Condition]) -> list[list[Condition]]:
    """The conditions with one left out, for each one: what shows that it matters."""
    return [[kept for kept in conditions if kept is not left_out] for left_out in conditions]


def some_conditions(voice: Voice, entity: Entity, count: int, avoid: Sequence[Field] = ()) -> list[Condition]:
    """Conditions on different columns."""
    conditions: list[Condition] = []
    for _ in range(count):
        conditions.append(condition(voice, entity, avoid=[*avoid, *(earlier.field for earlier in conditions)]))
    return conditions


def aggregate(voice: Voice, entity: Entity, condition_count: int) -> Query:
    field = voice.pick(entity.of("date", "year") if voice.chance(0.1) else entity.of("number"))
    measure = measure_of(voice, field)
    conditions = some_conditions(voice, entity, condition_count, avoid=[field])
    query = f"SELECT {measure.sql} FROM {entity.name}"
    return Query(
        prompt=voice.say(AGGREGATE, measure=measure.said, rows=rows_where(voice, entity, conditions)),
        sql=f"{query}{where(conditions)};",
        explanation=f"{keeping(conditions)} {measure.sql} over {entity.name}.",
        differs=tuple(f"{query}{where(kept)};" for kept in without_each(conditions)),
    )


def aggregate_all(db: Database, voice: Voice) -> Query:
    return aggregate(voice, voice.pick(db.tables), 0)


def aggregate_filter(db: Database, voice: Voice) -> Query:
    return aggregate(voice, voice.pick(db.tables), voice.pick((1, 1, 1, 2)))


def aggregate_two(db: Database, voice: Voice) -> Query:
    """Two aggregates of one column in one row."""
    entity, field = column_of(db, voice, "number", "date")
    conditions = [condition(voice, entity, avoid=[field])] if voice.chance(0.6) else []
    first, second = (measure_of(voice, field, rounded=False) for _ in range(2))
    if first.function == second.function:
        raise Unsuitable
    wordings = (
        "What are the {measures} of the {rows}?",
        "Give the {measures} of all {rows}.",
        "In one row, return the {measures} among {rows}.",
        "Find both the {measures} of the {rows}.",
        "For the {rows}, show the {measures}.",
        "{measures} of {rows}.",
    )
    query = f"SELECT {first.sql}, {second.sql} FROM {entity.name}"
    return Query(
        prompt=voice.say(
            wordings,
            measures=f"{first.said.removesuffix(' ' + field.column.noun)} and {second.said}",
            rows=rows_where(voice, entity, conditions),
        ),
        sql=f"{query}{where(conditions)};",
        explanation=f"{keeping(conditions)} {first.sql} and {second.sql} over {entity.name}.",
        differs=(f"{query};",) if conditions else (),
    )


def count_rows(db: Database, voice: Voice) -> Query:
    entity = voice.pick(db.tables)
    conditions = some_conditions(voice, entity, voice.pick((1, 1, 1, 2)))
    query = f"SELECT COUNT(*) FROM {entity.name}"
    return Query(
        prompt=voice.say(
            COUNT_WHICH + COUNT,
            nouns=entity.table.plural,
            that=" and ".join(condition.that for condition in conditions),
            rows=rows_where(voice, entity, conditions),
        ),
        sql=f"{query}{where(conditions)};",
        explanation=f"{keeping(conditions)} the number of rows of {entity.name}.",
        differs=tuple(f"{query}{where(kept)};" for kept in without_each(conditions)),
    )


def count_distinct(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "category")
    conditions = [condition(voice, entity, avoid=[field])] if voice.chance(0.7) else []
    wordings = (
        "How many different {plurals} are there among the {rows}?",
        "Count the distinct {plurals} of the {rows}.",
        "What is the number of unique {plurals} of {rows}?",
        "How many unique {plurals} do the {rows} have?",
        "Number of different {plurals} among {rows}.",
        "Find how many distinct {plurals} occur among the {rows}.",
    )
    query = f"SELECT COUNT(DISTINCT {field.name}) FROM {entity.name}"
    return Query(
        prompt=voice.say(wordings, plurals=field.column.plural, rows=rows_where(voice, entity, conditions)),
        sql=f"{query}{where(conditions)};",
        explanation=f"{keeping(conditions)} the number of different values of {field.name} in {entity.name}.",
        differs=(
            f"SELECT COUNT({field.name}) FROM {entity.name}{where(conditions)};",
            *([f"{query};"] if conditions else []),
        ),
    )
