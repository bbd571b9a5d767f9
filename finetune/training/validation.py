"""What is found out about a model between the steps of its training, on the validation rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from finetune.backends.interface import Answer, Model
from finetune.errors import UserError
from finetune.evaluation.evaluate import evaluate
from finetune.models.examples import TrainingRow
from finetune.records.files import Row
from finetune.rollouts.rewards import Judge
from finetune.settings.config import TrainingConfig
from finetune.tasks import Task

_SHOWN_TOKENS = 64  # of an answer shown at a validation

Stop = Callable[[], bool]
Note = Callable[[str], None]  # tells people how far it is
Values = list[float | None]  # of the rows, in their order; None of one that says nothing
Found = tuple[float, Values] | None  # a mean, and the values it is of, if they are known; None where it was stopped


@dataclass(frozen=True)
class Measure:
    """What a validation finds, and by which the best adapters are chosen."""

    name: str  # "loss" or "reward"
    of: Callable[[Stop, Note], Found]
    higher_is_better: bool = False

    @property
    def key(self) -> str:
        return f"valid_{self.name}"

    def better(self, value: float, best: float | None) -> bool:
        return best is None or (value > best if self.higher_is_better else value < best)


class Watcher:
    """Answers of the model under training to validation rows: a few to look at, and a score where one is wanted."""

    def __init__(self, model: Model, task: Task, rows: Sequence[Row], config: TrainingConfig):
        self._model, self._task = model, task
        self._scored = rows[: config.eval_samples]
        self._shown = rows[: config.show_samples]

    def look(self) -> dict[str, Any]:
        """What goes into the metrics of a validation: ``task_score`` (0 to 1) and ``samples``."""
        found: dict[str, Any] = {}
        if self._scored:
            with self._task.open_scorer() as score:
                scored = evaluate(self._model, score, self._scored, 4 * _SHOWN_TOKENS)
            values = [one.score.value for one in scored if one.score.value is not None]
            found["task_score"] = sum(values) / len(values) if values else None
        if self._shown:
            conversations = [row["messages"][:-1] for row in self._shown]
            answers = self._model.answers(conversations, max_tokens=_SHOWN_TOKENS)
            found["samples"] = [
                {"question": self._task.question(row), "answer": answer.text}
                for row, answer in zip(self._shown, answers, strict=True)
            ]
        return found


def mean_reward(
    model: Model,
    judge: Judge,
    rows: Sequence[TrainingRow],
    config: TrainingConfig,
    stop: Stop,
    note: Note,
) -> Found:
    """Of greedy answers to the validation rows that can be judged."""
    totals: dict[int, float | None] = {}

    def on_answer(index: int, answer: Answer) -> None:
        totals[index] = judge(rows[index].fields, answer.text, stopped=answer.stopped).total
        note(f"validation {len(totals)}/{len(rows)}")

    note(f"validation 0/{len(rows)}")  # the first answer takes a while
    conversations = [row.fields["messages"][:-1] for row in rows]
    answers = model.answers(conversations, on_answer, max_tokens=config.grpo_max_tokens, stop=stop)
    note("")  # what comes next may take a while before it has something to say
    if not answers:
        return None
    values = [totals[index] for index in range(len(rows))]
    judged = [value for value in values if value is not None]
    if not judged:
        raise UserError("--method grpo: none of the validation rows can be judged (other rows, or --grpo-reward FILE)")
    return fmean(judged), values
