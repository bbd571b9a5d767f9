"""A reward that the user wrote: the function ``reward(row, answer)`` of a Python file, called in a process of its own."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from finetune.errors import UserError, shortened
from finetune.records.files import Row
from finetune.tasks.json_worker import START_SECONDS, BadReply, JsonWorker, LateReply, WorkerDied
from finetune.terminal import say

_WORKER = Path(__file__).with_name("reward_worker.py")
_LARGEST = 1e30


class RewardFunction:
    """``function(row, answer)`` -> the reward; None if it returns None, 0 if the call takes longer than ``seconds``.

    UserError, with the line of the file, if it raises or returns something that is not a number.
    """

    def __init__(self, path: Path, seconds: float):
        if not path.is_file():
            raise UserError(f"--grpo-reward: {path}: no such file or directory")
        self.path, self.seconds = path, seconds
        self.late = 0  # calls that timed out
        self._worker = JsonWorker([sys.executable, "-B", str(_WORKER), str(path.resolve())])

    def __enter__(self) -> "RewardFunction":
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._worker.close()

    def __call__(self, row: Row, answer: str) -> float | None:
        self._start()
        try:
            value = self._checked(self._worker.ask({"row": row, "answer": answer}, self.seconds)).get("reward")
        except LateReply:
            self.late += 1
            if self.late == 1:
                say(
                    f"Note: {self.path}: a call took more than {self.seconds:g} s and counts as 0 (--grpo-reward-seconds)"
                )
            return 0.0
        except WorkerDied as died:
            raise UserError(f"{self.path}: its process ended ({died})") from None
        except BadReply as reply:
            raise UserError(f"{self.path}: its process wrote a line that is not JSON: {str(reply)!r}") from None
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
            raise UserError(f"{self.path}: reward() returned {shortened(repr(value))}, not a number")
        return float(value)

    def _start(self) -> None:
        """Import the file, unless a process that has done so is running."""
        try:
            self._checked(self._worker.start())
        except LateReply:
            raise UserError(f"{self.path}: importing it took more than {START_SECONDS:g} s") from None
        except WorkerDied as died:
            raise UserError(f"{self.path}: its process ended ({died})") from None

    def _checked(self, reply: Mapping[str, object]) -> Mapping[str, object]:
        if "error" in reply:
            place = f"{self.path}:{reply['line']}" if reply.get("line") else str(self.path)
            raise UserError(f"{place}: {reply['error']}")
        return reply
