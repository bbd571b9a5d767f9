"""Dates and times of other dialects for SQLite: ``STRICT`` are functions that are NULL if an argument is.

``register.py`` loads this file by its path; standard library only. A date is text as in 2024-05-31, a moment
2024-05-31 08:00:00, an interval its seconds, with months of 30 days. What the other engine would refuse raises ValueError.
"""

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

_WRITTEN = re.compile(r"(\d{4})[-/.](\d\d?)[-/.](\d\d?)(?![\d-])")
_OTHER_FORMS = re.compile(
    r"\d\d?[-/. ]\d\d?[-/. ]\d{2,4}|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|now|today|tomorrow|yesterday|epoch|inf",
    re.IGNORECASE,
)


def moment(value: object) -> datetime:
    """Of text that begins with the year. ValueError if it is none, or is a form whose meaning depends on settings."""
    text = _WRITTEN.sub(lambda at: f"{at[1]}-{at[2]:0>2}-{at[3]:0>2}", str(value).strip(), count=1)
    text = re.sub(r"^(.{10}[ T])(?=\d:)", r"\g<1>0", text)  # 8:30
    text = f"{text}:00" if re.search(r"\d[+-]\d\d$", text[10:]) else text  # 10:00:00+02
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        known = not _OTHER_FORMS.match(text)
        raise ValueError(
            f"{'not a date or time' if known else 'this form of a date is not read'}: {text[:40]!r}"
        ) from None


def text_of(when: datetime) -> str:
    return when.isoformat(sep=" ", timespec="microseconds" if when.microsecond else "seconds")


def to_date(value: object) -> str:
    return moment(value).date().isoformat()


def to_moment(value: object) -> str:
    return text_of(moment(value))


def days(late: object, early: object) -> int:
    return (moment(late).date() - moment(early).date()).days


def seconds(late: object, early: object) -> float:
    return whole((moment(late) - moment(early)).total_seconds())


def whole(number: float) -> float:
    return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 1e15 else number


def add(value: object, months: int, more: float, kind: str) -> str:
    """Months first, to the last day of a shorter month, then seconds. ``kind`` is date, moment, or as: like the value."""
    when = moment(value)
    if months:
        month = when.year * 12 + when.month - 1 + int(months)
        year, month = divmod(month, 12)
        last = (date(year + month // 11, (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
        when = when.replace(year=year, month=month + 1, day=min(when.day, last))
    when += timedelta(seconds=more)
    is_date = kind == "date" or (
        kind == "as" and len(str(value).strip()) <= 10 and not when.time().isoformat() > "00:00:00"
    )
    return when.date().isoformat() if is_date else text_of(when)


_PARTS: dict[str, Callable[[datetime], Any]] = {
    "year": lambda t: t.year,
    "month": lambda t: t.month,
    "day": lambda t: t.day,
    "hour": lambda t: t.hour,
    "minute": lambda t: t.minute,
    "second": lambda t: whole(t.second + t.microsecond / 1e6),
    "quarter": lambda t: (t.month + 2) // 3,
    "dow": lambda t: t.isoweekday() % 7,
    "isodow": lambda t: t.isoweekday(),
    "doy": lambda t: t.timetuple().tm_yday,
    "week": lambda t: t.isocalendar().week,
    "isoyear": lambda t: t.isocalendar().year,
    "epoch": lambda t: whole((t - datetime(1970, 1, 1)).total_seconds()),
    "decade": lambda t: t.year // 10,
    "century": lambda t: (t.year + 99) // 100,
}


def part(unit: str, value: object) -> Any:
    return _PARTS[unit](moment(value))


def interval_part(unit: str, value: float) -> Any:
    if unit == "epoch":
        return whole(value)
    sign, size = (-1 if value < 0 else 1), abs(value)
    of_day = size % 86400
    found = {"day": size // 86400, "hour": of_day // 3600, "minute": of_day % 3600 // 60, "second": of_day % 60}
    if unit not in found:
        raise ValueError(f"no {unit} of a difference of two times")
    return whole(sign * float(found[unit]))


def age_part(unit: str, late: object, early: object) -> int:
    """Of PostgreSQL's AGE(late, early): whole years, the months beyond them, the days beyond those."""
    end, begin = moment(late), moment(early)
    sign = 1
    if end < begin:
        end, begin, sign = begin, end, -1
    months = months_between(end, begin)
    if unit == "year":
        return sign * (months // 12)
    if unit == "month":
        return sign * (months % 12)
    if unit == "day":
        reached = moment(add(text_of(begin), months, 0, "moment"))
        return sign * (end - reached).days
    raise ValueError(f"no {unit} of AGE")


def months_between(end: datetime, begin: datetime) -> int:
    months = (end.year - begin.year) * 12 + end.month - begin.month
    return months - 1 if moment(add(text_of(begin), months, 0, "moment")) > end else months


def trunc(unit: str, value: object) -> str:
    when = moment(value)
    midnight = when.replace(hour=0, minute=0, second=0, microsecond=0)
    starts: dict[str, Callable[[], datetime]] = {
        "year": lambda: midnight.replace(month=1, day=1),
        "quarter": lambda: midnight.replace(month=(when.month - 1) // 3 * 3 + 1, day=1),
        "month": lambda: midnight.replace(day=1),
        "week": lambda: midnight - timedelta(days=when.weekday()),
        "day": lambda: midnight,
        "hour": lambda: when.replace(minute=0, second=0, microsecond=0),
        "minute": lambda: when.replace(second=0, microsecond=0),
        "second": lambda: when.replace(microsecond=0),
    }
    return text_of(starts[unit]())


_SECONDS = {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}


def boundaries(unit: str, late: object, early: object) -> int:
    """How many beginnings of the unit lie between: DATEDIFF of T-SQL, DATE_DIFF of DuckDB."""
    end, begin = moment(late), moment(early)
    if unit in ("year", "quarter", "month"):
        months = {"year": 12, "quarter": 3, "month": 1}[unit]
        return (end.year * 12 + end.month - 1) // months - (begin.year * 12 + begin.month - 1) // months
    between = moment(trunc(unit, late)) - moment(trunc(unit, early))
    return int(between.total_seconds()) // _SECONDS[unit]


def full(unit: str, late: object, early: object) -> int:
    """How many full units lie between: TIMESTAMPDIFF of MySQL."""
    end, begin = moment(late), moment(early)
    sign, end, begin = (1, end, begin) if end >= begin else (-1, begin, end)
    if unit in ("year", "quarter", "month"):
        return sign * (months_between(end, begin) // {"year": 12, "quarter": 3, "month": 1}[unit])
    return sign * int((end - begin).total_seconds() // _SECONDS[unit])


_MONTHS = "January February March April May June July August September October November December".split()
_WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_FORMATS: dict[str, Callable[[datetime], str]] = {
    "Y": lambda t: f"{t.year:04d}",
    "y": lambda t: f"{t.year % 100:02d}",
    "m": lambda t: f"{t.month:02d}",
    "-m": lambda t: str(t.month),
    "d": lambda t: f"{t.day:02d}",
    "-d": lambda t: str(t.day),
    "e": lambda t: str(t.day),
    "H": lambda t: f"{t.hour:02d}",
    "-H": lambda t: str(t.hour),
    "I": lambda t: f"{(t.hour + 11) % 12 + 1:02d}",
    "M": lambda t: f"{t.minute:02d}",
    "S": lambda t: f"{t.second:02d}",
    "f": lambda t: f"{t.microsecond:06d}",
    "j": lambda t: f"{t.timetuple().tm_yday:03d}",
    "p": lambda t: "PM" if t.hour >= 12 else "AM",
    "B": lambda t: _MONTHS[t.month - 1],
    "b": lambda t: _MONTHS[t.month - 1][:3],
    "A": lambda t: _WEEKDAYS[t.weekday()],
    "a": lambda t: _WEEKDAYS[t.weekday()][:3],
    "V": lambda t: f"{t.isocalendar().week:02d}",
    "G": lambda t: f"{t.isocalendar().year:04d}",
    "u": lambda t: str(t.isoweekday()),
    "w": lambda t: str(t.isoweekday() % 7),
    "T": lambda t: t.time().isoformat("seconds"),
    "F": lambda t: t.date().isoformat(),
    "%": lambda t: "%",
}


def format_time(value: object, layout: str) -> str:
    when = moment(value)

    def shown(found: re.Match[str]) -> str:
        if found[1] not in _FORMATS:
            raise ValueError(f"no %{found[1]} in a format")
        return _FORMATS[found[1]](when)

    return re.sub(r"%(-?.)", shown, layout)


STRICT: dict[str, Callable[..., Any]] = {
    "date": to_date, "moment": to_moment, "days": days, "seconds": seconds, "add": add, "part": part,
    "interval_part": interval_part, "age_part": age_part, "trunc": trunc, "boundaries": boundaries, "full": full,
    "format": format_time,
}  # fmt: skip
