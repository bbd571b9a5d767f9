"""Texts of the records made harmless, and numbers as a reader wants them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from finetune.errors import SYMBOLS
from finetune.terminal import format_seconds

# "hf_" and 34 letters and digits, perhaps cut short; a word such as hf_hub_download is none
_TOKEN = re.compile(r"hf_(?:oauth|jwt)_[\w.-]+|hf_[A-Za-z0-9]{20,}")
_HIDDEN = re.compile(f"[{''.join(map(chr, SYMBOLS.keys() - {13}))}]")  # shown by code; \r is white space to a page
_LARGE = 1e15
_HUGE = 10**100  # whole numbers that no float can hold begin at 10^309
_NONE = "–"  # what is shown for a number that is none
_SPACE, _MINUS = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}"
Anything = TypeVar("Anything")


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table: a text, a smaller one below it, and "good", "bad" or "" for its colour."""

    text: str
    detail: str = ""
    css_class: str = ""


def clean(value: Anything) -> Anything:
    """The value, a record or a part of one, with tokens of the Hub masked and hidden characters made visible.

    Whole numbers that are too large to compute with become infinite.
    """
    return cast(Anything, _clean(value))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _HIDDEN.sub(lambda match: ascii(match[0])[1:-1], _TOKEN.sub("[token masked]", value))
    if isinstance(value, int) and abs(value) >= _HUGE:
        return math.inf if value > 0 else -math.inf
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _clean(getattr(value, field.name)) for field in fields(value)})
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_clean(item) for item in value)
    return value


def unbroken(text: str) -> str:
    """No line ends within "p = 0.04"."""
    return text.replace(" = ", f"{_SPACE}={_SPACE}")


def plain(text: str) -> str:
    """The text for a terminal, which may know no other space and no other minus."""
    return text.replace(_SPACE, " ").replace(_MINUS, "-").replace("×", "x").replace("–", "-")


def percent(share: float, digits: int = 1) -> str:
    return f"{fixed(100 * share, digits)}{_SPACE}%"


def signed(value: float, digits: int) -> str:
    return fixed(value, digits, "+").replace("-", _MINUS)


def fixed(value: float, digits: int, sign: str = "") -> str:
    """With so many decimals; large ones in powers of ten, and a dash for what is not finite."""
    if not math.isfinite(value):
        return _NONE
    return f"{value:{sign},.{digits}f}" if abs(value) < _LARGE else f"{value:{sign}.3g}"


def ratio(value: float, other: float) -> float:
    """The one divided by the other; infinite for a division by zero."""
    return value / other if other else math.inf


def number(value: float) -> str:
    """Three significant digits, and no decimals from 100 on."""
    if isinstance(value, int):
        return f"{value:,}"
    return fixed(value, 0) if not abs(value) < 100 else f"{value:#.3g}"


def seconds(milliseconds: float) -> str:
    """Three significant digits, in the unit that suits them."""
    if milliseconds < 1000:
        return f"{fixed(milliseconds, 0)}{_SPACE}ms"
    return f"{milliseconds / 1e3:#.3g}{_SPACE}s" if milliseconds < 1e5 else f"{fixed(milliseconds / 1e3, 0)}{_SPACE}s"


def duration(value: float) -> str:
    """Seconds in at most two units."""
    return format_seconds(value) if abs(value) < _LARGE else _NONE


def minute(created: str) -> str:
    """When a record was made, without seconds and zone, from ISO 8601."""
    return created[:16].replace("T", " ")
