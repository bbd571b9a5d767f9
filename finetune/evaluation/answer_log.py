"""The answers of a running evaluation, written as they come: after an interruption no row is asked again."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from finetune.errors import UserError
from finetune.evaluation.evaluate import Scored
from finetune.records import files, lock
from finetune.records.evaluation import AnswerRecord
from finetune.records.files import Row
from finetune.records.record import as_json
from finetune.terminal import say


class AnswerLog:
    """A file that one process writes at a time, until the ``with`` block ends. ``key`` says what is evaluated.

    UserError if another process writes the log, or if ``resume`` is set and there is nothing to resume, or the key is another.
    """

    def __init__(self, path: Path, key: dict[str, object], *, resume: bool):
        self.path = path
        self._known: dict[str, dict[int, Scored]] = {}
        self._lock = ExitStack()
        # a file of its own: the log itself is replaced by renaming
        taken = f"{path}: another evaluation is writing it (use another --results-dir)"
        self._lock.enter_context(lock.demanded(path.with_name(f".{path.name}.lock"), taken))
        try:
            self._open(json.loads(json.dumps(key)), resume=resume)
        except BaseException:
            self._lock.close()
            raise

    def _open(self, key: dict[str, object], *, resume: bool) -> None:
        path = self.path
        if resume and not path.exists():
            raise UserError(f"nothing to resume: {path} does not exist (omit --resume)")
        lines = _lines(path) if resume else []
        if resume and not lines:
            raise UserError(f"nothing to resume: {path} is empty (omit --resume)")
        if lines and lines[0] != key:
            names = dict.fromkeys([*key, *lines[0]])
            changed = ", ".join(name for name in names if lines[0].get(name) != key.get(name))
            raise UserError(f"--resume: the interrupted evaluation had a different {changed} (omit --resume)")
        try:
            for line in lines[1:]:
                answer = AnswerRecord(**{name: value for name, value in line.items() if name not in ("side", "row")})
                self._known.setdefault(line["side"], {})[line["row"]] = Scored.of(answer)
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: not a valid answer log: {error!r} (omit --resume)") from None
        if path.exists() and not resume:
            demand_replaceable(path)
            path.replace(kept := _previous(path))
            say(f"Note: an interrupted evaluation is not resumed; its answers are now in {kept}.")
        files.write_jsonl(path, lines or [key])  # without a last line cut short by a kill

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def known(self, side: str) -> dict[int, Scored]:
        return self._known.get(side, {})

    def add(self, side: str, row: int, scored: Scored) -> None:
        self._known.setdefault(side, {})[row] = scored
        files.append_jsonl(self.path, {"side": side, "row": row, **as_json(scored.record())})

    @property
    def count(self) -> int:
        return sum(map(len, self._known.values()))


def demand_replaceable(path: Path) -> None:
    """UserError if a file that is no answer log would be moved or replaced by a log in ``path``."""
    for place in (path, _previous(path)):
        if place.exists() and not _is_log(place):
            raise UserError(
                f"{place}: not the answers of an evaluation, so it will not be replaced (move it away, or use another"
                " --results-dir)"
            )


def _is_log(path: Path) -> bool:
    """Whether the file begins as a log does, or is empty."""
    try:
        if not path.is_file():  # to open a pipe would wait for its writer
            return False
        with path.open(encoding="utf-8") as file:
            start = file.readline(10_000)
        return not start or {"rows", "max_tokens"} <= set(json.loads(start))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _previous(path: Path) -> Path:
    return path.with_name(f"previous_{path.name}")


def _lines(path: Path) -> list[Row]:
    """The complete lines; a last one without its line end was cut short by a kill."""
    try:
        texts = path.read_text(encoding="utf-8").split("\n")[:-1]
        lines = [json.loads(text) for text in texts]
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a valid answer log: {error} (omit --resume)") from None
    if not all(isinstance(line, dict) for line in lines):
        raise UserError(f"{path}: not a valid answer log (omit --resume)")
    return lines
