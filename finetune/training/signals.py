"""Ctrl-C, SIGTERM and a terminal that is closed end a run between two batches, with everything saved."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopRequest:
    """Whether the run was asked to stop: calling it tells. ``number`` is the signal's."""

    number: int | None = None

    def __call__(self) -> bool:
        return self.number is not None


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a request to stop.

    The second one ends the process at once. That breaks nothing, because files are written atomically. A SIGHUP that is
    ignored already, as below ``nohup``, stays ignored.
    """
    request = StopRequest()

    def remember(number: int, frame: FrameType | None) -> None:
        request.number = number
        for name in old:
            signal.signal(name, signal.SIG_DFL)
        with suppress(OSError):  # not by print: the signal may have come in the middle of one
            os.write(2, b"stopping after this batch (press Ctrl-C again to stop now) ...\n")

    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        heard.append(signal.SIGHUP)
    old = {number: signal.signal(number, remember) for number in heard}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
