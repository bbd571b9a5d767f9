"""How a number can be written: digits with separators of any country, exponents, words; one form for what is the same."""

import re
import unicodedata

_MINUS = dict.fromkeys(map(ord, "\u2212\uff0d\ufe63\u2010\u2011\u2012\u2013"), "-")
_SIGNS = {
    ord(sign): plain for sign, plain in zip("\uff0c\u066c\uff0e\u066b\uff05\u066a\uff0b\u2044", ",,..%%+/", strict=True)
}
_FRACTION = re.compile("[\u00bc-\u00be\u2150-\u215e\u2189]")  # one half and others in a character
_BEFORE_FRACTION = re.compile(rf"(?<=\d)(?={_FRACTION.pattern})")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
GROUPS = "'\u2019_\u00a0\u202f\u2009"  # what parts thousands and nothing else

BODY = rf"\d+(?:[.,{GROUPS}]\d+)*|\.\d+"
_RAISED_TO = r"(?:\^|\*\*)\s?[+-]?\d{1,6}|[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,6}"
POWER = re.compile(_RAISED_TO)  # of ten alone
EXPONENT = rf"[eE][+-]?\d{{1,6}}(?!\w)|\s?[x×·*]\s?10\s?(?:{_RAISED_TO})|(?<=(?<!\d)10)(?:{_RAISED_TO})"
SCALES = {"k": 3, "hundred": 2, "thousand": 3, "million": 6, "mn": 6, "billion": 9, "bn": 9, "trillion": 12}

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
).split()
_TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
NUMBER_WORDS = {name: value for value, name in enumerate(_SMALL)} | _TENS
_IN_COMMAS = re.compile(r"(?<![\d.,])(?:\d{1,3}(?:\.\d{3})+,\d+|0,\d+|\d+,(?:\d{1,2}|\d{4,}))(?![\d.,]*\d)")
_IN_POINTS = re.compile(r"(?<![\d.,])(?:\d{1,3}(?:,\d{3})+\.\d+|0\.\d+|\d+\.(?:\d{1,2}|\d{4,}))(?![\d.,]*\d)")


def ascii_signs(text: str) -> str:
    """The text with the digits of ASCII, and its minus, comma and point in numbers."""
    if text.isascii():
        return text
    text = _FRACTION.sub(lambda found: unicodedata.normalize("NFKC", found[0]), _BEFORE_FRACTION.sub(" ", text))
    text = text.translate(_MINUS | _SIGNS)
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() and not char.isascii() else char for char in text)


def commas_are_points(text: str) -> bool | None:
    """Whether the numbers of a text have a decimal comma, as 1.234,5; None if they do not tell."""
    commas, points = bool(_IN_COMMAS.search(text)), bool(_IN_POINTS.search(text))
    return None if commas == points else commas


def values(body: str, exponent: int, *, comma: bool, listed: bool) -> list[str]:
    """The numbers that digits with separators stand for, each in the one form of its value; what is no number is itself, such
    as a version (1.10.2) or a number that begins with 0 (007).

    ``comma``: a single comma is a decimal point. ``listed``: a single comma parts two numbers, unless it parts thousands.
    """
    for group in GROUPS:
        if group in body:
            parts = body.split(group)
            if not all(len(part) == 3 for part in parts[1:-1]) or len(re.split("[.,]", parts[-1])[0]) != 3:
                return [value for part in parts for value in values(part, 0, comma=comma, listed=listed)]
            body = "".join(parts)
    points, commas = body.count("."), body.count(",")
    if points and commas:
        decimal = max(".,", key=body.rfind)
        whole, _, fraction = body.rpartition(decimal)
        other = "," if decimal == "." else "."
        if decimal in whole or not _in_thousands(whole, other):
            return [body]
        return [_canonical(whole.replace(other, ""), fraction, exponent)]
    if not points and not commas:
        return [body] if len(body) > 1 and body[0] == "0" else [_canonical(body, "", exponent)]
    sign = "." if points else ","
    whole, _, fraction = body.partition(sign)
    if points + commas > 1:
        if _in_thousands(body, sign):
            return [_canonical(body.replace(sign, ""), "", exponent)]
        if points:
            return [body]
        return [value for part in body.split(",") for value in values(part, 0, comma=comma, listed=listed)]
    if _in_thousands(body, sign) and comma == (sign == "."):
        return [_canonical(whole + fraction, "", exponent)]
    if sign == "," and listed:
        return [value for part in (whole, fraction) for value in values(part, 0, comma=comma, listed=listed)]
    if len(whole) > 1 and whole[0] == "0":
        return [body]
    return [_canonical(whole, fraction, exponent)]


def exponent_of(text: str | None) -> int:
    """The power of ten of "e-5" or "x 10^8"; 0 without one."""
    if not text:
        return 0
    raised = text.translate(_RAISED).replace(" ", "")
    return int(re.sub(r"^(?:[eE]|(?:[x×·*]10)?(?:\^|\*\*)?)", "", raised))


def in_words(words: list[str]) -> tuple[str, int] | None:
    """The number that a list of words begins with, such as "two hundred and five", and how many of them it takes."""
    total, current, used = 0, None, 0
    for at, word in enumerate(words):
        value = NUMBER_WORDS.get(word)
        if value is not None:
            fits = current is None or (current >= 100 and current % 100 == 0)
            if not fits and not (current and current % 100 >= 20 and current % 10 == 0 and 0 < value < 10):
                break
            current = (current or 0) + value
        elif word == "hundred" and (current is None or 0 < current < 100):
            current = 100 * (1 if current is None else current)
        elif len(word) > 2 and SCALES.get(word, 0) > 2 and (current or not used):
            total, current = total + (current or 1) * 10 ** SCALES[word], None
        elif word == "and" and used and (current or total) and words[at + 1 : at + 2] and words[at + 1] in NUMBER_WORDS:
            if (current or 0) % 100 or (current is None and not total):
                break
            continue
        else:
            break
        used = at + 1
    return (_canonical(str(total + (current or 0)), "", 0), used) if used else None


def _in_thousands(text: str, sign: str) -> bool:
    first, *rest = text.split(sign)
    return 1 <= len(first) <= 3 and first[0] != "0" and all(len(part) == 3 for part in rest)


def _canonical(whole: str, fraction: str, exponent: int) -> str:
    digits, exponent = whole + fraction, exponent - len(fraction)
    stripped = digits.rstrip("0")
    exponent += len(digits) - len(stripped)
    stripped = stripped.lstrip("0")
    return f"{stripped}e{exponent}" if stripped else "0"
