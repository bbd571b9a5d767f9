"""Dates and times of day in a text, each in the one form of what it means."""

import re

_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "|".join(f"{name}|{name[:3]}" for name in _MONTHS) + "|sept"
_NAMED = re.compile(_MONTH)

# patterns for re.VERBOSE and re.IGNORECASE
DATES = rf"""(?<![\d-])\d{{4}}-\d{{1,2}}-\d{{1,2}}(?![\d-])
    | (?<![\d./])\d{{1,2}}(?:\.\d{{1,2}}\.|/\d{{1,2}}/)(?:\d{{4}}|\d\d)(?![\d./]*\d)
    | (?<!\w)\d{{1,2}}(?:st|nd|rd|th)?\ (?:of\ )?(?:{_MONTH})\.?,?\ \d{{4}}(?!\w)
    | (?<!\w)(?:{_MONTH})\.?\ \d{{1,2}}(?:st|nd|rd|th)?,?\ \d{{4}}(?!\w)"""
TIMES = r"""(?<![\d:])(?:\d{1,2}:\d\d(?::\d\d)?(?:\s?[ap]\.?m\b)? | \d{1,2}\s?[ap]\.?m\b)(?![:\d])"""


def date(text: str) -> str:
    """A text that ``DATES`` matches, in small letters, as year-month-day; as it stands if it may be either of two days."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    if named := _NAMED.search(text):
        day, year = numbers
        return f"{year}-{_MONTHS.index(next(name for name in _MONTHS if name[:3] == named[0][:3])) + 1}-{day}"
    first, second, third = numbers
    if "-" in text:
        return f"{first}-{second}-{third}"
    if "." in text:  # or a version, for which any order does
        return f"{third}-{second}-{first}"
    if first <= 12 and second <= 12 and first != second:
        return text  # a day and a month, or a month and a day
    day, month = (second, first) if second > 12 else (first, second)
    return f"{third}-{month}-{day}"


def time(text: str) -> str:
    """A text that ``TIMES`` matches, in small letters, as hours, minutes and perhaps seconds of a day of 24 hours."""
    hour, *rest = map(int, re.findall(r"\d+", text))
    if "m" in text:
        hour = hour % 12 + (12 if "p" in text else 0)
    return ":".join(map(str, [hour, *(rest or [0])]))
