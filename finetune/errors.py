"""Errors that a user reads: one line each, and the helpers that keep them short, safe and useful."""

import difflib
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")  # variables that hold a token of the Hub


class UserError(Exception):
    """A mistake that the user can fix: one line on stderr and an exit code, never a traceback.

    ``details`` are lines below it. A newline inside a line comes from data, and is shown as a symbol. Passwords in addresses,
    and tokens of the Hub, are taken out.
    """

    def __init__(self, message: str, exit_code: int = 2, *, details: Sequence[str] = ()):
        super().__init__(without_secrets(message))
        self.exit_code = exit_code
        self.details = tuple(map(without_secrets, details))


class Stopped(Exception):
    """A signal ended the work, and everything is saved. The process exits with 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type if the message is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there is too little memory."""
    says_so = isinstance(error, RuntimeError) and any(words in first_line(error).lower() for words in _OUT_OF_MEMORY)
    return says_so or isinstance(error, MemoryError)


def stopped_by_gpu(error: BaseException) -> str | None:
    """What helps, for the brackets of an error, if an exception says that macOS has ended work of the GPU; else None."""
    said = first_line(error).lower() if isinstance(error, RuntimeError) else ""
    return next((remedy for words, remedy in _STOPPED_BY_GPU.items() if words in said), None)


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
    """The text with characters that a terminal would obey, or would not show, replaced by symbols; newlines and tabs stay."""
    return text.translate(SYMBOLS)


# how MLX on CPU, Metal and CUDA and PyTorch on CPU, MPS and CUDA say it, in lower case
_OUT_OF_MEMORY = ("out of memory", "unable to allocate", "can't allocate memory", "insufficient memory", "buffer size")
_WATCHDOG = (
    "the display had to wait for it: let the display sleep, or log in by ssh, and continue with --resume; if that does"
    " not help, begin anew with a smaller --batch-size"
)
_STOPPED_BY_GPU = {
    "impacting interactivity": _WATCHDOG,
    "impactinginteractivity": _WATCHDOG,
    "gpu timeout": _WATCHDOG,
    "resource limit (": "Metal holds no more arrays: use a smaller --batch-size or --max-seq-length, or --grad-checkpoint",
}


def one_line(text: str) -> str:
    """``visible`` with newlines as symbols too, so that no text of others can look like a line of ours."""
    return visible(text).replace("\n", "\u240a")


def shell_command(*words: object) -> str:
    """A command to be pasted into a shell, whatever is in its words; in one line: ``$'a\\012b'`` holds a newline."""
    return " ".join(map(_quoted, map(str, words)))


def _quoted(word: str) -> str:
    if word == one_line(word).replace("\t", "\u2409"):
        return shlex.quote(word)
    plain = (chr(code) if 32 <= code < 127 and code not in b"\\'" else f"\\{code:03o}" for code in os.fsencode(word))
    return f"$'{''.join(plain)}'"


# What steers a terminal, what reorders a line, and what is not drawn, so that two names could look alike or a sentence could
# hide. Ordinary text needs some of these: U+200C and U+200D join letters in Persian and Hindi and people in emoji, and
# variation selectors choose a glyph; they stay. A symbol for the marks U+061C, U+200E and U+200F leaves Arabic and Hebrew
# readable; one for the tags costs the flags of Scotland and Wales.
SYMBOLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {127: "\u2421"}
SYMBOLS |= dict.fromkeys(  # Unicode has no symbols for those from 128
    (
        *range(0x80, 0xA0),
        *(0xAD, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F, 0xFEFF),
        *range(0x2028, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xD800, 0xE000),  # bytes of a name that are not UTF-8; no encoding has them
        *range(0xFFF9, 0xFFFC),
        *range(0xE0000, 0xE0080),
    ),
    "\u2426",
)
