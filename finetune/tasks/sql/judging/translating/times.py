"""Dates, moments and intervals of other dialects as calls of ``judging/functions/dates.py``.

An interval is a number of seconds, with months of 30 days as PostgreSQL compares them; added to a date, it keeps its months.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlglot import exp

from finetune.tasks.sql.judging.functions import dates
from finetune.tasks.sql.judging.translating.calls import Node, call, text_literal, typed, whole_literal
from finetune.tasks.sql.judging.translating.tables import Untranslated, kind_of

_MONTHS = {"month": 1, "quarter": 3, "year": 12, "decade": 120}
_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_UNITS = {
    "mon": "month",
    "min": "minute",
    "sec": "second",
    "hr": "hour",
    "yr": "year",
    "weekday": "dow",
    "dayofweek": "dow",
}
_UNITS |= {
    "dayofyear": "doy",
    "yyyy": "year",
    "yy": "year",
    "mm": "month",
    "dd": "day",
    "hh": "hour",
    "isoweek": "week",
}
_PARTS = frozenset("year month day hour minute second quarter dow isodow doy week isoyear epoch decade century".split())
_SUNDAY = ("tsql", "bigquery")  # dialects whose weeks begin with it
_NUMBER_UNIT = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)


def unit_of(node: Node | str | None) -> str:
    """A unit in small letters and the singular."""
    name = (node if isinstance(node, str) else node.name if node is not None else "day").lower()
    name = name if name in _PARTS else name.removesuffix("s")
    return _UNITS.get(name, name)


def interval_of(node: exp.Interval) -> tuple[int, float]:
    """Months and seconds of an interval of constants; Untranslated if it is of something else."""
    value = node.this
    text = value.name if isinstance(value, exp.Literal) else ""
    if isinstance(value, exp.Neg):
        text = f"-{value.this.name}"
    unit = node.args.get("unit")
    pairs = [(text, unit.name)] if unit is not None else _NUMBER_UNIT.findall(text)
    if unit is None and (clock := re.fullmatch(r"(\d+):(\d\d)(?::(\d\d))?", text)):
        pairs = [(clock[1], "hour"), (clock[2], "minute"), (clock[3] or "0", "second")]
    if not pairs or (unit is None and not clock_or_pairs(text)):
        raise Untranslated(f"the interval {text or node.sql()!r}")
    months, seconds = 0, 0.0
    for number, name in pairs:
        one = unit_of(name)
        if not re.fullmatch(r"[+-]?\d+(\.\d+)?", number) or one not in {**_MONTHS, **_SECONDS}:
            raise Untranslated(f"the interval {text!r}")
        if one in _MONTHS:
            if not float(number).is_integer():
                raise Untranslated(f"the interval {text!r}")
            months += int(float(number)) * _MONTHS[one]
        else:
            seconds += float(number) * _SECONDS[one]
    return months, seconds


def clock_or_pairs(text: str) -> bool:
    """Whether a text is nothing but numbers with units, or a clock."""
    return not _NUMBER_UNIT.sub("", text).strip(" ,") or re.fullmatch(r"\d+:\d\d(:\d\d)?", text) is not None


def _number(value: float) -> Node:
    return (
        exp.Literal.number(str(int(value) if float(value).is_integer() else value))
        if value >= 0
        else exp.Neg(this=_number(-value))
    )


def interval_seconds(node: exp.Interval) -> Node:
    months, seconds = interval_of(node)
    return typed(_number(months * 30 * 86_400 + seconds), "interval")


def moment(node: Node) -> Node:
    """As a moment; a constant becomes another constant, so that the judge still finds it."""
    if isinstance(node, exp.Literal) and (when := _parsed(node.name)):
        return typed(exp.Literal.string(when.isoformat(sep=" ")), "moment")
    return call("moment", node, kind="moment")


def day(node: Node) -> Node:
    if isinstance(node, exp.Literal) and (when := _parsed(node.name)):
        return typed(exp.Literal.string(when.date().isoformat()), "date")
    return call("date", node, kind="date")


def _parsed(text: str) -> datetime | None:
    try:
        return dates.moment(text)
    except ValueError:
        return None


def with_interval(node: Any, dialect: str) -> Node:
    """A date plus or minus an interval of constants, as one call whose first argument is still to be rewritten."""
    if not isinstance(node, exp.Add | exp.Sub):
        return node
    left, right = node.this, node.expression
    if isinstance(node, exp.Add) and isinstance(left, exp.Interval) and kind_of(right) in ("date", "moment"):
        left, right = right, left
    if isinstance(right, exp.Interval) and kind_of(left) != "interval":
        months, seconds = interval_of(right)
        sign = -1 if isinstance(node, exp.Sub) else 1
        kind = _sum_kind(dialect)
        made = exp.Anonymous(
            this="ft_add", expressions=[left, _number(sign * months), _number(sign * seconds), text_literal(kind)]
        )
        is_date = kind == "as" and kind_of(left) == "date" and not seconds % 86_400
        return typed(made, "date" if is_date else "moment")
    return node


def _sum_kind(dialect: str) -> str:
    """What a date plus an interval is: a moment in PostgreSQL and DuckDB, a date in MySQL if it is of whole days."""
    return "moment" if dialect in ("postgres", "duckdb") else "as"


def added(node: exp.Add | exp.Sub, dialect: str) -> Node | None:
    """A sum or difference with a date in it; None if there is none. The sides are rewritten."""
    left, right = kind_of(node.this), kind_of(node.expression)
    minus = isinstance(node, exp.Sub)
    if not {left, right} & {"date", "moment"}:
        return None
    if minus and left and right in ("date", "moment", "text") and left in ("date", "moment", "text"):
        if dialect not in ("postgres", "duckdb", "oracle"):
            raise Untranslated("a difference of two dates")
        if "moment" not in (left, right):
            return call("days", node.this, node.expression, kind="int")
        return call("seconds", node.this, node.expression, kind="interval")
    if not minus and right in ("date", "moment"):
        left, right, value, more = right, left, node.expression, node.this
    else:
        value, more = node.this, node.expression
    sign: Callable[[Node], Node] = (lambda one: exp.Neg(this=exp.paren(one))) if minus else (lambda one: one)
    if right == "interval":
        return call("add", value, whole_literal(0), sign(more), text_literal("moment"), kind="moment")
    if right in ("int", "real") and left == "date" and dialect in ("postgres", "duckdb", "oracle"):
        seconds = exp.Mul(this=exp.paren(sign(more)), expression=whole_literal(86_400))
        return call("add", value, whole_literal(0), seconds, text_literal("date"), kind="date")
    raise Untranslated("arithmetic with a date")


def of_age(node: exp.Extract) -> list[Node] | None:
    """The unit and both moments of EXTRACT(unit FROM AGE(late, early)); None if it is something else."""
    inner = node.expression
    if (
        isinstance(inner, exp.Anonymous)
        and str(inner.this).upper() == "AGE"
        and inner.expressions
        and unit_of(node.this) in ("year", "month", "day")
    ):
        late = inner.expressions[0] if len(inner.expressions) == 2 else exp.CurrentDate()
        return [text_literal(unit_of(node.this)), late, inner.expressions[-1]]
    return None


def extract(node: exp.Extract, dialect: str) -> Node:
    return part_of(unit_of(node.this), node.expression, dialect)


def part_of(unit: str, value: Node, dialect: str) -> Node:
    unit = unit_of(unit)
    if unit not in _PARTS or (unit == "week" and dialect in ("mysql", *_SUNDAY)):
        raise Untranslated(f"EXTRACT({unit.upper()})")
    if kind_of(value) == "interval":
        return call("interval_part", text_literal(unit), value, kind="real")
    found = call(
        "part",
        text_literal(unit),
        value,
        kind="real" if unit in ("second", "epoch") or dialect == "postgres" else "int",
    )
    if unit == "dow" and dialect in ("mysql", "tsql", "bigquery", "spark"):
        return typed(exp.paren(exp.Add(this=found, expression=whole_literal(1))), "int")
    return found


def named_part(unit: str) -> Callable[[Any, str], Node]:
    return lambda node, dialect: part_of(unit, node.this, dialect)


def truncated(node: exp.TimestampTrunc, dialect: str) -> Node:
    unit = unit_of(node.args.get("unit"))
    of_week = unit == "week" and dialect in _SUNDAY
    if unit not in {*_SECONDS, "month", "quarter", "year"} or of_week or node.args.get("zone"):
        raise Untranslated(f"DATE_TRUNC({unit})")
    found = call("trunc", text_literal(unit), node.this, kind="moment")
    to_date = dialect == "bigquery" or (dialect == "duckdb" and kind_of(node.this) == "date")
    return call("date", found, kind="date") if to_date else found


def shifted(node: Any, dialect: str) -> Node:
    """DATE_ADD and its kin: a number of units more or less."""
    unit, amount = unit_of(node.args.get("unit")), node.expression
    if isinstance(amount, exp.Interval):
        months, seconds = interval_of(amount)
        many, size = (months, 0.0) if months else (0, seconds)
        amount, step = whole_literal(1), many or size
        by_month = bool(months)
    else:
        if unit not in {**_MONTHS, **_SECONDS}:
            raise Untranslated(f"{node.sql_name()} of {unit}")
        by_month, step = unit in _MONTHS, _MONTHS.get(unit) or _SECONDS[unit]
    if isinstance(amount, exp.Literal) and amount.is_string:
        amount = exp.Literal.number(amount.name)
    step *= -1 if node.key.endswith("sub") else 1
    total = exp.Mul(this=exp.paren(amount), expression=_number(step))
    nothing = whole_literal(0)
    given = (total, nothing) if by_month else (nothing, total)
    is_date = kind_of(node.this) == "date" and (by_month or unit in ("day", "week")) and _sum_kind(dialect) == "as"
    kind = "date" if is_date else _sum_kind(dialect)
    return call("add", node.this, *given, text_literal(kind), kind="date" if is_date else "moment")


def difference(node: exp.DateDiff, dialect: str) -> Node:
    unit = unit_of(node.args.get("unit"))
    if unit == "day":
        return call("days", node.this, node.expression, kind="int")
    of_week = unit == "week" and dialect in _SUNDAY
    if unit not in {*_SECONDS, "month", "quarter", "year"} or of_week or dialect == "spark":  # which counts full units
        raise Untranslated(f"DATEDIFF in {unit}")
    return call("boundaries", text_literal(unit), node.this, node.expression, kind="int")


def full_difference(node: exp.TimestampDiff, dialect: str) -> Node:
    return call("full", text_literal(unit_of(node.args.get("unit"))), node.this, node.expression, kind="int")


def formatted(node: exp.TimeToStr, dialect: str) -> Node:
    layout = node.args.get("format")
    if not isinstance(layout, exp.Literal) or kind_of(node.this) not in ("date", "moment"):
        raise Untranslated("a format of something else than a date")
    if re.search("[A-Za-z]", re.sub(r"%-?.", "", layout.name).replace("T", "")):
        raise Untranslated(f"the format {layout.name!r}")
    return call("format", node.this, layout, kind="text")


def name_of(layout: str) -> Callable[[Any, str], Node]:
    return lambda node, dialect: call("format", node.this, text_literal(layout), kind="text")


def last_day(node: exp.LastDay, dialect: str) -> Node:
    month = call(
        "add",
        call("trunc", text_literal("month"), node.this),
        whole_literal(1),
        whole_literal(0),
        text_literal("moment"),
    )
    return call("add", month, whole_literal(0), _number(-86_400), text_literal("date"), kind="date")


def as_moment(node: Any, dialect: str) -> Node:
    return node.this if kind_of(node.this) in ("date", "moment") else moment(node.this)


def as_day(node: Any, dialect: str) -> Node:
    return node.this if kind_of(node.this) == "date" else day(node.this)


HANDLERS: dict[str, Callable[[Any, str], Node]] = {
    "interval": lambda node, dialect: interval_seconds(node),
    "extract": extract, "timestamptrunc": truncated, "datetrunc": truncated, "datetimetrunc": truncated,
    "dateadd": shifted, "datesub": shifted, "timestampadd": shifted, "timestampsub": shifted, "datetimeadd": shifted,
    "datetimesub": shifted, "tsordsadd": shifted, "datediff": difference, "tsordsdiff": difference,
    "timestampdiff": full_difference, "datetimediff": full_difference, "timetostr": formatted,
    "dayname": name_of("%A"), "monthname": name_of("%B"), "lastday": last_day, "timestrtotime": as_moment,
    "tsordstotimestamp": as_moment, "tsordstodate": as_day, "datestrtodate": as_day, "date": as_day, "timestamp": as_moment,
    "year": named_part("year"), "month": named_part("month"), "day": named_part("day"), "dayofmonth": named_part("day"),
    "quarter": named_part("quarter"), "week": named_part("week"), "weekofyear": named_part("week"),
    "dayofweek": named_part("dow"), "dayofyear": named_part("doy"), "hour": named_part("hour"),
    "minute": named_part("minute"), "second": named_part("second"),
}  # fmt: skip
