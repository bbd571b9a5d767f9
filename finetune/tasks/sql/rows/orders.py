"""Patterns that sort the rows of one table, or take the first few."""

from finetune.tasks.sql.rows.conditions import condition, rows_where
from finetune.tasks.sql.rows.database import Database, Field
from finetune.tasks.sql.rows.query import Query, column_of, keeping, names, nouns, plurals, some_columns, where
from finetune.tasks.sql.rows.wording import Voice


def ordering(voice: Voice, field: Field, *, descending: bool) -> str:
    """The words after "sorted"."""
    noun = field.column.noun
    if field.column.kind == "label":
        ways = (
            (
                "in reverse alphabetical order of {noun}",
                "by {noun} from Z to A",
                "by {noun} in descending order",
            )
            if descending
            else ("alphabetically by {noun}", "by {noun} from A to Z", "by {noun} in ascending order")
        )
        return voice.pick(ways).format(noun=noun)
    first, last = field.column.extremes if descending else field.column.extremes[::-1]
    direction = "descending" if descending else "ascending"
    ways = (
        f"by {noun}, {first} first",
        f"by {noun} from {first} to {last}",
        f"by {noun} in {direction} order",
    )
    return voice.pick(ways)


def order_by(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "number", "year", "date", "label")
    conditions = [condition(voice, entity, avoid=[field])] if voice.chance(0.5) else []
    fields = some_columns(voice, entity)
    descending = voice.chance(0.5)
    wordings = (
        "List the {columns} of all {rows}, sorted {order}.",
        "What are the {plurals} of the {rows}, ordered {order}?",
        "Sort the {rows} {order}, and give the {columns} of each.",
        "Give the {columns} of each of the {rows}, arranged {order}.",
        "Show the {columns} for every one of the {rows}, {order}.",
        "{columns} of all {rows}, sorted {order}.",
        "Rank the {rows} {order}, and return the {columns} of each.",
    )
    source = f"FROM {entity.name}{where(conditions)}"
    order = f"ORDER BY {field.name} {'DESC' if descending else 'ASC'}"
    return Query(
        prompt=voice.say(
            wordings,
            columns=nouns(fields),
            plurals=plurals(fields),
            rows=rows_where(voice, entity, conditions),
            order=ordering(voice, field, descending=descending),
        ),
        sql=f"SELECT {names(fields)} {source} {order};",
        explanation=f"{keeping(conditions)} {names(fields)} from {entity.name}, "
        f"sorted by {field.name} in {'descending' if descending else 'ascending'} order.",
        differs=(f"SELECT {names(fields)} FROM {entity.name};",) if conditions else (),
        ranking=f"SELECT {field.name} {source};",
    )


def order_by_two(db: Database, voice: Voice) -> Query:
    entity, group = column_of(db, voice, "category")
    field = voice.pick(entity.of("number", "date", "label"))
    fields = [entity.label, group] + ([field] if field is not entity.label else [])
    descending = voice.chance(0.5)
    wordings = (
        "List the {columns} of all {rows}, sorted alphabetically by {group} and, within that, {order}.",
        "Order the {rows} by {group} from A to Z and then {order}; show the {columns}.",
        "What are the {plurals} of all {rows}, ordered by {group} alphabetically and then {order}?",
        "Show the {columns} of the {rows}, by {group} (A to Z) and then {order}.",
        "Give the {columns} of every one of the {rows}, arranged alphabetically by {group} and next {order}.",
    )
    return Query(
        prompt=voice.say(
            wordings,
            columns=nouns(fields),
            plurals=plurals(fields),
            rows=entity.table.plural,
            group=group.column.noun,
            order=ordering(voice, field, descending=descending),
        ),
        sql=f"SELECT {names(fields)} FROM {entity.name} "
        f"ORDER BY {group.name} ASC, {field.name} {'DESC' if descending else 'ASC'};",
        explanation=f"Returns {names(fields)} from {entity.name}, sorted by {group.name} and then "
        f"by {field.name} in {'descending' if descending else 'ascending'} order.",
        ranking=f"SELECT {group.name}, {field.name} FROM {entity.name};",
    )


def top_n(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "number", "number", "year", "date")
    conditions = [condition(voice, entity, avoid=[field])] if voice.chance(0.4) else []
    fields = some_columns(voice, entity)
    count, descending = voice.rng.randint(2, 5), voice.chance(0.6)
    extremes = field.column.extremes if descending else field.column.extremes[::-1]
    wordings: tuple[str, ...] = (
        "What are the {plurals} of the {n} {rows} with the {first} {measure}, {first} first?",
        "Of the {rows}, take the {n} with the {first} {measure} and list their {plurals}, {first} first.",
        "Show the {columns} of each of the {n} {rows} with the {first} {measure}, from {first} to {last}.",
        "Find the {n} {rows} with the {first} {measure} and return the {columns} of each, sorted {order}.",
        "Give the {columns} of each of the first {n} {rows} when sorted {order}.",
        "{columns} of each of the {n} {rows} with the {first} {measure}, {first} first.",
        "Among all {rows}, which {n} have the {first} {measure}? Give their {plurals}, {first} first.",
    )
    if conditions:  # "the 3 farms in Spain with ..." could be read either way: say first which rows are meant
        wordings = (wordings[1], wordings[-1])
    source = f"FROM {entity.name}{where(conditions)} ORDER BY {field.name} {'DESC' if descending else 'ASC'}"
    return Query(
        prompt=voice.say(
            wordings,
            columns=nouns(fields),
            plurals=plurals(fields),
            rows=rows_where(voice, entity, conditions),
            n=voice.count(count),
            measure=field.column.noun,
            first=extremes[0],
            last=extremes[1],
            order=ordering(voice, field, descending=descending),
        ),
        sql=f"SELECT {names(fields)} {source} LIMIT {count};",
        explanation=f"{keeping(conditions)} {names(fields)} of the {count} rows of {entity.name} "
        f"with the {extremes[0]} {field.name}.",
        differs=(
            f"SELECT {names(fields)} {source};",
            *([f"SELECT {names(fields)} FROM {entity.name} LIMIT {count};"] if conditions else []),
        ),
        ranking=f"SELECT {field.name} FROM {entity.name}{where(conditions)};",
    )


def best_one(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "number", "number", "year", "date")
    conditions = [condition(voice, entity, avoid=[field])] if voice.chance(0.4) else []
    fields = some_columns(voice, entity)
    descending = voice.chance(0.6)
    first = field.column.extremes[0 if descending else 1]
    best = f"{entity.table.noun} with the {first} {field.column.noun}"
    if field.column.superlatives and voice.chance(0.7):
        best = f"{field.column.superlatives[0 if descending else 1]} {entity.table.noun}"
    wordings: tuple[str, ...] = (
        "Among the {rows}, which one has the {first} {measure}? Give its {columns}.",
        "Of all {rows}, find the one with the {first} {measure} and return its {columns}.",
        "Look at the {rows} and give the {columns} of the one with the {first} {measure}.",
    )
    if conditions:
        wordings += ("Considering only {rows}, show the {columns} of the one with the {first} {measure}.",)
    else:
        wordings += (
            "Which {noun} has the {first} {measure}? Give its {columns}.",
            "What {be} the {columns} of the {best}?",
            "Find the {best} and return its {columns}.",
            "Give the {columns} of the {best}.",
            "{columns} of the {best}.",
            "Show the {columns} of the single {noun} with the {first} {measure}.",
        )
    prompt = voice.say(
        wordings,
        noun=entity.table.noun,
        rows=rows_where(voice, entity, conditions),
        columns=nouns(fields),
        be="is" if len(fields) == 1 else "are",
        measure=field.column.noun,
        first=first,
        best=best,
    )
    source = f"FROM {entity.name}{where(conditions)}"
    order = f"ORDER BY {field.name} {'DESC' if descending else 'ASC'}"
    return Query(
        prompt=prompt.replace(" its ", " their ") if entity.table.people else prompt,
        sql=f"SELECT {names(fields)} {source} {order} LIMIT 1;",
        explanation=f"{keeping(conditions)} {names(fields)} of the row of {entity.name} with the {first} {field.name}.",
        differs=(f"SELECT {names(fields)} FROM {entity.name} {order} LIMIT 1;",) if conditions else (),
        ranking=f"SELECT {field.name} {source};",
    )


def nth_best(db: Database, voice: Voice) -> Query:
    entity, field = column_of(db, voice, "number", "date")
    fields = some_columns(voice, entity)
    place, descending = voice.pick((2, 2, 3)), voice.chance(0.6)
    nth = ("second", "third")[place - 2]
    wordings = (
        "What {be} the {columns} of the {noun} with the {nth} {first} {measure}?",
        "Which {noun} has the {nth} {first} {measure}? Give the {columns}.",
        "Find the {noun} with the {nth} {first} {measure} and return the {columns}.",
        "Give the {columns} of the {noun} that comes {nth} when the {rows} are sorted {order}.",
        "Show the {columns} of the {noun} ranked {nth} {order}.",
        "{columns} of the {noun} with the {nth} {first} {measure}.",
    )
    order = f"ORDER BY {field.name} {'DESC' if descending else 'ASC'}"
    return Query(
        prompt=voice.say(
            wordings,
            be="is" if len(fields) == 1 else "are",
            columns=nouns(fields),
            noun=entity.table.noun,
            rows=entity.table.plural,
            nth=nth,
            first=field.column.extremes[0 if descending else 1],
            measure=field.column.noun,
            order=ordering(voice, field, descending=descending),
        ),
        sql=f"SELECT {names(fields)} FROM {entity.name} {order} LIMIT 1 OFFSET {place - 1};",
        explanation=f"Sorts {entity.name} by {field.name} and returns {names(fields)} of row number {place}.",
        ranking=f"SELECT {field.name} FROM {entity.name};",
    )
