"""The answers of an evaluation that is under way, on disk as they come: what was scored is never asked again."""

import json
from pathlib import Path
from typing import Any

from finetune import artifacts
from finetune.cli import UserError
from finetune.evaluation import Scored


class AnswerLog:
    """``key`` says what was evaluated: a log with another one is not gone on with."""

    def __init__(self, path: Path, key: dict[str, Any], resume: bool):
        self.path = path
        self._known: dict[str, dict[int, Scored]] = {}
        lines = _lines(path) if resume else []
        if resume and not lines:
            raise UserError(f"--resume: no evaluation was interrupted ({path} is not there)")
        if lines and lines[0] != json.loads(json.dumps(key)):
            changed = ", ".join(name for name in key if lines[0].get(name) != json.loads(json.dumps(key[name])))
            raise UserError(f"--resume: the interrupted evaluation was of another {changed} (leave --resume out)")
        for line in lines[1:]:
            self._known.setdefault(line["side"], {})[line["row"]] = Scored.read(line)
        artifacts.write_jsonl(path, lines or [key])  # what a kill left of a last line is gone

    def known(self, side: str) -> dict[int, Scored]:
        return self._known.get(side, {})

    def add(self, side: str, row: int, scored: Scored) -> None:
        self._known.setdefault(side, {})[row] = scored
        artifacts.append_jsonl(self.path, {"side": side, "row": row, **scored.record()})

    @property
    def count(self) -> int:
        return sum(map(len, self._known.values()))


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        texts = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    try:
        return [json.loads(text) for text in texts if text.endswith("\n")]
    except ValueError as error:
        raise UserError(f"{path}: not what an evaluation wrote: {error} (leave --resume out)") from None
