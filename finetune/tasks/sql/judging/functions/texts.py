"""Texts and numbers of other dialects for SQLite: ``STRICT`` are functions that are NULL if an argument is.

``register.py`` loads this file by its path; standard library only. What the other engine would refuse raises ValueError.
"""

import json
import math
import re
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any

LONGEST = 1_000_000  # characters of a value


@lru_cache(maxsize=200)
def _like_pattern(pattern: str, escape: str, sensitive: int) -> re.Pattern[str]:
    parts, at = [], 0
    while at < len(pattern):
        character = pattern[at]
        if escape and character == escape:
            at += 1
            if at == len(pattern):
                raise ValueError("LIKE pattern ends with its escape character")
            parts.append(re.escape(pattern[at]))
        else:
            parts.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
        at += 1
    flags = re.DOTALL | (0 if sensitive else re.IGNORECASE)
    return re.compile(re.sub(r"(\.\*)+", ".*", "".join(parts)), flags)


def like(value: object, pattern: object, escape: str, sensitive: int) -> int:
    if len(str(pattern)) > 1_000:
        raise ValueError("LIKE pattern too large")
    return int(_like_pattern(str(pattern), escape, sensitive).fullmatch(str(value)) is not None)


@lru_cache(maxsize=200)
def _regex(pattern: str, ignore_case: int) -> re.Pattern[str]:
    if re.search(r"\\[mMyYAZ]|\[\[[.=:]|\(\?[^:=!]", pattern):  # they mean something else to Python, or nothing
        pattern = re.sub(r"\[:(\w+):\]", lambda found: _CLASSES.get(found[1], found[0]), pattern)
        if re.search(r"\\[mMyYAZ]|\[[.=:]|\(\?[^:=!]", pattern):
            raise ValueError(f"cannot run the regular expression {pattern[:60]!r}")
    try:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise ValueError(f"invalid regular expression: {error}") from None


_CLASSES = {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "space": r"\s", "upper": "A-Z", "lower": "a-z"}
_CLASSES |= {"punct": r"!-/:-@\[-`{-~", "xdigit": "0-9A-Fa-f"}


def regexp(value: object, pattern: str, ignore_case: int) -> int:
    return int(_regex(str(pattern), ignore_case).search(str(value)) is not None)


def regexp_replace(value: object, pattern: str, new: str, flags: str) -> str:
    return _regex(pattern, int("i" in flags)).sub(new, str(value), count=0 if "g" in flags else 1)


def regexp_substr(value: object, pattern: str) -> str | None:
    found = _regex(pattern, 0).search(str(value))
    return found[found.re.groups and 1] if found else None


def bounded(text: str) -> str:
    if len(text) > LONGEST:
        raise ValueError("text too large")
    return text


def repeat(value: object, times: int) -> str:
    if len(str(value)) * times > LONGEST:
        raise ValueError("text too large")
    return str(value) * max(int(times), 0)


def pad(value: object, size: int, fill: str, *, before: bool) -> str:
    text, size = str(value), int(size)
    missing = repeat(fill, -(-(max(size - len(text), 0)) // max(len(fill), 1)))[: max(size - len(text), 0)]
    return (missing + text if before else text + missing)[: max(size, 0)]


def left(value: object, count: int) -> str:
    return str(value)[: int(count)]


def right(value: object, count: int) -> str:
    text = str(value)
    return text[-count:] if count > 0 else text[-count:] if count < 0 else ""


def split_part(value: object, separator: str, number: int) -> str:
    parts = str(value).split(separator) if separator else [str(value)]
    at = number - 1 if number > 0 else len(parts) + number
    return parts[at] if 0 <= at < len(parts) else ""


def substring_index(value: object, separator: str, count: int) -> str:
    parts = str(value).split(separator) if separator else []
    return separator.join(parts[:count] if count > 0 else parts[count:] if count else [])


def initcap(value: object) -> str:
    return re.sub(r"[^\W_]+", lambda word: word[0][:1].upper() + word[0][1:].lower(), str(value))


def translate(value: object, old: str, new: str) -> str:
    return str(value).translate(
        {ord(c): new[at] if at < len(new) else None for at, c in reversed(list(enumerate(old)))}
    )


def trim(value: object, characters: str, where: str) -> str:
    text = str(value)
    text = text.lstrip(characters) if where in ("LEADING", "BOTH") else text
    return text.rstrip(characters) if where in ("TRAILING", "BOTH") else text


def number_of(value: Any) -> float:
    if isinstance(value, int | float):
        return value
    try:
        text = str(value).strip()
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    except ValueError:
        raise ValueError(f"invalid number: {str(value)[:40]!r}") from None


def to_int(value: Any, rounds: int) -> int:
    number = number_of(value)
    if isinstance(value, str) and not isinstance(number, int):
        raise ValueError(f"invalid integer: {value[:40]!r}")
    if not math.isfinite(number):
        raise ValueError("integer out of range")
    return int(Decimal(repr(number)).to_integral_value(ROUND_HALF_UP)) if rounds else int(number)


def to_real(value: Any) -> float:
    return float(number_of(value))


def to_numeric(value: Any, scale: int) -> float:
    """Half away from zero, of the number as it is written: 0.125 at two digits is 0.13, 2.675 is 2.68."""
    number = number_of(value)
    return float(Decimal(repr(number)).quantize(Decimal(1).scaleb(-int(scale)), ROUND_HALF_UP))


def truncate(value: Any, digits: int) -> float:
    return float(Decimal(repr(number_of(value))).quantize(Decimal(1).scaleb(-int(digits)), ROUND_DOWN))


def json_text(value: str) -> str | None:
    """The text of a value of JSON: a string without its quotes, true and false as words, null as NULL."""
    found = json.loads(value)
    return found if isinstance(found, str) else None if found is None else value


def to_bool(value: Any) -> int:
    if isinstance(value, int | float):
        return int(value != 0)
    text = str(value).strip().lower()
    if text in ("t", "true", "y", "yes", "on", "1"):
        return 1
    if text in ("f", "false", "n", "no", "off", "0"):
        return 0
    raise ValueError(f"invalid boolean: {text[:40]!r}")


def modulo(one: float, other: float) -> float | None:
    if not other:
        return None
    return math.fmod(one, other) if isinstance(one, float) or isinstance(other, float) else int(math.fmod(one, other))


def divided_whole(one: float, other: float) -> int | None:
    """Integer division, towards zero."""
    if not other:
        return None
    if isinstance(one, int) and isinstance(other, int):
        return abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1)
    return int(one / other)


def divisor(value: Any) -> Any:
    """Itself; ValueError if it is zero, which SQLite makes NULL of."""
    if not value:
        raise ValueError("division by zero")
    return value


STRICT: dict[str, Callable[..., Any]] = {
    "divisor": divisor, "regexp": regexp, "regexp_replace": regexp_replace,
    "regexp_substr": regexp_substr, "repeat": repeat, "left": left, "right": right, "split_part": split_part,
    "lpad": lambda *given: pad(*given, before=True), "rpad": lambda *given: pad(*given, before=False),
    "initcap": initcap, "translate": translate, "trim": trim, "reverse": lambda text: str(text)[::-1],
    "upper": lambda text: str(text).upper(), "lower": lambda text: str(text).lower(),
    "bytes": lambda text: len(str(text).encode()), "length_trimmed": lambda text: len(str(text).rstrip(" ")),
    "int": to_int, "real": to_real, "numeric": to_numeric, "bool": to_bool,
    "bool_text": lambda value: "true" if value else "false", "mod": modulo, "div": divided_whole,
    "least_all": lambda *values: min(values), "greatest_all": lambda *values: max(values),
    "ascii": lambda text: ord(str(text)[0]) if str(text) else 0, "chr": lambda code: chr(int(code)),
    "substring_index": substring_index,
    "truncate": truncate,
    "json_text": json_text,
    "cbrt": lambda value: math.copysign(abs(value) ** (1 / 3), value),
}  # fmt: skip


def _texts(values: tuple[Any, ...]) -> list[str]:
    return [str(value) for value in values if value is not None]


def _concat_ws(separator: Any, *values: Any) -> str | None:
    return None if separator is None else bounded(str(separator).join(_texts(values)))


def _known(choose: Callable[[list[Any]], Any], values: tuple[Any, ...]) -> Any:
    known = [value for value in values if value is not None]
    return choose(known) if known else None


LENIENT: dict[str, Callable[..., Any]] = {  # of arguments that may be NULL
    "concat": lambda *values: bounded("".join(_texts(values))),
    "concat_ws": _concat_ws,
    "least": lambda *values: _known(min, values),
    "greatest": lambda *values: _known(max, values),
}
