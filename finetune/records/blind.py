"""blind.json: which of two answers to a row a person preferred, without knowing which model wrote which."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from finetune.errors import UserError
from finetune.records import files
from finetune.records.evaluation import EvaluationRecord, Word
from finetune.records.record import Record
from finetune.terminal import say

SideName = Literal["base", "tuned"]
Choice = Literal["A", "B", "same"]


@dataclass(frozen=True)
class Judged:
    """A row that a person has judged."""

    row: int  # its place in `rows` of evaluation.json, from 0
    a: SideName  # the side whose answer was shown as A
    choice: Choice  # the answer that was preferred, or "same"

    @property
    def preferred(self) -> SideName | None:
        """The side whose answer was preferred; None for "same"."""
        if self.choice == "same":
            return None
        return self.a if self.choice == "A" else "tuned" if self.a == "base" else "base"


@dataclass(frozen=True)
class BlindResult:
    """What the choices say, once all rows are judged."""

    base: int  # rows on which the base model's answer was preferred
    tuned: int  # rows on which the tuned model's answer was preferred
    same: int  # rows on which neither was; they are no part of share, interval and test
    share: float | None  # share of `tuned` in the rows with a preference, 0 to 1; null if there are none
    interval: tuple[float, float]  # its 95 % interval (Clopper-Pearson)
    p: float  # two-sided, of the exact sign test
    verdict: Word  # of the tuned model against the base model, by these choices alone
    chose_a: int  # how often the answer shown as A was preferred, whoever wrote it
    chose_b: int  # the same for B
    one_sided: float  # how likely so uneven a choice between A and B is by chance: two-sided p of the exact sign test


@dataclass(frozen=True, kw_only=True)
class BlindRecord(Record):
    """The choices of a person between the two answers of rows of an evaluation."""

    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "python test_finetuned.py --blind 20"

    answers_sha256: str  # SHA-256 of the prompts and answers of the evaluation, so that it is known to be the same
    seed: int  # random seed of the order and of the sides
    n: int  # rows to be judged
    equal: int  # rows of the evaluation that were skipped because both answers are equal
    judged: list[Judged] = field(default_factory=list)  # in the order in which they were shown
    result: BlindResult | None = None  # null until all rows are judged
    seen: list[int] = field(default_factory=list)  # numbers of rows after which a result was shown before


def answers_hash(evaluation: EvaluationRecord) -> str:
    """SHA-256 of the prompts and of both answers to each."""
    texts = [[row.prompt, *(side.answer for side in row.sides.values())] for row in evaluation.rows]
    return files.text_hash(json.dumps(texts))


def of_evaluation(folder: Path, evaluation: EvaluationRecord) -> BlindRecord | None:
    """What a person found of the same answers, if that is in ``folder`` and has come to its end."""
    if not (path := folder / files.BLIND).exists():
        return None
    try:
        found = BlindRecord.read(path)
    except UserError as error:
        say(f"Note: not shown: {error}")
        return None
    return found if found.result and found.answers_sha256 == answers_hash(evaluation) else None
