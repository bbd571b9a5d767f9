"""The answers of a running evaluation, written as they come: after an interruption no row is asked again."""

import fcntl
import json
from pathlib import Path
from typing import Any

from finetune.errors import UserError
from finetune.evaluation.evaluate import Scored
from finetune.records import files
from finetune.records.evaluation import AnswerRecord
from finetune.records.files import Row
from finetune.records.record import as_json
from finetune.terminal import say


class AnswerLog:
    """A file that one process writes at a time. ``key`` says what is evaluated: a log with another key is not resumed.

    UserError if another process writes the log, or if ``resume`` is set and there is nothing to resume.
    """

    def __init__(self, path: Path, key: dict[str, object], *, resume: bool):
        self.path = path
        self._known: dict[str, dict[int, Scored]] = {}
        self._lock: Any = None
        key = json.loads(json.dumps(key))
        if path.exists():
            self._take()
        elif resume:
            raise UserError(f"nothing to resume: {path} does not exist (leave out --resume)")
        lines = _lines(path) if resume else []
        if resume and not lines:
            raise UserError(f"nothing to resume: {path} is empty (leave out --resume)")
        if lines and lines[0] != key:
            changed = ", ".join(name for name in key if lines[0].get(name) != key[name])
            raise UserError(f"--resume: the interrupted evaluation had a different {changed} (leave out --resume)")
        try:
            for line in lines[1:]:
                answer = AnswerRecord(**{name: value for name, value in line.items() if name not in ("side", "row")})
                self._known.setdefault(line["side"], {})[line["row"]] = Scored.of(answer)
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: not what an evaluation wrote: {error!r} (leave out --resume)") from None
        if path.exists() and not resume:
            kept = path.with_name(f"previous_{path.name}")
            path.replace(kept)
            say(f"Note: an interrupted evaluation is not resumed; its answers are now in {kept}.")
        files.write_jsonl(path, lines or [key])  # without a last line cut short by a kill
        self._take()

    def known(self, side: str) -> dict[int, Scored]:
        return self._known.get(side, {})

    def add(self, side: str, row: int, scored: Scored) -> None:
        self._known.setdefault(side, {})[row] = scored
        files.append_jsonl(self.path, {"side": side, "row": row, **as_json(scored.record())})

    @property
    def count(self) -> int:
        return sum(map(len, self._known.values()))

    def _take(self) -> None:
        """Hold the file; UserError where another process does."""
        try:
            self._lock = self.path.open("rb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.path}: another evaluation is writing it (use another --results-dir)") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read: {error.strerror}") from None


def _lines(path: Path) -> list[Row]:
    """The complete lines; a last one without its line end was cut short by a kill."""
    try:
        texts = path.read_text(encoding="utf-8").split("\n")[:-1]
        lines = [json.loads(text) for text in texts]
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not what an evaluation wrote: {error} (leave out --resume)") from None
    if not all(isinstance(line, dict) for line in lines):
        raise UserError(f"{path}: not what an evaluation wrote (leave out --resume)")
    return lines
