"""Texts of the records made harmless, and numbers written for people."""

import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(r"\bhf_\w+|hf_[A-Za-z0-9]{20,}")
# controls, marks that turn text around, halves of characters: shown by their code, so that they do nothing
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SPACE, _MINUS = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}"


def clean(value: Any) -> Any:
    """The value without tokens of the Hub, and with hidden characters made visible, in its keys too."""
    if isinstance(value, str):
        return _HIDDEN.sub(lambda match: ascii(match[0])[1:-1], _TOKEN.sub("[token masked]", value))
    if isinstance(value, Mapping):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value


def unbroken(text: str) -> str:
    """No line ends within "p = 0.04"."""
    return text.replace(" = ", f"{_SPACE}={_SPACE}")


def percent(share: float) -> str:
    return f"{100 * share:.1f}{_SPACE}%"


def signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", _MINUS)


def number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f}{_SPACE}s"
    return f"{seconds / 60:.0f}{_SPACE}min" if seconds < 5400 else f"{seconds / 3600:.1f}{_SPACE}h"


def seconds(milliseconds: float) -> str:
    """Three figures, in the unit that suits them."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f}{_SPACE}ms"
    return f"{milliseconds / 1e3:#.3g}{_SPACE}s" if milliseconds < 1e5 else f"{milliseconds / 1e3:,.0f}{_SPACE}s"
