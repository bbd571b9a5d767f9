"""Measuring the model between the steps of its training, on the validation rows."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from statistics import fmean

from finetune.backends.interface import Answer, Model, Trainer
from finetune.errors import UserError
from finetune.evaluation.evaluate import evaluate
from finetune.methods.dpo import REFERENCE
from finetune.models.conversation import Conversation
from finetune.models.examples import TrainingRow
from finetune.models.loss_mask import Example
from finetune.records.files import Row
from finetune.rollouts.rewards import Judge
from finetune.settings.config import TrainingConfig
from finetune.signals import Stop
from finetune.tasks import Task
from finetune.terminal import Console, time_left

_SHOWN_TOKENS = 64  # of a sample answer

Note = Callable[[str], None]  # shows how far a validation is
Values = list[float | None]  # for each validation row, in order; None if the row cannot be judged
Found = tuple[float, Values] | None  # a mean with the values behind it, if they are known; None if it was interrupted


@dataclass(frozen=True)
class Measure:
    """What a validation measures. The best adapters are chosen by it."""

    name: str  # "loss" or "reward"
    of: Callable[[Stop, Note], Found]

    @property
    def key(self) -> str:
        return f"valid_{self.name}"

    def better(self, value: float, best: float | None) -> bool:
        """Whether ``value`` is better than the best so far: a lower loss, a higher reward."""
        return best is None or (value > best if self.name == "reward" else value < best)


@dataclass(frozen=True)
class Sample:
    """A validation question with the model's answer, to be shown."""

    question: str
    answer: str


@dataclass(frozen=True)
class Seen:
    """What a Watcher saw at a validation."""

    task_score: float | None = None  # 0..1, the mean over the rows of --eval-samples that can be scored
    samples: tuple[Sample, ...] = ()  # of --show-samples
    scored: str = ""  # the score in words: "execution accuracy 45.0%"

    def as_metrics(self) -> dict[str, object]:
        """Entries of the validation's line in metrics.jsonl."""
        score = {} if self.task_score is None else {"task_score": self.task_score}
        return {**score, "samples": [asdict(one) for one in self.samples]} if self.samples else dict(score)


def _counting(what: str, total: int, note: Note) -> Callable[[int], None]:
    """Notes how many of ``total`` are done, and how long the rest takes."""
    begun = time.monotonic()

    def at(done: int) -> None:
        left = time_left(time.monotonic() - begun, done, total)
        note(f"{what} {done}/{total}" + (f" ({left})" if left else ""))

    at(0)  # the first may take a while
    return at


class Watcher:
    """Has the model under training answer validation rows: some to be scored, some to be shown."""

    def __init__(self, model: Model, task: Task, rows: Sequence[Row], config: TrainingConfig):
        self._model, self._task = model, task
        self._scored = rows[: 0 if task.plain_text else config.eval_samples]
        self._shown = rows[: config.show_samples]

    def observe(self, stop: Stop, note: Note = lambda text: None) -> Seen | None:
        """Score and samples of the model as it is now; None if ``stop`` interrupted the answers."""
        score: float | None = None
        text, samples = "", tuple[Sample, ...]()
        if self._scored:
            with self._task.open_scorer(stop) as scorer:
                done, counted = count(1), _counting("answers", len(self._scored), note)
                scored = evaluate(
                    self._model,
                    scorer,
                    self._scored,
                    4 * _SHOWN_TOKENS,
                    on_scored=lambda *_: counted(next(done)),
                    stop=stop,
                )
            if not scored:
                return None
            judged = {i: one.score.value for i, one in enumerate(scored) if one.score.value is not None}
            score = fmean(judged.values()) if judged else None
            if score is not None and {0.0, 1.0}.issuperset(judged.values()):
                text = f"{self._task.metric} {score:.1%}"
            elif score is not None:  # the mean of word overlaps is no share of right answers
                text = f"mean score {score:.3f} by {self._task.measures(self._scored[i] for i in judged)}"
        if self._shown:
            conversations = [Conversation.of(row).prompt for row in self._shown]
            answers = self._model.answers(conversations, max_tokens=_SHOWN_TOKENS, stop=stop)
            if not answers:
                return None
            samples = tuple(
                Sample(self._task.question(row), answer.text) for row, answer in zip(self._shown, answers, strict=True)
            )
        return Seen(score, samples, text)


def add_references(trainer: Trainer, examples: Sequence[Example], console: Console) -> None:
    """Give each example the log-probability of its answer under the starting model."""
    with console.progress("Reference", len(examples), "answers") as bar:
        found = trainer.logprobs(examples, on_batch=bar.advance)
    for example, values in zip(examples, found, strict=True):
        example.terms[REFERENCE] = math.fsum(values)


def loss_measure(trainer: Trainer, rows: Sequence[TrainingRow], batch_size: int) -> Measure:
    """The method's loss over all validation rows, of which the trainer takes ``batch_size`` at once."""

    def measured(stop: Stop, note: Note) -> Found:
        batches, counted = count(), _counting("validation", len(rows), note)

        def noting() -> bool:  # the trainer asks before each batch
            counted(min(len(rows), batch_size * next(batches)))
            return stop()

        loss = trainer.validation_loss(rows, noting)
        return None if loss is None else (loss, [])

    return Measure("loss", measured)


def reward_measure(model: Model, judge: Judge, rows: Sequence[TrainingRow], config: TrainingConfig) -> Measure:
    """The mean reward of greedy answers to the validation rows that can be judged."""
    return Measure("reward", partial(mean_reward, model, judge, rows, config))


def mean_reward(
    model: Model,
    judge: Judge,
    rows: Sequence[TrainingRow],
    config: TrainingConfig,
    stop: Stop,
    note: Note,
) -> Found:
    """The mean reward of greedy answers, with that of each row; UserError if none can be judged."""
    totals: dict[int, float | None] = {}
    counted = _counting("validation", len(rows), note)

    def on_answer(index: int, answer: Answer) -> None:
        totals[index] = judge(rows[index].fields, answer.text, stopped=answer.stopped).total
        counted(len(totals))

    conversations = [Conversation.of(row.fields).prompt for row in rows]
    answers = model.answers(conversations, on_answer, max_tokens=config.grpo_max_tokens, stop=stop)
    note("")  # the next step may take a while before it has something to show
    if not answers or stop():  # a reward may have been interrupted too
        return None
    values = [totals[index] for index in range(len(rows))]
    judged = [value for value in values if value is not None]
    if not judged:
        raise UserError("--method grpo: no validation row can be judged (use other rows, or --grpo-reward FILE)")
    return fmean(judged), values
