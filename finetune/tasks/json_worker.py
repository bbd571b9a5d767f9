"""A child process that answers one line of JSON with another, and is killed if the answer is late.

What runs in it (model-written SQL, a reward function of the user's) can hang, fill the memory or crash: only a process can
be ended from outside.
"""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

START_SECONDS = 60.0  # until the first line of a new process


class LateReply(Exception):
    """The process did not answer in time and was killed."""


class WorkerDied(Exception):
    """The process ended before it had answered. ``exit_code`` is negative for a signal, as ``subprocess`` has it."""

    def __init__(self, exit_code: int):
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


class BadReply(Exception):
    """The process wrote a line that is not JSON. It was killed."""


class JsonWorker:
    """Runs ``command``, which writes one line of JSON when it is ready and then one for each line that it reads.

    The process is started by the first request, and again after it has ended. It is the leader of a session of its own, so
    Ctrl-C at the terminal reaches us alone, and whatever it has started is killed with it. ``environment`` replaces ours;
    ``quiet`` discards what it writes to stderr. Use as a context manager, or call ``close``.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, quiet: bool = False):
        self._command, self._environment = list(command), environment
        self._stderr = subprocess.DEVNULL if quiet else None
        self._process: subprocess.Popen[str] | None = None
        self._greeting: Any = None

    def __enter__(self) -> "JsonWorker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the process that was started last and has not been closed."""
        return self._process.pid if self._process else None

    def start(self) -> Any:
        """The first line of the running process, which is started if there is none. Raises as ``ask`` does."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
                encoding="utf-8",
                env=None if self._environment is None else dict(self._environment),
                start_new_session=True,
            )
            self._greeting = self._exchange(self._process, "", START_SECONDS)
        return self._greeting

    def ask(self, request: object, seconds: float) -> Any:
        """The answer to one request; ``seconds`` do not include the start of a process.

        Raises LateReply, WorkerDied or BadReply. The next request is answered by a new process then.
        """
        self.start()
        assert self._process is not None
        return self._exchange(self._process, json.dumps(request, default=str) + "\n", seconds)

    def close(self) -> None:
        """Kill the process and all that it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        _kill(process)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        process.wait()

    def _exchange(self, process: "subprocess.Popen[str]", text: str, seconds: float) -> Any:
        assert process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(seconds, end)
        timer.start()
        line = ""
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(text)
                process.stdin.flush()
                line = process.stdout.readline()
            if line.endswith("\n"):
                return json.loads(line)
        except (ValueError, RecursionError):
            self.close()
            raise BadReply(line[:100]) from None
        except BaseException:  # Ctrl-C, for example: the reply that is still to come must not answer the next request
            self.close()
            raise
        finally:
            timer.cancel()
            timer.join()
            if late.is_set():  # perhaps just after it had answered
                self.close()
        self.close()
        raise LateReply if late.is_set() else WorkerDied(process.returncode)


def _kill(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended; macOS says that it is not ours to kill then
        os.killpg(process.pid, signal.SIGKILL)
