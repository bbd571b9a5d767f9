"""What is said to the user: errors in one line, texts that fit into it."""

import os
from pathlib import Path


class UserError(Exception):
    """The user can put this right: one line on stderr and an exit code, never a traceback."""

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code


class Stopped(Exception):
    """A signal ended the work after everything was saved; the process exits with 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def first_line(error: BaseException) -> str:
    """What a library says of an error, cut to one line."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def path_of(text: str, source: str) -> Path:
    """The path that a person wrote, with ~ as their home. UserError, which begins with ``source``, where none can be so."""
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
            f"{source}: {shortened(text)!r} is no path: {getattr(error, 'strerror', None) or error}"
        ) from None
    return path


def shortened(text: str) -> str:
    """The beginning of a text, in one line."""
    text = " ".join(text[:100].splitlines())
    return text if len(text) <= 60 else f"{text[:57]}..."


def visible(text: str) -> str:
    """Control characters, which could do things to a terminal, as the symbols that stand for them."""
    return text.translate(_SYMBOLS)


_SYMBOLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_SYMBOLS |= dict.fromkeys((0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\u2426")  # they turn lines
_SYMBOLS |= {127: "\u2421", **dict.fromkeys(range(128, 160), "\u2426")}  # Unicode has no symbols for those from 128
