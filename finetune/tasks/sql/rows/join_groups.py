"""Patterns that group the rows of a child table by something of their parent."""

from collections.abc import Sequence

from finetune.tasks.sql.rows.aggregates import Measure, count_or_value
from finetune.tasks.sql.rows.conditions import condition, relative, rows_where
from finetune.tasks.sql.rows.database import Database, Field, Link
from finetune.tasks.sql.rows.having import BEYOND, dividing, several
from finetune.tasks.sql.rows.query import Query, keeping, where
from finetune.tasks.sql.rows.wording import Unsuitable, Voice

# Only parents that have children make a group: the wording either starts from the children or says so.
PER_PARENT = (
    "For each {parent} {who} {has} at least one {child}, give the {label} and the {measure}.",
    "What is the {measure} {link} each {parent}? Show the {label} of the {parent} as well.",
    "Group the {children} by the {label} of their {parent} and return the {label} and the {measure}.",
    "List the {labels} of the {parents} and the {measure} {link} each; skip {parents} without {children}.",
    "{measure} {link} each {parent}, with the {label} of the {parent}.",
    "Show the {label} of every {parent} {who} {has} {children}, and the {measure} {link} that {parent}.",
    "Per {parent}, what is the {measure}? Return the {label} and skip {parents} without {children}.",
)
PER_PARENT_CATEGORY = (
    "For each {label} of the {parents}, give the {label} and the {measure}.",
    "What is the {measure} for each {label} of the {parent}? Show the {label} as well.",
    "Group the {children} by the {label} of their {parent} and return the {label} and the {measure}.",
    "{measure}, broken down by the {label} of the {parent}; show the {label} too.",
    "Show the {measure} by {label} of the {parent}, listing the {label} and the result.",
    "Looking at the {label} of the {parent}, what is the {measure} per {label}? Return both.",
)


def third_person(verb: str) -> str:
    """A verb of a reference after one parent: it is *have* or in the past tense."""
    return "has" if verb == "have" else verb


def per_parent(voice: Voice, link: Link, group: Field, measure: Measure, wordings: Sequence[str]) -> Query:
    parent, child = link.parent.table, link.child.table
    return Query(
        prompt=voice.say(
            wordings,
            parent=parent.noun,
            parents=parent.plural,
            child=child.noun,
            children=child.plural,
            who=relative(link.parent),
            has=third_person(link.field.column.verb),
            link=link.field.column.link,
            label=group.column.noun,
            labels=group.column.plural,
            measure=measure.of(child.plural),
        ),
        sql=f"SELECT {group.full}, {measure.full_sql} FROM {link.join} GROUP BY {group.full};",
        explanation=f"Joins {link.parent.name} to {link.child.name} and returns {measure.full_sql} "
        f"for each {group.full}.",
    )


def join_group(db: Database, voice: Voice) -> Query:
    link = voice.pick(db.links)
    return per_parent(voice, link, link.parent.label, count_or_value(voice, link.child), PER_PARENT)


def join_group_category(db: Database, voice: Voice) -> Query:
    link = voice.pick(db.links)
    group = voice.pick(link.parent.of("category"))
    return per_parent(voice, link, group, count_or_value(voice, link.child), PER_PARENT_CATEGORY)


def join_having(db: Database, voice: Voice) -> Query:
    """Parents with enough children, or whose children add up to enough."""
    link = voice.pick(db.links)
    measure = count_or_value(voice, link.child)
    label = link.parent.label
    source = f"SELECT {label.full}, {measure.full_sql} FROM {link.join} GROUP BY {label.full}"
    if measure.field:
        limit = dividing(voice, [row[1] for row in db.run(source)])
        operator = voice.pick((">", "<"))
        bound = f"{operator} {limit}"
        said = voice.pick(BEYOND[operator]).format(voice.amount(measure.field, limit))
        wordings = (
            "For which {parents} is the {measure} of the {children} {bound}? Give the {label} and value.",
            "List the {labels} of {parents} for whose {children} the {measure} is {bound}, with that value.",
            "Find {parents} where the {measure} of the {children} is {bound}; return {label} and value.",
            "Show the {label} of each {parent} if the {measure} of its {children} is {bound}, and the value.",
            "{parents} where the {measure} of the {children} is {bound}: give the {label} and the {measure}.",
        )
    else:
        bound, said = several(voice, ">", ">=", "=")
        wordings = (
            "Which {parents} {have} {bound} {children}? Give the {label} and the number of {children}.",
            "List the {labels} of the {parents} {who} {have} {bound} {children}, with the number of them.",
            "Find every {parent} {who} {has} {bound} {children} and return the {label} and the count.",
            "Show the {labels} of {parents} with {bound} {children}, along with that number.",
            "{parents} {who} {have} {bound} {children}: give the {label} and how many.",
        )
    return Query(
        prompt=voice.say(
            wordings,
            parent=link.parent.table.noun,
            parents=link.parent.table.plural,
            children=link.child.table.plural,
            have=link.field.column.verb,
            who=relative(link.parent),
            has=third_person(link.field.column.verb),
            label=label.column.noun,
            labels=label.column.plural,
            measure=measure.said,
            bound=said,
        ),
        sql=f"{source} HAVING {measure.full_sql} {bound};",
        explanation=f"Joins {link.parent.name} to {link.child.name}, computes {measure.full_sql} "
        f"for each {label.full} and keeps the values {bound}.",
        differs=(f"{source};",),
    )


def join_top(db: Database, voice: Voice) -> Query:
    """The parents with the most children or the highest total."""
    link = voice.pick(db.links)
    measure = count_or_value(voice, link.child)
    if measure.function in ("MAX({})", "MIN({})"):
        raise Unsuitable
    label, count = link.parent.label, voice.pick((1, 1, 1, 2, 3))
    shown = voice.chance(0.5)
    extreme = (
        f"the highest {measure.of(link.child.table.plural)}" if measure.field else f"the most {link.child.table.plural}"
    )
    if count == 1:
        wordings = (
            "Which {parent} {has} {extreme}? Give {shown}.",
            "Find the {parent} with {extreme} and return {shown}.",
            "Tell me {shown} for the {parent} with {extreme}.",
            "Return {shown} for the {parent} with {extreme}.",
        )
    else:
        wordings = (
            "Which {n} {parents} {have} {extreme}? Give {shown} of each, highest first.",
            "List the top {n} {parents} by the {measure}, highest first, giving {shown} of each.",
            "Find the {n} {parents} with {extreme} and return {shown} of each, in descending order.",
            "Show {shown} for each of the {n} {parents} with {extreme}, starting with the highest.",
        )
    source = f"FROM {link.join} GROUP BY {label.full} ORDER BY {measure.full_sql} DESC"
    verb = "have" if measure.field else link.field.column.verb
    value = measure.said if measure.field else measure.of(link.child.table.plural)
    return Query(
        prompt=voice.say(
            wordings,
            parent=link.parent.table.noun,
            parents=link.parent.table.plural,
            n=voice.count(count),
            has=third_person(verb),
            have=verb,
            extreme=extreme,
            measure=measure.of(link.child.table.plural),
            shown=f"the {label.column.noun} and the {value}" if shown else f"only the {label.column.noun}",
        ),
        sql=f"SELECT {label.full}{f', {measure.full_sql}' if shown else ''} {source} LIMIT {count};",
        explanation=f"Joins {link.parent.name} to {link.child.name}, sorts the values of {label.full} by "
        f"{measure.full_sql} and keeps the first{f' {count}' if count > 1 else ''}.",
        differs=(f"SELECT {label.full}{f', {measure.full_sql}' if shown else ''} {source};",),
        ranking=f"SELECT {measure.full_sql} {source} LIMIT {count + 1};",
    )


def left_join_count(db: Database, voice: Voice) -> Query:
    """All parents, or all of some kind, also those without children."""
    link = voice.pick(db.links)
    conditions = [condition(voice, link.parent)] if voice.chance(0.5) else []
    label = link.parent.label
    wordings = (
        "For all {rows}, even those without {children}, give the {label} and the number of {children}.",
        "How many {children} are there {link} each of the {rows}? Give {label} and number, even if it is 0.",
        "Show the {label} of all {rows} with the number of {children}, giving 0 where there are none.",
        "List the {rows} by {label} with the number of {children} of each; keep those that have none.",
        "Number of {children} for each of the {rows}, with the {label}; include those with no {children}.",
        "Give the {labels} of all {rows} and the count of {children}, even where the count is zero.",
    )
    select = f"SELECT {label.full}, COUNT({link.child.key.full}) FROM {link.parent.name}"
    join = f"JOIN {link.child.name} ON {link.condition}"
    kept, grouped = where(conditions, full=True), f" GROUP BY {label.full};"
    return Query(
        prompt=voice.say(
            wordings,
            rows=rows_where(voice, link.parent, conditions),
            children=link.child.table.plural,
            link=link.field.column.link,
            label=label.column.noun,
            labels=label.column.plural,
        ),
        sql=f"{select} LEFT {join}{kept}{grouped}",
        explanation=f"{keeping(conditions, full=True)} the number of rows of {link.child.name} "
        f"for each {label.full}, keeping those without any.",
        differs=(
            f"{select} {join}{kept}{grouped}",
            *([f"{select} LEFT {join}{grouped}"] if conditions else []),
        ),
    )
