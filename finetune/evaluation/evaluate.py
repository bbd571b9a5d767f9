"""Answers of a model to the rows of a split, their scores, and what they say of two models. Knows no backend."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TypedDict

from finetune.backends.interface import Answer, Model
from finetune.errors import UserError
from finetune.evaluation.decision import compared
from finetune.evaluation.verdict import wilson_interval
from finetune.models.call_text import shown
from finetune.models.constraint import Restrict
from finetune.models.conversation import Conversation, PlainText
from finetune.models.examples import last_answer
from finetune.records.evaluation import (
    AnswerRecord,
    EvaluationRecord,
    GeneralRecord,
    RowRecord,
    ScorerRecord,
    SideRecord,
    TurnRecord,
)
from finetune.records.files import Row
from finetune.signals import Stop, never
from finetune.tasks import Score, Scorer, Task
from finetune.tasks.base import UNFINISHED
from finetune.tasks.text_overlap import repetition


@dataclass(frozen=True)
class Scored:
    """A model's answer to a row, and its score."""

    answer: Answer
    score: Score

    def record(self, loss: float | None = None) -> AnswerRecord:
        """As evaluation.json has it; ``loss`` of the row's reference, in nats."""
        answer, score = self.answer, self.score
        return AnswerRecord(
            answer.text, answer.tokens, answer.stopped, answer.seconds,
            score.value, score.kind, score.reason, score.parts, loss, answer.raw,
        )  # fmt: skip

    @classmethod
    def of(cls, record: AnswerRecord) -> "Scored":
        """The answer that ``record`` was made of."""
        answer = Answer(record.answer, record.tokens, record.stopped, record.seconds, record.raw)
        return cls(answer, Score(record.value, record.kind, record.reason, record.parts))


def evaluate(
    model: Model,
    score: Scorer,
    rows: Sequence[Row],
    max_tokens: int,
    known: Mapping[int, Scored] | None = None,
    on_scored: Callable[[int, Scored], None] = lambda index, scored: None,
    stop: Stop = never,
    restrict: Restrict | None = None,
) -> list[Scored]:
    """Greedy answers to each row's conversation up to its last assistant turn, and their scores; empty if ``stop`` interrupted
    them.

    ``known`` has the answers that are already there, by index; ``on_scored`` is called with index and answer as each is scored.
    ``restrict`` says what each answer may be.
    """
    found = dict(known or {})
    missing = [index for index in range(len(rows)) if index not in found]

    def on_answer(at: int, answer: Answer) -> None:
        index = missing[at]
        found[index] = Scored(answer, _ended(score(rows[index], answer.text), answer, max_tokens))
        on_scored(index, found[index])

    conversations = [Conversation.of(rows[index]).prompt for index in missing]
    if restrict is None:
        model.answers(conversations, on_answer, max_tokens=max_tokens, stop=stop)
    else:
        model.answers(
            conversations, on_answer, max_tokens=max_tokens, stop=stop, restrict=lambda at: restrict(missing[at])
        )
    # the last answers may be there, and their scores interrupted
    return [found[index] for index in range(len(rows))] if len(found) == len(rows) and not stop() else []


def _ended(score: Score, answer: Answer, max_tokens: int) -> Score:
    """The score, with how an answer ended whose end is missing."""
    if score.kind != UNFINISHED:
        return score
    how = (
        "the model ended it" if answer.stopped else f"cut off after {answer.tokens} tokens (--max-tokens {max_tokens})"
    )
    return replace(score, reason=f"{score.reason}: {how}")


@dataclass(frozen=True)
class Losses:
    """Negative log-probability of each row's reference in nats, and its number of tokens."""

    sums: list[float]
    tokens: list[int]
    bytes: int | None = None  # of plain text: in UTF-8, of all those tokens

    @property
    def per_token(self) -> float:
        return sum(self.sums) / sum(self.tokens)

    @property
    def bits_per_byte(self) -> float | None:
        """Of plain text: the loss in bits by the length of the text, whatever the tokenizer; None for answers."""
        return sum(self.sums) / math.log(2) / self.bytes if self.bytes else None


def reference_losses(model: Model, rows: Sequence[Row], on_batch: Callable[[int], None] = lambda count: None) -> Losses:
    """Losses of each row's last turn, its end-of-sequence token included, given the turns before it; of plain text, of all but
    the overlap.

    ``on_batch`` is called with the number of rows of each batch. UserError (exit 5) if a loss is not finite.
    """
    conversations = [Conversation.of(row) for row in rows]
    examples = [last_answer(model.encoder.example(conversation)) for conversation in conversations]
    sums = model.losses(examples, on_batch)
    if not all(map(math.isfinite, sums)):
        raise UserError("the loss is not finite: the weights or adapters are damaged (train again)", exit_code=5)
    texts = [example for example, of in zip(examples, conversations, strict=True) if isinstance(of, PlainText)]
    learned = (compress(example.tokens, example.loss_mask) for example in texts)
    size = sum(len(model.encoder.plain.decode([*tokens]).encode()) for tokens in learned)
    return Losses(sums, [sum(example.loss_mask) for example in examples], size or None)


@dataclass(frozen=True)
class Side:
    """What one model did with the rows."""

    scored: list[Scored]
    losses: Losses

    def summary(self, task: Task, counted: Sequence[bool], formed: Sequence[bool]) -> SideRecord:
        """``counted``: which rows have a score on every side; ``formed``: which have a form."""
        scores = [one.score for one, counts in zip(self.scored, counted, strict=True) if counts]
        right = sum(score.value == 1.0 for score in scores)
        answers = [one.answer for one in self.scored]
        parts = sorted({name for one in self.scored for name in one.score.parts})
        kinds = Counter(score.kind for score in scores)
        forms = [
            one.score.kind not in task.malformed
            for one, counts, has_form in zip(self.scored, counted, formed, strict=True)
            if counts and has_form
        ]
        return SideRecord(
            accuracy=right / len(scores) if scores else None,
            score=sum(score.value or 0.0 for score in scores) / len(scores) if scores else None,
            interval=wilson_interval(right, len(scores)),
            right=right,
            kinds=dict(kinds.most_common()),
            formatted=sum(forms) / len(forms) if forms else None,
            stopped=sum(answer.stopped for answer in answers) / len(answers),
            mean_tokens=sum(answer.tokens for answer in answers) / len(answers),
            repetition=sum(repetition(answer.text) for answer in answers) / len(answers),
            loss_per_token=self.losses.per_token,
            bits_per_byte=self.losses.bits_per_byte,
            parts={name: self._mean(name) for name in parts},
        )

    def record(self, index: int) -> AnswerRecord:
        """The answer to a row, with the loss of the row's reference."""
        return self.scored[index].record(self.losses.sums[index])

    def _mean(self, part: str) -> float:
        values = [one.score.parts[part] for one in self.scored if part in one.score.parts]
        return sum(values) / len(values)


@dataclass(frozen=True)
class Subject:
    """What is evaluated; see EvaluationRecord for the fields."""

    task: Task
    split: str
    model: str
    adapter_path: str
    against: str | None = None
    scorer: ScorerRecord | None = None
    base_prompt: str | None = None
    few_shot: int | None = None
    changes_nothing: bool = False
    answering: str | None = None


def result(
    subject: Subject, rows: Sequence[Row], sides: Mapping[str, Side], general: GeneralRecord | None = None
) -> EvaluationRecord:
    """The record of an evaluation: ``sides`` holds "tuned" and, for a comparison, "base"."""
    task, base, tuned = subject.task, sides.get("base"), sides["tuned"]
    pairs = zip(*(side.scored for side in sides.values()), strict=True)
    # of the first side without a score: the SQL worker may have been killed on one side only
    unscored = [next((one.score.kind for one in pair if one.score.value is None), None) for pair in pairs]
    counted = [kind is None for kind in unscored]
    formed = [task.is_formed(row) for row in rows]
    record = EvaluationRecord(
        task=task.name,
        metric=task.metric,
        split=subject.split,
        model=subject.model,
        adapter_path=subject.adapter_path,
        against=subject.against,
        scorer=subject.scorer,
        base_prompt=subject.base_prompt,
        few_shot=subject.few_shot,
        changes_nothing=subject.changes_nothing,
        answering=subject.answering,
        n=len(rows),
        scored=sum(counted),
        unscored=dict(Counter(kind for kind in unscored if kind is not None)),
        tuned=tuned.summary(task, counted, formed),
        rows=[
            RowRecord(
                prompt=Conversation.of(row).question,
                question=task.question(row),
                reference=shown(row["messages"][-1]) if row.get("messages") else Conversation.of(row).reference,
                base=base.record(i) if base else None,
                tuned=tuned.record(i),
                **_around(Conversation.of(row)),
            )
            for i, row in enumerate(rows)
        ],
        general=general,
    )
    if base is None:
        return record
    found = compared(base, tuned, task, rows)
    return replace(
        record,
        base=base.summary(task, counted, formed),
        **vars(found.verdict),
        decided_by=found.decided_by,
        measure=found.measure,
        differences=found.differences,
        worse_rows=found.worse_rows,
    )


class _Around(TypedDict):
    before: list[TurnRecord]
    after: list[TurnRecord]
    tools: list[str]


def _around(conversation: Conversation) -> _Around:
    """What a model is given beside the last turn of the user."""
    messages = conversation.prompt.messages
    turns = [TurnRecord(message["role"], shown(message)) for message in messages]
    last = max((at for at, turn in enumerate(turns) if turn.role == "user"), default=len(turns))
    names = [str(tool.get("function", tool)["name"]) for tool in conversation.tools]
    return {"before": turns[:last], "after": turns[last + 1 :], "tools": names}
