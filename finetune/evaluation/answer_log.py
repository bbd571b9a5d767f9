"""The answers of an evaluation that is under way, on disk as they come: what was scored is never asked again."""

import fcntl
import json
from pathlib import Path
from typing import Any

from finetune.errors import UserError
from finetune.evaluation.evaluate import Scored
from finetune.records import files
from finetune.terminal import say


class AnswerLog:
    """``key`` says what was evaluated: a log with another one is not gone on with. One process writes a log at a time."""

    def __init__(self, path: Path, key: dict[str, Any], resume: bool):
        self.path = path
        self._known: dict[str, dict[int, Scored]] = {}
        self._lock: Any = None
        key = json.loads(json.dumps(key))
        if path.exists():
            self._take()
        elif resume:
            raise UserError(f"--resume: no evaluation was interrupted ({path} is not there)")
        lines = _lines(path) if resume else []
        if resume and not lines:
            raise UserError(f"{path}: nothing in it to go on with (leave --resume out)")
        if lines and lines[0] != key:
            changed = ", ".join(name for name in key if lines[0].get(name) != key[name])
            raise UserError(f"--resume: the interrupted evaluation was of another {changed} (leave --resume out)")
        try:
            for line in lines[1:]:
                self._known.setdefault(line["side"], {})[line["row"]] = Scored.read(line)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not what an evaluation wrote: {error!r} (leave --resume out)") from None
        if path.exists() and not resume:
            kept = path.with_name(f"previous_{path.name}")
            path.replace(kept)
            say(f"Note: an evaluation was interrupted here and is not gone on with; its answers are in {kept}.")
        files.write_jsonl(path, lines or [key])  # what a kill left of a last line is gone
        self._take()

    def known(self, side: str) -> dict[int, Scored]:
        return self._known.get(side, {})

    def add(self, side: str, row: int, scored: Scored) -> None:
        self._known.setdefault(side, {})[row] = scored
        files.append_jsonl(self.path, {"side": side, "row": row, **scored.record()})

    @property
    def count(self) -> int:
        return sum(map(len, self._known.values()))

    def _take(self) -> None:
        """Hold the file; UserError where another process does."""
        try:
            self._lock = self.path.open("rb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.path}: another evaluation is writing it (name another --results-dir)") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read: {error.strerror}") from None


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines; a last one without its end was being written when the process was killed."""
    try:
        texts = path.read_text(encoding="utf-8").split("\n")[:-1]
        lines = [json.loads(text) for text in texts]
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not what an evaluation wrote: {error} (leave --resume out)") from None
    if not all(isinstance(line, dict) for line in lines):
        raise UserError(f"{path}: not what an evaluation wrote (leave --resume out)")
    return lines
