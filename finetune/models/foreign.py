"""The boundary around libraries that read somebody else's files: whatever they raise becomes one line.

A damaged or hostile file makes such a library raise anything: TypeError, RecursionError, a plain Exception, a panic of Rust.
This is the only place that catches all of it.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from finetune.errors import Stopped, UserError, is_out_of_memory, visible
from finetune.records.plain_path import plain_path

AGAIN = "download or convert it again"
_REASON = 200  # characters
_MOST_SHOWN = 10_000  # bytes of what a library prints


@contextmanager
def foreign(problem: str, remedy: str = "", exit_code: int = 2, *, writes: bool = False) -> Iterator[None]:
    """Within the block, a library reads a file that is not ours: UserError ``problem: reason (remedy)`` if it raises anything.

    What says something else passes: our own errors, a lack of memory, the exceptions that are no errors, such as
    KeyboardInterrupt, and, if the block also writes, OSError.

    >>> with foreign(f"{path}: not a model that can be read", AGAIN):
    ...     reader = GGUFReader(path)
    """
    try:
        with _held_back_output():
            yield
    except (UserError, Stopped):
        raise
    except BaseException as error:
        says_else = is_out_of_memory(error) or (writes and isinstance(error, OSError))
        if says_else or not (isinstance(error, Exception) or _is_panic(error)):
            raise
        # the message of a KeyError is a mere name, that of an AssertionError is often empty
        kind = f"{type(error).__name__}: " if isinstance(error, LookupError) else ""
        text = getattr(error, "strerror", None) or str(error)
        reason = kind + (" ".join(text.split())[:_REASON] or type(error).__name__)
        raise UserError(f"{problem}: {reason}{remedy and f' ({remedy})'}", exit_code) from None


def check_safetensors(path: Path) -> None:
    """Raise anything, for ``foreign``, if the header does not fit the file: tensors that overlap, or reach beyond its end.

    MLX does not look.
    """
    from safetensors import safe_open

    with plain_path(path) as plain, safe_open(plain, framework="numpy"):
        pass


def _is_panic(error: BaseException) -> bool:
    """Whether it is a failed assertion of a library in Rust. Python cannot import the class, which is no Exception."""
    return type(error).__name__ == "PanicException"


@contextmanager
def _held_back_output() -> Iterator[None]:
    """Show what the block writes to stdout and stderr when it ends: on stderr, with control characters made visible.

    After a panic nothing is shown: Rust has reported it there before Python sees it.
    """
    try:
        kept = tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # no place for it
        yield
        return
    with kept:
        panicked, before = False, [_redirected(number, kept.fileno()) for number in (1, 2)]
        try:
            yield
        except BaseException as error:
            panicked = _is_panic(error)
            raise
        finally:
            for number, descriptor in zip((1, 2), before, strict=True):
                os.close(_redirected(number, descriptor))
                os.close(descriptor)
            kept.seek(0)
            if not panicked and (text := kept.read(_MOST_SHOWN).decode(errors="replace")):
                with suppress(OSError):
                    sys.stderr.write(visible(text))


def _redirected(number: int, descriptor: int) -> int:
    """Send what is written to stdout (1) or stderr (2) to ``descriptor``; returns a descriptor of where it went before."""
    with suppress(OSError, ValueError):
        (sys.stdout if number == 1 else sys.stderr).flush()
    before = os.dup(number)
    os.dup2(descriptor, number)
    return before
