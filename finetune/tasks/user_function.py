"""Functions that the user wrote, ``reward(row, answer)`` or ``score(row, answer)`` of a Python file, called in a process of
their own."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from finetune.errors import UserError, shortened
from finetune.records.files import Row
from finetune.signals import Stop, never
from finetune.tasks.json_worker import START_SECONDS, BadReply, Interrupted, JsonWorker, LateReply, WorkerDied
from finetune.terminal import say

_WORKER = Path(__file__).with_name("user_function_worker.py")
_MOST_BYTES = 1 << 16  # of a reply
_MOST_SAID = 1 << 14  # bytes of what a call prints


class UserFunction:
    """The process in which the function of a file runs. ``flag`` names the file; ``names`` are those that it may have.

    UserError, with the line of the file, if it raises or returns something that cannot be used.
    """

    def __init__(self, path: Path, seconds: float, stop: Stop, flag: str, *names: str):
        if not path.is_file():
            raise UserError(f"{flag}: {path}: no such file or directory")
        self.path, self.seconds, self.flag = path, seconds, flag
        self.late = 0  # calls that timed out
        # -P: the modules beside the worker are not for the file
        command = [sys.executable, "-P", "-B", str(_WORKER), str(path.resolve()), *names]
        self._worker = JsonWorker(command, stop=stop, most=_MOST_BYTES, most_said=_MOST_SAID)

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._worker.close()

    def ask(self, row: Row, answer: str) -> Any:
        """What the process replies. Raises Interrupted or LateReply."""
        self._start()
        return self._reply(lambda: self._worker.ask({"row": row, "answer": answer}, self.seconds))

    def unusable(self, reply: object) -> UserError:
        return UserError(f"{self.path}: wrote {shortened(repr(reply))} to our descriptor (print to stdout instead)")

    def count_late(self) -> None:
        self.late += 1
        if self.late == 1:
            say(f"Note: {self.path}: a call took more than {self.seconds:g} s and counts as 0 ({self.flag}-seconds)")

    def _start(self) -> None:
        """Import the file, unless a process that has done so is running."""
        try:
            reply = self._reply(self._worker.start)
        except LateReply:
            raise UserError(f"{self.path}: importing it took more than {START_SECONDS:g} s") from None
        if reply != {}:
            raise self.unusable(reply)

    def _reply(self, call: Callable[[], object]) -> object:
        """What the process replies; UserError if it replies with an error, or ends."""
        try:
            reply = call()
        except WorkerDied as died:
            raise UserError(f"{self.path}: its process ended ({died})") from None
        except BadReply as error:
            raise self.unusable(str(error)) from None
        match reply:
            case {"error": str(problem), "line": int(line)}:
                raise UserError(f"{self.path}:{line}: {shortened(problem, 300)}")
            case {"error": str(problem)}:
                raise UserError(f"{self.path}: {shortened(problem, 300)}")
        return reply


class RewardFunction(UserFunction):
    """``function(row, answer)`` -> the reward; None if it returns None or ``stop`` interrupts it, 0 if the call takes longer
    than ``seconds``. The file may also have a function ``score``."""

    def __init__(self, path: Path, seconds: float, stop: Stop = never):
        super().__init__(path, seconds, stop, "--grpo-reward", "reward", "score")

    def __call__(self, row: Row, answer: str) -> float | None:
        try:
            reply = self.ask(row, answer)
        except Interrupted:
            return None
        except LateReply:
            self.count_late()
            return 0.0
        match reply:
            case {"reward": None} | {"score": None}:
                return None
            case {"reward": float(value)} | {"score": float(value)} if abs(value) < math.inf:
                return value
        raise self.unusable(reply)
