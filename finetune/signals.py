"""What Ctrl-C, SIGTERM and a closed terminal do (SIGHUP): in each part of a script's life, one of three things.

While a script is imported and after its work it ends at once. Then its work is interrupted by a KeyboardInterrupt, so that
whatever it has begun is cleaned up. Training alone is asked to stop: it saves what it has between two batches. The second
signal always ends the process; that breaks nothing, because files are written atomically. A signal that is ignored already
stays ignored, such as SIGHUP below ``nohup``.

Imports next to nothing, because the scripts import it before everything else.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

Stop = Callable[[], bool]  # whether somebody asked to stop
_begun: list[float] = []  # when the script of this process began, if it is one


def never() -> bool:
    """The ``stop`` of work that nobody asks to stop."""
    return False


def began() -> float:
    """When the script began, as time.monotonic() says; now if this process is no script."""
    return _begun[0] if _begun else time.monotonic()


class StopRequest:
    """Whether the run was asked to stop: calling it tells. ``number`` is the signal's."""

    number: int | None = None

    def __call__(self) -> bool:
        return self.number is not None


def exit_at_once() -> None:
    """From now on, a signal ends the process at once and without a word: nothing has begun, or all is done."""
    if not _begun:
        _begun.append(time.monotonic())
    _handle(lambda number, frame: os._exit(128 + number))


@contextmanager
def interrupting() -> Iterator[None]:
    """In the block, the first signal raises KeyboardInterrupt; ``number_of`` says which one it was."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        _handle(signal.SIG_DFL)
        raise KeyboardInterrupt(number)

    with _handled(interrupt):
        yield


@contextmanager
def stopping(request: StopRequest) -> Iterator[None]:
    """In the block, the first signal is noted in ``request``, and the work goes on until it looks there."""

    def remember(number: int, frame: FrameType | None) -> None:
        request.number = number
        _handle(signal.SIG_DFL)
        with suppress(OSError):  # not by print: the signal may have come in the middle of one
            os.write(2, b"stopping after this batch (press Ctrl-C again to stop now) ...\n")

    with _handled(remember):
        yield


@contextmanager
def ending() -> Iterator[None]:
    """In the block, a signal ends the process without a word, also while a library computes: nothing has begun that is kept."""
    with _handled(signal.SIG_DFL):
        yield


def number_of(interrupt: KeyboardInterrupt) -> int:
    """The number of the signal that interrupted the work."""
    return int(interrupt.args[0]) if interrupt.args else signal.SIGINT


_Handler = Callable[[int, FrameType | None], None] | int


def _handle(handler: _Handler) -> dict[int, object]:
    """Have all three signals handled, but for those that are ignored; the handlers that they had."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return {number: signal.signal(number, handler) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}


@contextmanager
def _handled(handler: _Handler) -> Iterator[None]:
    before = _handle(handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)  # type: ignore[arg-type]
