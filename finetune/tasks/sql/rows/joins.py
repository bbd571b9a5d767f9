"""Patterns over the rows of a child table joined with those of its parent."""

from collections.abc import Sequence

from finetune.tasks.sql.rows.aggregates import AGGREGATE, COUNT, count_or_value, without_each
from finetune.tasks.sql.rows.conditions import Condition, condition, relative, rows_where
from finetune.tasks.sql.rows.database import Database, Link, literal
from finetune.tasks.sql.rows.query import (
    OF_ALL,
    OF_EACH,
    Query,
    is_unique,
    keeping,
    names,
    nouns,
    plurals,
    some_columns,
    where,
)
from finetune.tasks.sql.rows.wording import Voice, listing

WITH_PARENT = (
    "For each of the {rows}, give the {columns} and the {parent_columns} of the {parent}.",
    "List the {columns} of all {rows} together with the {parent_columns} of each one's {parent}.",
    "Show the {columns} of each of the {rows}, and the {parent_columns} of the corresponding {parent}.",
    "Tell me the {columns} of each of the {rows}, and the {parent_columns} of the {parent}.",
    "Return the {columns} for every one of the {rows}, plus the {parent_columns} of its {parent}.",
    "{columns} of each of the {rows}, with the {parent_columns} of the {parent}.",
    "Join the {rows} with their {parents} and show the {columns}, and the {parent_columns} of the {parent}.",
)


def children_of(voice: Voice, link: Link, parents: str, conditions: Sequence[Condition] = ()) -> str:
    """The children of these parents as a noun phrase: "visits in 2021 by patients who live in Oslo"."""
    noun, of_parents = link.child.table.plural, f"{link.field.column.link} {parents}"
    if not conditions:
        return f"{noun} {of_parents}"
    if conditions[0].modifier and len(conditions) == 1 and voice.chance(0.8):
        return f"{noun} {conditions[0].modifier} {of_parents}"
    return f"{noun} {of_parents} (only {noun} {relative(link.child)} {listing([c.that for c in conditions])})"


def some_parents(voice: Voice, link: Link) -> tuple[Condition, str]:
    """A condition on the parents, and the noun phrase for those that meet it: one by name, or some kind."""
    if voice.chance(0.6):
        test = condition(voice, link.parent)
        return test, rows_where(voice, link.parent, [test])
    field = link.parent.label
    value = voice.pick(field.values)
    noun = "" if link.parent.table.people and voice.chance(0.5) else f"the {link.parent.table.noun} "
    return Condition(field, f"{{}} = {literal(value)}", ""), noun + voice.text(value)


def filtered(voice: Voice, link: Link, chance_of_child: float) -> tuple[list[Condition], str]:
    """Conditions on the parent and at times on the child too, and the noun phrase for the children left."""
    test, parents = some_parents(voice, link)
    tests = [condition(voice, link.child)] if voice.chance(chance_of_child) else []
    return [*tests, test], children_of(voice, link, parents, tests)


def join_filter(db: Database, voice: Voice) -> Query:
    """Columns of the child, rows chosen by the parent."""
    link = voice.pick(db.links)
    conditions, rows = filtered(voice, link, 0.35)
    fields = some_columns(voice, link.child, avoid=[c.field for c in conditions])
    query = f"SELECT {names(fields, full=True)} FROM {link.join}"
    return Query(
        prompt=voice.say(
            OF_ALL if is_unique(fields) else OF_EACH,
            columns=nouns(fields),
            plurals=plurals(fields),
            rows=rows,
        ),
        sql=f"{query}{where(conditions, full=True)};",
        explanation=f"Joins {link.parent.name} to {link.child.name}. "
        f"{keeping(conditions, full=True)} {names(fields, full=True)}.",
        differs=tuple(f"{query}{where(kept, full=True)};" for kept in without_each(conditions)),
    )


def join_columns(db: Database, voice: Voice) -> Query:
    """Columns of both tables, rows chosen by the child."""
    link = voice.pick(db.links)
    conditions = [condition(voice, link.child)] if voice.chance(0.8) else []
    fields = some_columns(voice, link.child, avoid=[c.field for c in conditions], most=2)
    parent_fields = [link.parent.label]
    if voice.chance(0.3):
        parent_fields.append(voice.pick(link.parent.of("category", "number", "date", "year")))
    shown = [*fields, *parent_fields]
    query = f"SELECT {names(shown, full=True)} FROM {link.join}"
    return Query(
        prompt=voice.say(
            WITH_PARENT,
            columns=nouns(fields),
            rows=rows_where(voice, link.child, conditions),
            parent=link.parent.table.noun,
            parents=link.parent.table.plural,
            parent_columns=nouns(parent_fields),
        ),
        sql=f"{query}{where(conditions, full=True)};",
        explanation=f"Joins {link.parent.name} to {link.child.name}. "
        f"{keeping(conditions, full=True)} {names(shown, full=True)}.",
        differs=(f"{query};",) if conditions else (),
    )


def join_aggregate(db: Database, voice: Voice) -> Query:
    """A count or an aggregate of the children of some parents."""
    link = voice.pick(db.links)
    conditions, rows = filtered(voice, link, 0.3)
    measure = count_or_value(voice, link.child)
    query = f"SELECT {measure.full_sql} FROM {link.join}"
    return Query(
        prompt=voice.say(AGGREGATE if measure.field else COUNT, measure=measure.said, rows=rows),
        sql=f"{query}{where(conditions, full=True)};",
        explanation=f"Joins {link.parent.name} to {link.child.name}. "
        f"{keeping(conditions, full=True)} {measure.full_sql}.",
        differs=tuple(f"{query}{where(kept, full=True)};" for kept in without_each(conditions)),
    )


def join_three(db: Database, voice: Voice) -> Query:
    """A child with both of its parents."""
    first, second = voice.pick([(a, b) for a in db.links for b in db.links if a is not b and a.child is b.child])
    conditions = [condition(voice, voice.pick((first.child, first.parent)))]
    test = conditions[0]
    fields = [first.parent.label, second.parent.label]
    if voice.chance(0.4):
        fields.append(voice.pick(first.child.of("number", "date", "category")))
    if test.field.table == first.child.name:
        rows = rows_where(voice, first.child, conditions)
    else:
        rows = children_of(voice, first, rows_where(voice, first.parent, conditions))
    said = [
        f"{fields[0].column.noun} of the {first.parent.table.noun}",
        f"{fields[1].column.noun} of the {second.parent.table.noun}",
        *[field.column.noun for field in fields[2:]],
    ]
    wordings = (
        "For each of the {rows}, give the {columns}.",
        "List the {columns} for each of the {rows}.",
        "Show the {columns} that belong to each of the {rows}.",
        "What are the {columns} for each of the {rows}?",
        "Return, for every one of the {rows}, the {columns}.",
    )
    query = f"SELECT {names(fields, full=True)} FROM {first.join} JOIN {second.parent.name} ON {second.condition}"
    return Query(
        prompt=voice.say(wordings, rows=rows, columns=listing([said[0], *[f"the {words}" for words in said[1:]]])),
        sql=f"{query}{where(conditions, full=True)};",
        explanation=f"Joins {first.child.name} with {first.parent.name} and {second.parent.name}. "
        f"{keeping(conditions, full=True)} {names(fields, full=True)}.",
        differs=(f"{query};",),
    )
