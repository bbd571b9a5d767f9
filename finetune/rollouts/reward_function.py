"""A reward that the user wrote: a function in a Python file, called in a process of its own that can be ended."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from finetune.errors import UserError, shortened
from finetune.records.files import Row
from finetune.terminal import say

WORKER = Path(__file__).with_name("reward_worker.py")
_START_SECONDS = 60.0  # that the file may take to be imported


_LARGEST = 1e30


def _kill(process: "subprocess.Popen[str]") -> None:
    """End it and whatever it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class RewardFunction:
    """``function(row, answer)`` -> a number, None where it gives None, 0 where it takes longer than ``seconds``.

    UserError with the line of the file where it raises, or gives what is no number.
    """

    def __init__(self, path: Path, seconds: float):
        if not path.is_file():
            raise UserError(f"--grpo-reward: {path}: no such file or directory")
        self.path, self.seconds = path, seconds
        self.late = 0  # calls that were ended
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "RewardFunction":
        self._running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def __call__(self, row: Row, answer: str) -> float | None:
        reply = self._exchange(self._running(), {"row": row, "answer": answer}, self.seconds)
        if reply is None:
            self.late += 1
            if self.late == 1:
                say(
                    f"Note: {self.path}: a call took more than {self.seconds:g} s and counts as 0 (--grpo-reward-seconds)"
                )
            return 0.0
        value = reply.get("reward")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
            raise UserError(f"{self.path}: reward() gave {shortened(repr(value))}, not a number")
        return float(value)

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._close()
        self._process = subprocess.Popen(
            [sys.executable, "-B", str(WORKER), str(self.path.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # the terminal's Ctrl-C is for us, who then end it
        )
        if self._exchange(self._process, None, _START_SECONDS) is None:
            raise UserError(f"{self.path}: took more than {_START_SECONDS:g} s to be imported")
        return self._process

    def _exchange(self, process: "subprocess.Popen[str]", request: Any, seconds: float) -> dict[str, Any] | None:
        """One line there, unless ``request`` is None, and one back; None where it took too long."""
        assert process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            if request is not None:
                process.stdin.write(json.dumps(request, default=str) + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        except BaseException:  # Ctrl-C, say: the reply still to come must not answer the next request
            self._close()
            raise
        finally:
            timer.cancel()
        if not line.endswith("\n"):
            self._close()
            if late.is_set():
                return None
            raise UserError(f"{self.path}: its process ended (exit code {process.returncode})")
        if late.is_set():  # it was ended just after it had answered
            self._close()
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            place = f"{self.path}:{reply['line']}" if reply.get("line") else str(self.path)
            raise UserError(f"{place}: {reply['error']}")
        return reply

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _kill(process)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        process.wait()
