"""Answers of a model to the rows of a split, each with its score. Knows no backend: a model is a callable."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from finetune.artifacts import Row
from finetune.encoding import Message
from finetune.tasks import Score, Scorer
from finetune.verdict import judge, wilson_interval


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    stopped: bool  # by itself, not by the limit on tokens
    seconds: float  # from the reading of its prompt to its last token, beside others


# prompts and a call to make after each finished answer -> the answers, in the order of the prompts
Generate = Callable[[Sequence[Sequence[Message]], Callable[[], None]], list[Answer]]


@dataclass(frozen=True)
class Evaluated:
    answers: list[Answer]
    scores: list[Score]
    seconds: float


def evaluate(generate: Generate, score: Scorer, rows: Sequence[Row], on_answer: Callable[[], None]) -> Evaluated:
    """Greedy answers to each row's conversation up to its last assistant turn, and their scores."""
    import time

    started = time.perf_counter()
    answers = generate([row["messages"][:-1] for row in rows], on_answer)
    seconds = time.perf_counter() - started
    return Evaluated(answers, [score(row, answer.text) for row, answer in zip(rows, answers, strict=True)], seconds)


def summary(evaluated: Evaluated) -> dict[str, Any]:
    """Accuracy over the rows that can be judged, with its 95 % Wilson interval, and what the answers were like."""
    values = [score.value for score in evaluated.scores if score.value is not None]
    right = sum(value == 1.0 for value in values)
    answers = evaluated.answers
    return {
        "accuracy": right / len(values) if values else None,
        "interval": wilson_interval(right, len(values)),
        "right": right,
        "kinds": dict(Counter(score.kind for score in evaluated.scores if score.value is not None).most_common()),
        "stopped": sum(answer.stopped for answer in answers) / len(answers),
        "mean_tokens": sum(answer.tokens for answer in answers) / len(answers),
        "seconds": evaluated.seconds,
    }


def result(rows: Sequence[Row], evaluated: dict[str, Evaluated], question: Callable[[Row], str]) -> dict[str, Any]:
    """The record of an evaluation: ``evaluated`` holds "tuned" and, for a comparison, "base"."""
    evaluated = {name: evaluated[name] for name in ("base", "tuned") if name in evaluated}
    tuned = evaluated["tuned"]
    scored = [score.value is not None for score in tuned.scores]
    record: dict[str, Any] = {
        "n": len(rows),
        "scored": sum(scored),
        "unscored": dict(Counter(score.kind for score in tuned.scores if score.value is None)),
        **{name: summary(side) for name, side in evaluated.items()},
    }
    if "base" in evaluated:
        record |= asdict(
            judge(
                [score.value == 1.0 for score, kept in zip(evaluated["base"].scores, scored, strict=True) if kept],
                [score.value == 1.0 for score, kept in zip(tuned.scores, scored, strict=True) if kept],
            )
        )
    record["rows"] = [
        {
            "prompt": row["messages"][-2]["content"],
            "question": question(row),
            "reference": row["messages"][-1]["content"],
            **{name: {"answer": side.answers[i].text, **asdict(side.scores[i])} for name, side in evaluated.items()},
        }
        for i, row in enumerate(rows)
    ]
    return record
