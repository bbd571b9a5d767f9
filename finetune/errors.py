"""Errors that a user reads: one line each, and the helpers that keep them short, safe and useful."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")  # variables that hold a token of the Hub


class UserError(Exception):
    """A mistake that the user can fix: one line on stderr and an exit code, never a traceback.

    Passwords in the addresses that ``message`` contains, and tokens of the Hub, are taken out.
    """

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(without_secrets(message))
        self.exit_code = exit_code


class Stopped(Exception):
    """A signal ended the work, and everything is saved. The process exits with 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type if the message is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def without_secrets(text: str) -> str:
    """The text without the user names and passwords of addresses (//USER:PASSWORD@HOST), and without tokens of the Hub."""
    for token in filter(None, map(os.environ.get, TOKENS)):
        if len(token) > _SHORT:
            text = text.replace(token, "hf_...")
    return _TOKEN.sub("hf_...", _USERINFO.sub(r"\1", text))


_SHORT = 5  # so few characters, which no token has, may also be part of a word
_USERINFO = re.compile(r"(//|\w:/)[^/\s]*@")  # as a path, an address has lost one slash
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}")


def path_of(text: str, source: str) -> Path:
    """The path that a user wrote, with ~ expanded. UserError that begins with ``source`` if it cannot be a path."""
    try:
        path = Path(text).expanduser()
        path.exists()
        os.fsencode(path)
        if "\0" in text:
            raise ValueError("a NUL character in it")
    except PermissionError:
        return path
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{source}: {shortened(text)!r} is not a valid path: {getattr(error, 'strerror', None) or error}"
        ) from None
    return path


def closest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that somebody who wrote ``name`` most likely meant, regardless of case; None if none is near.

    >>> f"did you mean {near}?" if (near := closest(name, choices)) else f"choose from {', '.join(choices)}"
    """
    by_lowercase = {choice.lower(): choice for choice in choices}
    return next((by_lowercase[near] for near in difflib.get_close_matches(name.lower(), by_lowercase, n=1)), None)


def shortened(text: str, most: int = 60) -> str:
    """The beginning of a text, in one line of at most ``most`` characters."""
    text = " ".join(text[: most + 40].splitlines())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def visible(text: str) -> str:
    """The text with control characters, which could change a terminal's state, replaced by visible symbols."""
    return text.translate(_SYMBOLS)


_SYMBOLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_SYMBOLS |= dict.fromkeys(
    (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\u2426"
)  # these reorder a line
_SYMBOLS |= {127: "\u2421", **dict.fromkeys(range(128, 160), "\u2426")}  # Unicode has no symbols for those from 128
