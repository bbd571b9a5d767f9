"""Tests of one column, in SQL and in English."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from finetune.tasks.sql.rows.database import Entity, Field, Value, literal
from finetune.tasks.sql.rows.schema import article
from finetune.tasks.sql.rows.wording import MONTHS, Unsuitable, Voice, listing, negated

# kind of column -> operator -> ways to say it
COMPARISONS: dict[str, dict[str, tuple[str, ...]]] = {
    "number": {
        ">": ("more than {}", "over {}"),
        ">=": ("at least {}", "{} or more"),
        "<": ("less than {}", "under {}"),
        "<=": ("at most {}", "{} or less", "no more than {}"),
        "=": ("exactly {}",),
    },
    "year": {
        ">": ("after {}",),
        ">=": ("in or after {}", "in {} or later"),
        "<": ("before {}",),
        "<=": ("in or before {}", "in {} or earlier"),
        "=": ("in {}",),
    },
    "date": {
        ">": ("after {}",),
        ">=": ("on or after {}",),
        "<": ("before {}",),
        "<=": ("on or before {}",),
    },
}
# The same after "whose price is", where it differs.
WHOSE_COMPARISONS: dict[str, dict[str, tuple[str, ...]]] = {
    "number": {
        ">": ("above {}", "greater than {}", "more than {}"),
        "<": ("below {}", "less than {}"),
        "=": ("{}",),
    },
    "year": {">=": ("{} or later",), "<=": ("{} or earlier",), "=": ("{}",)},
}
PREPOSITIONS = frozenset("at by for from in of on over under with within above below between".split())
PARTICIPLES = frozenset("made built held grown written born sold sent led run taken caught bred kept sung shot".split())


@dataclass(frozen=True)
class Condition:
    """A test of one column: SQL with ``{}`` for the column, and the words for it."""

    field: Field
    test: str
    that: str  # after "stations that": a verb phrase, plural
    whose: str = ""  # after "stations whose"; empty where the column has no such form

    @property
    def sql(self) -> str:
        return self.test.replace("{}", self.field.name)

    @property
    def full_sql(self) -> str:
        return self.test.replace("{}", self.field.full)

    @property
    def modifier(self) -> str:
        """The condition as words that follow the noun directly, "in Spain", "with 12 beds"; may be empty."""
        verb, _, rest = self.that.partition(" ")
        first, _, more = rest.partition(" ")
        if verb == "have" and first not in ("not", "been"):
            return f"with {rest}"
        if verb in ("are", "were") and more and (first in PREPOSITIONS | PARTICIPLES or first.endswith("ed")):
            return rest
        return ""


def relative(entity: Entity) -> str:
    return "who" if entity.table.people else "that"


def rows_where(voice: Voice, entity: Entity, conditions: Sequence[Condition], conjunction: str = "and") -> str:
    """The rows as a plural noun phrase: "stations in Spain that have more than 12 platforms"."""
    plural, who = entity.table.plural, relative(entity)
    if not conditions:
        return plural
    join = f" {conjunction} "
    forms = [f"{plural} {who} {join.join(condition.that for condition in conditions)}"]
    if all(condition.whose for condition in conditions):
        forms.append(plural + " " + join.join(f"whose {condition.whose}" for condition in conditions))
    first = conditions[0].modifier
    if first and len(conditions) == 1:
        forms += 2 * [f"{plural} {first}"]
    elif first and conjunction == "and":
        forms += 2 * [f"{plural} {first} {who} {join.join(condition.that for condition in conditions[1:])}"]
    return voice.pick(forms)


# Literals come from stored values; whether they select some rows but not all is seen by running the query.


def equal(voice: Voice, field: Field) -> Condition:
    value = voice.pick(field.known)
    predicate = field.column.predicate
    said = voice.text(value, predicate)
    return Condition(field, f"{{}} = {literal(value)}", predicate.format(said), f"{field.column.noun} is {said}")


def not_equal(voice: Voice, field: Field) -> Condition:
    value = voice.pick(field.known)
    predicate = field.column.predicate
    said = voice.text(value, predicate)
    whose = f"{field.column.noun} is {voice.pick(('not', 'anything but', 'different from'))} {said}"
    return Condition(field, f"{{}} <> {literal(value)}", negated(predicate.format(said)), whose)


def one_of(voice: Voice, field: Field) -> Condition:
    different = sorted(set(field.known))
    if len(different) < 3:
        raise Unsuitable
    values = voice.rng.sample(different, voice.rng.randint(2, min(3, len(different) - 1)))
    predicate = field.column.predicate
    said = listing([voice.text(value, predicate) for value in values], "or")
    test = f"{{}} IN ({', '.join(literal(value) for value in values)})"
    whose = f"{field.column.noun} is {voice.pick(('', 'either ')) if len(values) == 2 else ''}{said}"
    return Condition(field, test, predicate.format(said), whose)


def compared(voice: Voice, field: Field, operators: Sequence[str] = (">", ">=", "<", "<=", "=")) -> Condition:
    """A number, year or date against a stored value, or a number against a round value near it."""
    kind, predicate = field.column.kind, field.column.predicate
    operator = voice.pick([operator for operator in operators if operator in COMPARISONS[kind]])
    value = voice.pick(field.known)
    if kind == "number" and operator in "<>" and voice.chance(0.6):
        value = _rounded(value)
    said = voice.amount(field, value)
    phrase = voice.pick(COMPARISONS[kind][operator]).format(said)
    if not predicate.endswith("{}"):  # something is counted: "have fewer than 12 beds"
        phrase = phrase.replace("less", "fewer")
    ways = WHOSE_COMPARISONS.get(kind, {}).get(operator) or COMPARISONS[kind][operator]
    whose = f"{field.column.noun} is {voice.pick(ways).format(said)}"
    return Condition(field, f"{{}} {operator} {literal(value)}", predicate.format(phrase), whose)


def between(voice: Voice, field: Field) -> Condition:
    values = sorted(set(field.known))
    if len(values) < 4:
        raise Unsuitable
    first = voice.rng.randrange(len(values) - 1)
    low, high = values[first], values[voice.rng.randrange(first + 1, len(values))]
    if field.column.kind == "date":
        span = f"between {voice.amount(field, low)} and {voice.amount(field, high)}"
    else:
        ways = ("between {} and {}",) if " of {}" in field.column.predicate else ("between {} and {}", "from {} to {}")
        span = voice.pick(ways).format(literal(low), voice.amount(field, high))
    end = voice.pick((" inclusive", ", inclusive", " (inclusive)", ", both included"))
    test = f"{{}} BETWEEN {literal(low)} AND {literal(high)}"
    return Condition(field, test, field.column.predicate.format(span) + end, f"{field.column.noun} is {span}{end}")


def like(voice: Voice, field: Field) -> Condition:
    words = str(voice.pick(field.known)).split()
    if len(words) == 1:  # a code: its first, middle and last characters
        code = words[0]
        words = [code[:2], code[1:4], code[-2:]]
    kind = voice.pick(("starts", "starts", "contains", "contains", "ends"))
    if kind == "starts":
        part = words[0] if voice.chance(0.6) else words[0][: voice.pick((1, 1, 2, 3))]
        verb, joined, pattern = voice.pick(("starts with", "begins with")), "starting with", f"{part}%"
    elif kind == "ends":
        part = words[-1]
        verb, joined, pattern = "ends with", "ending with", f"%{part}"
    else:
        part = voice.pick(words)
        verb, joined, pattern = voice.pick(("contains", "includes")), "containing", f"%{part}%"
    column = field.column
    that = f"have {article(column.noun)} {column.noun} {joined} '{part}'"
    return Condition(field, f"{{}} LIKE {literal(pattern)}", that, f"{column.noun} {verb} '{part}'")


def missing(voice: Voice, field: Field) -> Condition:
    null, not_null = field.column.nullable
    if voice.chance(0.5):
        return Condition(field, "{} IS NULL", null)
    return Condition(field, "{} IS NOT NULL", not_null)


def flagged(voice: Voice, field: Field) -> Condition:
    value = voice.pick(field.values)
    predicate = field.column.predicate
    return Condition(field, f"{{}} = {literal(value)}", predicate if value else negated(predicate))


def in_period(voice: Voice, field: Field) -> Condition:
    """A date in a year, in a month of a year, or in a month of any year."""
    day = date.fromisoformat(str(voice.pick(field.known)))
    month = MONTHS[day.month - 1]
    span = voice.pick(("year", "year", "month", "any"))
    if span == "year":
        said, form, value = f"in {day.year}", "%Y", f"{day.year}"
    elif span == "month":
        said, form, value = f"in {month} {day.year}", "%Y-%m", f"{day.year}-{day.month:02}"
    else:
        said, form, value = f"in {month} of any year", "%m", f"{day.month:02}"
    whose = f"{field.column.noun} {voice.pick(('is', 'falls'))} {said}"
    return Condition(field, f"strftime('{form}', {{}}) = '{value}'", field.column.predicate.format(said), whose)


def _rounded(value: Value) -> Value:
    """A rounder number near the value: 1283 -> 1300, 47 -> 50, 3.7 -> 4."""
    size = 10 ** max(0, len(str(int(value))) - 2)
    size = size // 2 * 5 if size >= 10 else 5 if value >= 20 else 1
    return max(1, round(value / size)) * size


def condition(voice: Voice, entity: Entity, avoid: Sequence[Field] = ()) -> Condition:
    """A test of any plain kind on a column that is not among ``avoid``."""
    field = voice.pick(
        [field for field in entity.of("category", "number", "year", "date", "flag") if field not in avoid]
    )
    match field.column.kind:
        case "category":
            return equal(voice, field) if voice.chance(0.85) else not_equal(voice, field)
        case "flag":
            return flagged(voice, field)
        case "date" if voice.chance(0.5):
            return in_period(voice, field)
    # A measured quantity is seldom asked for by its exact value.
    exact = field.column.kind == "year" or voice.chance(0.1)
    return compared(voice, field, (">", ">=", "<", "<=", "=") if exact else (">", ">=", "<", "<="))
