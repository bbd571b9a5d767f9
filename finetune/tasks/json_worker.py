"""A child process that answers one line of JSON with another, and is killed if the answer is late.

What runs in it (model-written SQL, a reward function of the user's) can hang, fill the memory or crash: only a process can
be ended from outside.
"""

import json
import os
import select
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from finetune.signals import Stop, never
from finetune.terminal import pass_on

START_SECONDS = 60.0  # until the first line of a new process
_MOMENT = 0.05  # seconds between two looks at the clock, at ``stop`` and at the process
_PIECE = 1 << 16  # bytes read at once
# Ends the process whose number it reads, and all that this one has started, when our end of its pipe is closed: also if we are
# killed, and whatever the process is busy with.
_WATCHER = ("/bin/sh", "-c", 'read -r process && { read -r _; kill -s KILL -- "-$process"; }')


class LateReply(Exception):
    """The process did not answer in time and was killed."""


class Interrupted(Exception):
    """``stop`` returned True before the process had answered. It was killed."""


class WorkerDied(Exception):
    """The process ended before it had answered. ``exit_code`` is negative for a signal, as ``subprocess`` has it."""

    def __init__(self, exit_code: int):
        by_signal = f"killed by signal {-exit_code}, {signal.strsignal(-exit_code)}" if exit_code < 0 else ""
        super().__init__(by_signal or f"exit code {exit_code}")
        self.exit_code = exit_code


class BadReply(Exception):
    """The process wrote something else than one line of JSON, or one that is too long. It was killed."""


class Closing(ABC):
    """Owns a process or several: a context manager that calls ``close`` at its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End what was started."""


class JsonWorker(Closing):
    """Runs ``command``, which writes one line of JSON when it is ready and then one for each line that it reads.

    The process is started by the first request, and again after it has ended. It is the leader of a session of its own, so
    Ctrl-C at the terminal reaches us alone, and whatever it has started is killed with it; it does not outlive us, however we
    end. ``environment`` replaces ours; ``quiet`` discards what it writes to stderr, and ``most_said`` is how many bytes of that
    are passed on for one request; ``stop`` interrupts a request; ``most`` is the number of bytes of a reply. Use as a context
    manager, or call ``close``.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        quiet: bool = False,
        most_said: int | None = None,
        stop: Stop = never,
        most: int = 1 << 30,
    ):
        self._command, self._environment = list(command), environment
        self._stderr = subprocess.DEVNULL if quiet else None if most_said is None else subprocess.PIPE
        self._most_said = self._left = most_said or 0
        self._stop, self._most = stop, most
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._greeting: Any = None

    @property
    def pid(self) -> int | None:
        """Of the process that was started last and has not been closed."""
        return self._process.pid if self._process else None

    def start(self) -> Any:
        """The first line of the running process, which is started if there is none. Raises as ``ask`` does."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
            self._watcher = watcher = subprocess.Popen(
                _WATCHER, stdin=pipe, stdout=nowhere, stderr=nowhere, bufsize=0, start_new_session=True
            )
            self._process = subprocess.Popen(
                self._command,
                stdin=pipe,
                stdout=pipe,
                stderr=self._stderr,
                bufsize=0,
                env=None if self._environment is None else dict(self._environment),
                start_new_session=True,
            )
            assert watcher.stdin is not None
            with suppress(BrokenPipeError):
                watcher.stdin.write(b"%d\n" % self._process.pid)
            self._greeting = self._exchange(self._process, b"", START_SECONDS)
        return self._greeting

    def ask(self, request: object, seconds: float) -> Any:
        """The answer to one request; ``seconds`` do not include the start of a process.

        Raises LateReply, Interrupted, WorkerDied or BadReply. The next request is answered by a new process then.
        """
        self.start()
        assert self._process is not None
        return self._exchange(self._process, json.dumps(request, default=str).encode() + b"\n", seconds)

    def close(self) -> None:
        """Kill the process and all that it has started."""
        processes = (self._watcher, self._process)  # the watcher first: it must not kill what later has the same number
        self._watcher = self._process = None
        for process in processes:
            if process is None:
                continue
            # it has ended already; macOS says that it is not ours to kill then
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            process.wait()

    def _exchange(self, process: "subprocess.Popen[bytes]", text: bytes, seconds: float) -> Any:
        self._left = self._most_said
        try:
            line, end, more = self._line(process, text, time.monotonic() + seconds).partition(b"\n")
            try:
                if not end or more:
                    raise ValueError
                return json.loads(line.decode())
            except (ValueError, RecursionError):
                raise BadReply(line[:100].decode(errors="replace")) from None
        except BaseException:  # Ctrl-C, for example: the reply that is still to come must not answer the next request
            self.close()
            raise

    def _line(self, process: "subprocess.Popen[bytes]", text: bytes, deadline: float) -> bytes:
        """Write ``text`` and read up to the end of a line, or up to the limit, without waiting for either for long.

        Neither a pipe that nobody reads nor one that a child of the process keeps open can hold us.
        """
        assert process.stdin is not None and process.stdout is not None
        target, source, unsent, read = process.stdin.fileno(), process.stdout.fileno(), memoryview(text), bytearray()
        pipes = select.poll()
        pipes.register(source, select.POLLIN)
        said = process.stderr.fileno() if process.stderr else None
        if said is not None:
            pipes.register(said, select.POLLIN)
        os.set_blocking(target, False)
        if unsent:
            pipes.register(target, select.POLLOUT)
        piece = b""
        while b"\n" not in piece and len(read) <= self._most:
            if self._stop():
                raise Interrupted
            if (left := deadline - time.monotonic()) <= 0:
                raise LateReply
            ended = process.poll() is not None
            ready = dict(pipes.poll(0 if ended else 1000 * min(left, _MOMENT)))
            if said in ready and not self._pass_on(process):
                pipes.unregister(said)
            if target in ready:
                with suppress(BlockingIOError):
                    try:
                        unsent = unsent[os.write(target, unsent) :]
                    except BrokenPipeError:  # it takes no more; perhaps it has answered all the same
                        unsent = unsent[:0]
                if not unsent:
                    pipes.unregister(target)
            piece = os.read(source, _PIECE) if source in ready else b""
            read += piece
            if piece or (said in ready and ended):  # it may have said why it ended
                continue
            if ended:
                raise WorkerDied(process.returncode)
            if source in ready:  # closed: the process is about to end, and says how
                pipes.unregister(source)
        return bytes(read)

    def _pass_on(self, process: "subprocess.Popen[bytes]") -> bool:
        """Write what it has said to our stderr, up to the limit; False at its end."""
        assert process.stderr is not None
        piece = os.read(process.stderr.fileno(), _PIECE)
        shown, rest = piece[: self._left], piece[self._left :]
        self._left -= len(shown)
        pass_on(shown)
        if shown and rest:
            pass_on(b"\n... (what it prints beyond that is not shown)\n")
        return bool(piece)
