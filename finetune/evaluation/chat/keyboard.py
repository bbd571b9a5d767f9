"""What is typed: lines with editing and a history, and what Ctrl-C does."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PROMPT = "you> "


class CtrlC:
    """While it is entered, Ctrl-C at a terminal is only noted: an answer ends between two tokens, never the program.

    Where nobody types, Ctrl-C ends the program as anywhere else.
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

    def taken(self) -> bool:
        """Whether it was pressed since this was last asked."""
        pressed, self._pressed = self._pressed, False
        return pressed

    @contextmanager
    def raising(self) -> Iterator[None]:
        """For the time of a prompt: KeyboardInterrupt."""
        if not self.caught:
            yield
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            if self.taken():
                raise KeyboardInterrupt
            yield
        finally:
            signal.signal(signal.SIGINT, self._press)


def read_line(ctrl_c: CtrlC) -> str | None:
    """A line; None at the end. On a terminal Ctrl-C clears what was typed."""
    while True:
        try:
            with ctrl_c.raising():
                return input(_PROMPT)
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            if not ctrl_c.caught:
                raise
            print("\n(Ctrl-D or /quit ends the chat)")


@contextmanager
def no_echo() -> Iterator[None]:
    """What is typed while an answer grows does not show within it; it comes at the next prompt."""
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
