"""Answers of a model to the rows of a split, each with its score. Knows no backend: a model is what answers."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from finetune.backends.interface import Answer, Model
from finetune.errors import UserError
from finetune.evaluation.verdict import (
    Verdict,
    judge,
    judge_means,
    paired_bootstrap,
    paired_shares,
    wilson_interval,
)
from finetune.models.examples import last_answer
from finetune.records.difference import Difference
from finetune.records.files import Row
from finetune.tasks import Score, Scorer, Task
from finetune.tasks.text_overlap import repetition

LOSS = "loss per token"


@dataclass(frozen=True)
class Scored:
    answer: Answer
    score: Score

    def record(self) -> dict[str, Any]:
        """As evaluation.json has it."""
        answer = asdict(self.answer)
        return {"answer": answer.pop("text"), **answer, **asdict(self.score)}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "Scored":
        answer = Answer(record["answer"], *(record[name] for name in ("tokens", "stopped", "seconds")))
        return cls(answer, Score(*(record[name] for name in ("value", "kind", "reason", "parts"))))


def evaluate(
    model: Model,
    score: Scorer,
    rows: Sequence[Row],
    max_tokens: int,
    known: Mapping[int, Scored] | None = None,
    on_scored: Callable[[int, Scored], None] = lambda index, scored: None,
) -> list[Scored]:
    """Greedy answers to each row's conversation up to its last assistant turn, and their scores.

    ``known`` has those that need no answer any more; ``on_scored`` hears of each new one at once.
    """
    found = dict(known or {})
    missing = [index for index in range(len(rows)) if index not in found]

    def on_answer(at: int, answer: Answer) -> None:
        index = missing[at]
        found[index] = Scored(answer, score(rows[index], answer.text))
        on_scored(index, found[index])

    model.answers([rows[index]["messages"][:-1] for index in missing], on_answer, max_tokens=max_tokens)
    return [found[index] for index in range(len(rows))]


@dataclass(frozen=True)
class Losses:
    """Negative log-probability of each row's reference, in nats over its ``tokens``."""

    sums: list[float]
    tokens: list[int]

    @property
    def per_token(self) -> float:
        return sum(self.sums) / sum(self.tokens)


def reference_losses(model: Model, rows: Sequence[Row], on_batch: Callable[[int], None] = lambda count: None) -> Losses:
    """Of each row's last turn, its end included, after all that stands before it. ``on_batch`` hears how many more are done."""
    examples = [last_answer(model.encoder.example(row["messages"])) for row in rows]
    sums = model.losses(examples, on_batch)
    if not all(map(math.isfinite, sums)):
        raise UserError("the loss is not finite: the model computes nonsense (train again)", exit_code=5)
    return Losses(sums, [sum(example.loss_mask) for example in examples])


@dataclass(frozen=True)
class Side:
    """What one model did with the rows."""

    scored: list[Scored]
    losses: Losses

    def summary(self, task: Task, counted: Sequence[bool]) -> dict[str, Any]:
        """``counted``: which rows have a score on every side."""
        scores = [one.score for one, counts in zip(self.scored, counted, strict=True) if counts]
        right = sum(score.value == 1.0 for score in scores)
        answers = [one.answer for one in self.scored]
        parts = sorted({name for one in self.scored for name in one.score.parts})
        kinds = Counter(score.kind for score in scores)
        return {
            "accuracy": right / len(scores) if scores else None,
            "score": sum(score.value or 0.0 for score in scores) / len(scores) if scores else None,
            "interval": wilson_interval(right, len(scores)),
            "right": right,
            "kinds": dict(kinds.most_common()),
            "formatted": sum(score.kind not in task.malformed for score in scores) / len(scores) if scores else None,
            "stopped": sum(answer.stopped for answer in answers) / len(answers),
            "mean_tokens": sum(answer.tokens for answer in answers) / len(answers),
            "repetition": sum(repetition(answer.text) for answer in answers) / len(answers),
            "loss_per_token": self.losses.per_token,
            "parts": {name: self._mean(name) for name in parts},
        }

    def _mean(self, part: str) -> float:
        values = [one.score.parts[part] for one in self.scored if part in one.score.parts]
        return sum(values) / len(values)


def result(rows: Sequence[Row], sides: Mapping[str, Side], task: Task) -> dict[str, Any]:
    """The record of an evaluation: ``sides`` holds "tuned" and, for a comparison, "base"."""
    sides = {name: sides[name] for name in ("base", "tuned") if name in sides}
    pairs = zip(*(side.scored for side in sides.values()), strict=True)
    # of the first side without a score: the SQL worker may have been killed at one side only
    unscored = [next((one.score.kind for one in pair if one.score.value is None), None) for pair in pairs]
    record: dict[str, Any] = {
        "n": len(rows),
        "scored": unscored.count(None),
        "unscored": dict(Counter(kind for kind in unscored if kind is not None)),
        **{name: side.summary(task, [kind is None for kind in unscored]) for name, side in sides.items()},
    }
    if "base" in sides:
        record |= compared(sides["base"], sides["tuned"], task)
    record["rows"] = [
        {
            "prompt": row["messages"][-2]["content"],
            "question": task.question(row),
            "reference": row["messages"][-1]["content"],
            **{name: side.scored[i].record() | {"loss": side.losses.sums[i]} for name, side in sides.items()},
        }
        for i, row in enumerate(rows)
    ]
    return record


def compared(base: Side, tuned: Side, task: Task) -> dict[str, Any]:
    """The verdict and what decided it, the differences of all measures, and the rows that got worse.

    Right or wrong decides where every score is one of the two, else the mean score; where most rows have none, the loss.
    """
    # a row whose answers cannot both be scored says nothing of the difference
    pairs = [
        (i, one.score.value, other.score.value)
        for i, (one, other) in enumerate(zip(base.scored, tuned.scored, strict=True))
        if one.score.value is not None and other.score.value is not None
    ]
    before, after = [value == 1.0 for _, value, _ in pairs], [value == 1.0 for _, _, value in pairs]
    losses, tokens = (base.losses.sums, tuned.losses.sums), tuned.losses.tokens
    changes = {i: a - b for i, b, a in pairs}
    decided_by = task.metric
    if not pairs or (task.loss_decides and 2 * len(pairs) < len(base.scored)):
        decided_by = LOSS
        verdict: Verdict = judge_means("Loss per token of the reference", *losses, tokens, higher_is_better=False)
        changes = {i: b - a for i, (b, a) in enumerate(zip(*losses, strict=True))}
    elif all(value in (0.0, 1.0) for _, *values in pairs for value in values):
        verdict = judge(before, after)
    else:
        decided_by = "score"
        values = [value for _, value, _ in pairs], [value for _, _, value in pairs]
        verdict = judge_means("Mean score", *values, [1.0] * len(pairs), higher_is_better=True)
    differences: dict[str, Difference] = {task.metric: paired_shares(before, after)} if pairs else {}
    differences[LOSS] = paired_bootstrap(*losses, tokens)
    for name in sorted({name for one in tuned.scored for name in one.score.parts}):
        both = [
            (one.score.parts[name], other.score.parts[name])
            for one, other in zip(base.scored, tuned.scored, strict=True)
            if name in one.score.parts and name in other.score.parts
        ]
        if both:
            differences[name] = paired_bootstrap([b for b, _ in both], [a for _, a in both], [1.0] * len(both))
    return {
        **asdict(verdict),
        "decided_by": decided_by,
        "differences": {name: asdict(difference) for name, difference in differences.items()},
        "worse_rows": sorted((i for i, change in changes.items() if change < 0), key=changes.__getitem__),
    }
