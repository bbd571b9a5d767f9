"""A reward that the user wrote: the function ``reward(row, answer)`` of a Python file, called in a process of its own."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from finetune.errors import UserError, shortened
from finetune.records.files import Row
from finetune.signals import Stop, never
from finetune.tasks.json_worker import START_SECONDS, BadReply, Interrupted, JsonWorker, LateReply, WorkerDied
from finetune.terminal import say

_WORKER = Path(__file__).with_name("reward_worker.py")
_MOST_BYTES = 1 << 16  # of a reply


class RewardFunction:
    """``function(row, answer)`` -> the reward; None if it returns None or ``stop`` interrupts it, 0 if the call takes longer
    than ``seconds``.

    UserError, with the line of the file, if it raises or returns something that is not a number.
    """

    def __init__(self, path: Path, seconds: float, stop: Stop = never):
        if not path.is_file():
            raise UserError(f"--grpo-reward: {path}: no such file or directory")
        self.path, self.seconds = path, seconds
        self.late = 0  # calls that timed out
        # -P: the modules beside the worker are not for the file
        command = [sys.executable, "-P", "-B", str(_WORKER), str(path.resolve())]
        self._worker = JsonWorker(command, stop=stop, most=_MOST_BYTES)

    def __enter__(self) -> "RewardFunction":
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._worker.close()

    def __call__(self, row: Row, answer: str) -> float | None:
        try:
            self._start()
            return self._reply(lambda: self._worker.ask({"row": row, "answer": answer}, self.seconds))
        except Interrupted:
            return None
        except LateReply:
            self.late += 1
            if self.late == 1:
                say(
                    f"Note: {self.path}: a call took more than {self.seconds:g} s and counts as 0 (--grpo-reward-seconds)"
                )
            return 0.0

    def _start(self) -> None:
        """Import the file, unless a process that has done so is running."""
        try:
            self._reply(self._worker.start)
        except LateReply:
            raise UserError(f"{self.path}: importing it took more than {START_SECONDS:g} s") from None

    def _reply(self, call: Callable[[], object]) -> float | None:
        """The reward that the process replies; UserError if it replies with an error, ends, or writes anything else."""
        try:
            reply = call()
        except WorkerDied as died:
            raise UserError(f"{self.path}: its process ended ({died})") from None
        except BadReply as error:
            reply = str(error)
        match reply:
            case {"error": str(problem), "line": int(line)}:
                raise UserError(f"{self.path}:{line}: {shortened(problem, 300)}")
            case {"error": str(problem)}:
                raise UserError(f"{self.path}: {shortened(problem, 300)}")
            case {"reward": float(value)} if abs(value) < math.inf:
                return value
        if reply in ({}, {"reward": None}):
            return None
        raise UserError(f"{self.path}: wrote {shortened(repr(reply))} to our descriptor (print to stdout instead)")
