"""The vocabulary in which a domain is written: tables, columns, and the words people use for them.

A column is made by one of the functions below.

``spellings`` lists the names the column may have, ``"capacity_mw|capacity"``; each database picks one, so
that a model has to read the schema instead of remembering it.

``noun`` is what a person calls the column: ``"capacity"``, or ``"species|species"`` with an irregular plural.

``predicate`` is a verb phrase that fits after a plural subject, with ``{}`` where the value goes:
``"are in {}"``, ``"have {} beds"``, ``"were opened {}"``. What goes into ``{}`` depends on the kind of the
column: a category gets its value, a number "more than 30 km", a year or a date "before 1990" or "in March
2021". The predicate of a category or a flag is also negated, so it starts with *are*, *were*, *have* or a
verb in the present tense.

``pool`` is where texts come from: ``"Spain,Peru"`` for a category; for a label a template such as
``"{place} Ridge|North {place}"``, where the names in braces are pools of ``pools.py`` and ``#`` is a digit.

``nullable`` makes some values NULL and says both cases: ``"have no phone number/have a phone number"``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    spellings: tuple[str, ...]
    kind: str  # key, reference, label, category, number, year, date or flag
    noun: str
    plural: str
    predicate: str = ""
    pool: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float = 1
    unit: str = ""
    has_total: bool = False  # a sum over rows means something (weights do, ages do not)
    extremes: tuple[str, str] = ("highest", "lowest")  # adjectives of the noun: the highest price
    superlatives: tuple[str, ...] = ()  # adjectives of the row itself: the most expensive, the cheapest
    nullable: tuple[str, ...] = ()  # verb phrases for NULL and for NOT NULL
    parent: int = 0  # of a reference: position of the parent table in the domain
    link: str = ""  # of a reference: between child and parent, "turbines AT wind farms"
    verb: str = ""  # of a reference: between parent and child, "wind farms HAVE turbines"


@dataclass(frozen=True)
class Table:
    spellings: tuple[str, ...]
    noun: str
    plural: str
    columns: tuple[Column, ...]
    people: bool  # "patients who" rather than "visits that"


@dataclass(frozen=True)
class Domain:
    name: str
    tables: tuple[Table, ...]  # parents before the tables that refer to them


def domain(name: str, *tables: Table) -> Domain:
    return Domain(name, tables)


def table(spellings: str, noun: str, *columns: Column, people: bool = False) -> Table:
    singular, plural = _forms(noun)
    return Table(_split(spellings), singular, plural, columns, people)


def key(spellings: str) -> Column:
    """The primary key, numbered by the database."""
    return Column(_split(spellings), "key", "ID", "IDs")


def reference(spellings: str, parent: int, link: str, verb: str = "have") -> Column:
    """A foreign key to the domain's table number ``parent``: "<children> <link> <parents>", and
    "<parents> <verb> <children>" where the verb is *have* or in the past tense."""
    return Column(_split(spellings), "reference", "", "", parent=parent, link=link, verb=verb)


def label(spellings: str, noun: str, pool: str) -> Column:
    """The text by which people tell the rows apart; unique within a table."""
    return Column(_split(spellings), "label", *_forms(noun), f"have the {_forms(noun)[0]} {{}}", _split(pool))


def category(spellings: str, noun: str, predicate: str, pool: str, *, nullable: str = "") -> Column:
    """A text that several rows share."""
    return Column(
        _split(spellings),
        "category",
        *_forms(noun),
        predicate,
        _split(pool, ","),
        nullable=_split(nullable, "/"),
    )


def number(
    spellings: str,
    noun: str,
    low: float,
    high: float,
    predicate: str = "",
    *,
    step: float = 1,
    unit: str = "",
    total: bool = False,
    extremes: str = "highest/lowest",
    superlatives: str = "",
    nullable: str = "",
) -> Column:
    """A quantity from ``low`` to ``high`` in steps; a step that is not whole makes a decimal column."""
    singular, plural = _forms(noun)
    highest, lowest = _split(extremes, "/")
    return Column(
        _split(spellings),
        "number",
        singular,
        plural,
        predicate or f"have {article(singular)} {singular} of {{}}",
        low=low,
        high=high,
        step=step,
        unit=unit,
        has_total=total,
        extremes=(highest, lowest),
        superlatives=_split(superlatives, "/"),
        nullable=_split(nullable, "/"),
    )


def year(spellings: str, noun: str, low: int, high: int, predicate: str, *, superlatives: str = "") -> Column:
    """A calendar year kept as a whole number."""
    return Column(
        _split(spellings),
        "year",
        *_forms(noun),
        predicate,
        low=low,
        high=high,
        extremes=("latest", "earliest"),
        superlatives=_split(superlatives, "/"),
    )


def date(
    spellings: str,
    noun: str,
    low: int,
    high: int,
    predicate: str = "",
    *,
    superlatives: str = "",
    nullable: str = "",
) -> Column:
    """A day from the start of the year ``low`` to the end of the year ``high``, kept as ISO text."""
    singular, plural = _forms(noun)
    return Column(
        _split(spellings),
        "date",
        singular,
        plural,
        predicate or f"have {article(singular)} {singular} {{}}",
        low=low,
        high=high,
        extremes=("latest", "earliest"),
        superlatives=_split(superlatives, "/"),
        nullable=_split(nullable, "/"),
    )


def flag(spellings: str, predicate: str) -> Column:
    """Yes or no; the predicate holds where it is true."""
    return Column(_split(spellings), "flag", "", "", predicate)


def article(noun: str) -> str:
    vowel = noun[0].lower() in "aeiou" and not noun.startswith(("uni", "use", "usual", "one", "euro"))
    return "an" if vowel or noun.startswith(("hour", "honor")) else "a"


def pluralise(noun: str) -> str:
    head, of, rest = noun.partition(" of ")  # date of birth -> dates of birth
    if head.endswith("y") and head[-2] not in "aeiou":
        head = head[:-1] + "ies"
    elif head.endswith(("s", "x", "ch", "sh")):
        head += "es"
    else:
        head += "s"
    return head + of + rest


def _forms(noun: str) -> tuple[str, str]:
    singular, _, plural = noun.partition("|")
    return singular, plural or pluralise(singular)


def _split(text: str, separator: str = "|") -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator)) if text else ()
