"""The keyboard: lines with editing and a history, single keys, and Ctrl-C."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from finetune.terminal import show, show_part

_PROMPT = "you> "


class CtrlC:
    """Inside the context, Ctrl-C at a terminal is only noted: it ends an answer between two tokens, not the program.

    If stdin is no terminal, Ctrl-C ends the program as usual.
    """

    def __init__(self) -> None:
        self._pressed = False
        self.caught = sys.stdin.isatty()

    def __enter__(self) -> "CtrlC":
        if self.caught:
            self._before = signal.signal(signal.SIGINT, self._press)
            if sys.stdout.isatty():
                with contextlib.suppress(ImportError):
                    import readline  # noqa: F401  from here on input() has line editing and a history

        return self

    def __exit__(self, *_: object) -> None:
        if self.caught:
            signal.signal(signal.SIGINT, self._before)

    def _press(self, *_: object) -> None:
        self._pressed = True

    def pressed(self) -> bool:
        """Whether it was pressed since the last call."""
        pressed, self._pressed = self._pressed, False
        return pressed

    @contextmanager
    def raising(self) -> Iterator[None]:
        """During a prompt, Ctrl-C raises KeyboardInterrupt."""
        if not self.caught:
            yield
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            if self.pressed():
                raise KeyboardInterrupt
            yield
        finally:
            signal.signal(signal.SIGINT, self._press)


def read_line(ctrl_c: CtrlC) -> str | None:
    """A line of stdin; None at its end. At a terminal, Ctrl-C clears the line."""
    while True:
        try:
            with ctrl_c.raising():
                return input(_PROMPT)
        except EOFError:
            show("")
            return None
        except KeyboardInterrupt:
            if not ctrl_c.caught:
                raise
            show("", "(Ctrl-D or /quit ends the chat)")


@contextmanager
def no_echo() -> Iterator[None]:
    """Keep what is typed during an answer out of it; it appears at the next prompt."""
    try:
        import termios
    except ImportError:  # not a POSIX system
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def has_keys() -> bool:
    """Whether single keys can be read: stdin is a terminal that has them."""
    try:
        import termios  # noqa: F401
    except ImportError:  # not a POSIX system
        return False
    return sys.stdin is not None and sys.stdin.isatty()


def read_key(prompt: str) -> str:
    """The next key that is pressed after ``prompt`` is shown; "" if the terminal is gone.

    What was typed before is dropped: it was meant for something else. Special keys are the sequence that the terminal sends.
    """
    import termios

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    single = [*before]
    single[3] &= ~(termios.ICANON | termios.ECHO)
    single[6] = [*before[6]]
    single[6][termios.VMIN], single[6][termios.VTIME] = 1, 0
    termios.tcsetattr(keyboard, termios.TCSAFLUSH, single)
    try:
        show_part(prompt)
        with contextlib.suppress(OSError):
            return os.read(keyboard, 64).decode(errors="replace")
        return ""
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
