"""A text as a list of items in order: words, and the numbers, dates, versions and brackets that must be the same."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from finetune.tasks.reference.numerals import (
    BODY,
    EXPONENT,
    GROUPS,
    POWER,
    SCALES,
    ascii_signs,
    commas_are_points,
    exponent_of,
    in_words,
    values,
)
from finetune.tasks.reference.times import DATES, TIMES, date, time
from finetune.tasks.reference.units import ESSENTIAL, NUMBERED, UNIT_OF
from finetune.tasks.words import plain

_LETTER = "A-Za-z_\u00b5\u00c0-\u024f\u0370-\u052f"
_ALONE = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # scripts without blanks
_AFTER = "|".join(sorted(map(re.escape, UNIT_OF), key=len, reverse=True))
# with a country code; with an area code that begins with 0; as in North America. Other digits with blanks can be anything
_PHONES = r"""(?<!\w)\+\d(?:[\ ().-]{0,2}\d){7,14}(?!\d)
    | (?<![\w.,/-])\(?0[1-9]\d{0,4}\)?(?:[\ /-]{1,3}|(?<=\)))\d{2,}(?:[\ -]\d{2,}){0,3}(?![\w/-]|[.,:]\d)
    | (?<![\w.,/-])(?:\(\d{3}\)\ ?|\d{3}[-.\ ])\d{3}[-.]\d{4}(?![\w/-]|[.,:]\d)"""
_PART = re.compile(
    rf"""
      (?P<address> (?:https?://|www\.)[^\s<>"']+ | [\w.+-]{{1,64}}@[\w-]{{1,64}}\.[\w.-]{{0,64}}\w )
    | (?P<date> {DATES} )
    | (?P<time> {TIMES} )
    | (?P<phone> {_PHONES} )
    | (?P<hex> (?<!\w)0x[0-9a-f]+ )
    | (?P<version> (?<![\w.])v\d+(?:\.\d+)*(?!\w) )
    | (?P<name> (?<!\w)[{_LETTER}]+\d\w* )
    | (?P<times> (?<=\d)[x×](?=\d) )
    | (?P<number> (?P<sign>(?<![\w)\]}}%.])[-+])?
        (?:(?P<before>us\$|[$€£¥]|(?<![{_LETTER}])(?:usd|eur|gbp|jpy)(?=\s))\s?(?P<inner>-)?)?
        (?P<body>{BODY})(?P<exponent>{EXPONENT})?(?P<scale>k(?!\w)|\s?(?:{"|".join(SCALES)})(?!\w))?
        (?P<unit>\s?(?:{_AFTER})(?![\w/])|[{_LETTER}]+(?!\w))?
      )
    | (?P<bracket> [\[\]{{}}] )
    | (?P<limit> (?<![-=<])[<>≤≥≠±]=?(?=\s?[-+]?[$€£]?\.?\d) )
    | (?P<other> \*\*|[*/+^×÷=|&@%]|(?<=\s)-(?=\s) )
    | (?P<word> [{_ALONE}] | [^\W\d{_ALONE}]+(?:['\u2019][^\W\d{_ALONE}]+)? | \w )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_MARKER = re.compile(r"^[ \t]*(?:\d{1,3}[.)]|[-*•+])[ \t]+(?=\S)", re.MULTILINE)
_EMPHASIS = re.compile(r"(?<!\d)(?:\*\*|__)(?=\S)|(?<=\S)(?:\*\*|__)(?!\d)|^#{1,6}[ \t]+", re.MULTILINE)
_SAME_SIGN = {"×": "*", "x": "*", "÷": "/", "**": "^", "<=": "≤", ">=": "≥"}


@dataclass(frozen=True)
class Item:
    """``key`` is the same for what means the same. A ``hard`` one must be in both texts; an ``optional`` one may be missing."""

    key: str
    raw: str
    hard: bool = False
    optional: bool = False
    is_number: bool = False
    unit: str = ""
    limit: str = ""  # as in "> 5"

    def same(self, other: "Item") -> bool:
        """A unit, or a sign like <, that one of the two lacks is no contradiction."""
        if self.unit != other.unit and ((self.unit and other.unit) or {self.unit, other.unit} & ESSENTIAL):
            return False
        if self.limit and other.limit and self.limit != other.limit:
            return False
        return self.key == other.key or (self.hard and other.hard and self.raw == other.raw)


def items(text: str, like: str = "", *, listed: bool = False) -> list[Item]:
    """The items of a text. ``like``: if its own numbers do not tell whether they have a decimal comma, those of this text do.
    ``listed``: "1,5" are two numbers."""
    text = ascii_signs(_without_markers(text))
    comma = commas_are_points(text)
    if comma is None:
        comma = bool(commas_are_points(ascii_signs(like)))
    found: list[Item] = []
    for match in _PART.finditer(text):
        found += _items_of(match, found[-1] if found else None, comma=comma, listed=listed)
    return list(_with_signs(list(_with_words(found))))


def _without_markers(text: str) -> str:
    """Without the numbers and bullets of a list, and the marks of Markdown."""
    text = _EMPHASIS.sub("", text)
    return _MARKER.sub("", text) if len(_MARKER.findall(text)) > 1 else text


def _items_of(match: re.Match[str], last: Item | None, *, comma: bool, listed: bool) -> Iterator[Item]:
    raw = match[0].casefold()
    if match["number"] is not None:
        yield from _numbers(match, last, comma=comma, listed=listed)
    elif match["date"] is not None:
        yield Item(date(raw), raw, hard=True, is_number=True)
    elif match["time"] is not None:
        yield Item(time(raw), raw, hard=True, is_number=True)
    elif match["phone"] is not None:
        yield Item(re.sub(r"[^\d+]", "", raw), raw, hard=True, is_number=True)
    elif match["address"] is not None:
        yield Item(raw.rstrip(".,;:!?)"), raw, hard=any(map(str.isdigit, raw)))
    elif match["version"] is not None:
        yield Item(raw.removeprefix("v"), raw.removeprefix("v"), hard=True)
    elif match["word"] is not None:
        yield Item(plain(raw), raw)
    else:
        of_text = match["hex"] is not None or match["name"] is not None or match["bracket"] is not None
        yield Item(_SAME_SIGN.get(raw, raw), raw, hard=of_text)


def _numbers(match: re.Match[str], last: Item | None, *, comma: bool, listed: bool) -> Iterator[Item]:
    body, scale = match["body"], (match["scale"] or "").strip().casefold()
    unit = (match["unit"] or "").strip().casefold()
    unit = UNIT_OF.get(unit, unit) or UNIT_OF.get((match["before"] or "").casefold(), "")
    if match["sign"] == "+" and last and last.is_number:  # 5 +3
        yield Item("+", "+")
    negative = "-" in (match["sign"] or "") + (match["inner"] or "") or (last and last.key in ("minus", "negative"))
    sign = "-" if negative else ""
    written = sign + body + (match["exponent"] or "").casefold() + scale
    exponent = exponent_of(match["exponent"]) + SCALES.get(scale, 0)
    if body == "10" and POWER.fullmatch(match["exponent"] or ""):
        exponent -= 1  # 10^3 is 1e3
    found = values(body, exponent, comma=comma, listed=listed)
    if last and last.key in NUMBERED and len(found) == 1 and not match["exponent"] and not scale:
        found = [body]
    parts = re.split(f"[,{GROUPS}]", body)
    for at, value in enumerate(found):
        key = value if value == "0" else sign + value
        of = unit if at == len(found) - 1 else ""
        raw = written if len(found) == 1 else parts[at] if len(parts) == len(found) else key
        yield Item(key, raw, hard=True, unit=of, is_number=True)
    if unit:
        yield Item(f"unit {unit}", unit)


def _with_words(found: list[Item]) -> Iterator[Item]:
    """The items with numbers in words as numbers. "One" can also be a word, so it may be missing."""
    at = 0
    while at < len(found):
        number = in_words([one.key for one in found[at : at + 12]])
        if number is None:
            yield found[at]
            at += 1
            continue
        value, used = number
        raw = " ".join(one.raw for one in found[at : at + used])
        negative = at > 0 and found[at - 1].key in ("minus", "negative")
        at += used
        unit = UNIT_OF.get(found[at].key, "") if at < len(found) else ""
        value = f"-{value}" if negative and value != "0" else value
        yield Item(value, raw, hard=True, optional=raw == "one", is_number=True, unit=unit)
        if unit:
            yield Item(f"unit {unit}", unit)
            at += 1


def _with_signs(found: list[Item]) -> Iterator[Item]:
    """A sign between two numbers must be the same: 5 + 3 is not 5 / 3. One before a number belongs to it."""
    for at, item in enumerate(found):
        before, after = (found[place] if 0 <= place < len(found) else None for place in (at - 1, at + 1))
        between = before and after and after.is_number and (before.is_number or before.key.startswith("unit "))
        if before and before.raw in ("<", ">", "<=", ">=", "≤", "≥", "≠", "±") and item.is_number:
            yield replace(item, limit=before.key)
        elif item.key in ("*", "/", "+", "^", "x", "-") and between:  # 5 - 10 can also be a range
            yield replace(item, key=_SAME_SIGN.get(item.key, item.key), hard=True, optional=item.key == "-")
        elif item.key not in ("*", "-"):  # of Markdown, and a dash
            yield item


def agree(expected: Sequence[Item], found: Sequence[Item]) -> tuple[Item | None, Item | None] | None:
    """The first place at which the hard items of two texts differ, None on a side that ends there; None if they agree."""
    ones, others = ([item for item in side if item.hard] for side in (expected, found))
    at = other_at = 0
    while at < len(ones) or other_at < len(others):
        one = ones[at] if at < len(ones) else None
        other = others[other_at] if other_at < len(others) else None
        if one and other and one.same(other):
            at, other_at = at + 1, other_at + 1
        elif one and one.optional:
            at += 1
        elif other and other.optional:
            other_at += 1
        else:
            return one, other
    return None
