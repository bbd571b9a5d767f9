"""--scorer: a file with a function ``score(row, answer)`` in the place of a task's own score.

It returns a number from 0 to 1 (1 is right; True and False are 1 and 0), a dict of named parts with such numbers, or None if
the answer cannot be judged. The part "score" decides; without it, the mean of the parts does.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from finetune.errors import UserError
from finetune.models.conversation import Conversation
from finetune.models.thinking import answer_of
from finetune.records import files
from finetune.records.evaluation import LOSS, ScorerRecord
from finetune.records.files import Row
from finetune.signals import Stop, never
from finetune.tasks import Score, Scorer, Task
from finetune.tasks.json_worker import Interrupted, LateReply
from finetune.tasks.user_function import UserFunction
from finetune.terminal import counted, say

FLAG = "--scorer"
_TRIED = 20  # rows whose own answer is scored before a model is loaded
_OUR_LINES = frozenset(  # of the table of measures, which a part would be taken for
    {LOSS, "right answers", "mean score", "well-formed", "finished (EOS)", "repetition", "tokens per answer"}
    | {"general questions right", "perplexity", "bits per byte"}
)


class ScoreFunction(UserFunction):
    """``function(row, answer)`` -> its Score. An answer has no value if the file cannot judge it, and 0 if that takes longer
    than ``seconds``."""

    def __init__(self, path: Path, seconds: float, stop: Stop = never):
        super().__init__(path, seconds, stop, FLAG, "score")

    def __call__(self, row: Row, answer: str) -> Score:
        try:
            return self.judged(row, answer)
        except Interrupted:
            return Score(None, "not_judged", "interrupted")
        except LateReply:
            self.count_late()
            return Score(0.0, "took_too_long", f"the scorer took more than {self.seconds:g} s")

    def judged(self, row: Row, answer: str) -> Score:
        """The same. Raises Interrupted or LateReply."""
        reply = self.ask(row, answer_of(answer))
        match reply:
            case {"score": None, "parts": dict(parts)}:
                return Score(None, "not_judged", "", self._named(parts))
            case {"score": float(value), "parts": dict(parts)} if 0 <= value <= 1:
                return Score(value, {0.0: "wrong", 1.0: "ok"}.get(value, "partly_right"), "", self._named(parts))
        raise self.unusable(reply)

    def _named(self, parts: dict[str, float]) -> dict[str, float]:
        if not all(isinstance(value, float) for value in parts.values()):
            raise self.unusable(parts)
        if taken := _OUR_LINES.intersection(parts):
            raise UserError(f"{self.path}: score() names a part {min(taken)!r}, as our table does (rename it)")
        return parts


def with_scorer(task: Task, file: Path | None, seconds: float) -> Task:
    """The task with the answers scored by the file; itself without one."""
    if file is None:
        return task
    return replace(
        task,
        open_scorer=partial(_open, file, seconds),
        metric=f"right by {file.name}",
        measure=file.name,
        measure_of=None,
        has_form=False,
        rows_with_form=None,
        malformed=frozenset(),
        partial={},
        loss_decides=False,
    )


def check_scorer(file: Path | None, seconds: float, rows: Sequence[Row]) -> None:
    """UserError if the file cannot be used; a note if it finds the rows' own answers wrong. Before a model is loaded."""
    if file is None:
        return
    if any("messages" not in row for row in rows[:1]):
        raise UserError(f"{FLAG} has no effect with plain text, which has no answers (omit it)")
    with ScoreFunction(file, seconds) as function:
        values = []
        for number, row in enumerate(rows[:_TRIED], start=1):
            try:
                values.append(function.judged(row, Conversation.of(row).reference).value)
            except LateReply:
                raise UserError(
                    f"{file}: took more than {seconds:g} s for the own answer of row {number} (mend it, or {FLAG}-seconds)"
                ) from None
    below = sum(value is not None and value < 1 for value in values)
    if values and all(value is None for value in values):
        say(f"Note: {file} cannot judge the own answers of the first {counted(len(values), 'row')}: it returns None.")
    elif below:
        say(f"Note: {file} gives {below} of the first {counted(len(values), 'row')} less than 1 for their own answer.")


def described(file: Path | None) -> ScorerRecord | None:
    """The file as records name it. UserError if it cannot be read."""
    if file is None:
        return None
    try:
        return ScorerRecord(str(file), files.file_hash(file))
    except OSError as error:
        raise UserError(f"{FLAG}: {file}: {(error.strerror or str(error)).lower()}") from None


@contextmanager
def _open(file: Path, seconds: float, stop: Stop) -> Iterator[Scorer]:
    with ScoreFunction(file, seconds, stop) as function:
        yield function
