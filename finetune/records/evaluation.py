"""evaluation.json: the answers of the tuned model and of the one it is compared with, their scores, and the verdict.

A *side* is `tuned` or `base`. With `--against` the other adapters stand in the place of `base`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeVar

from finetune.records.classes import Classes
from finetune.records.difference import Difference
from finetune.records.drafts import Drafts
from finetune.records.record import Record

LOSS = "loss per token"  # of `decided_by` and `differences`: the loss of the references
SCORE = "score"  # of `decided_by`: the mean score
NOTHING = "nothing"  # of `decided_by`: no answer could be judged, and the loss is no substitute
Word = Literal["better", "worse", "no evidence"]
_Side = TypeVar("_Side")


@dataclass(frozen=True)
class ScorerRecord:
    """A scorer of the user's."""

    file: str  # its path
    sha256: str  # its hash


@dataclass(frozen=True)
class AnswerRecord:
    """One model's answer to one row, and its score."""

    answer: str  # its text
    tokens: int  # its length
    stopped: bool  # the model ended it with an end-of-sequence token, before the limit on tokens
    seconds: float  # from the start of its prompt to its last token, beside the other rows of its batch
    value: float | None  # score, 0 to 1; 1 is right; null if the answer cannot be scored
    kind: str  # class of the answer, such as "ok" or "unknown_column"
    reason: str  # why it has this score
    parts: Mapping[str, float] = field(default_factory=dict)  # other measures of this answer, 0 to 1, such as "ROUGE-L"
    loss: float | None = None  # loss of the reference in nats, summed over its tokens; null for a general question
    raw: str | None = None  # all that the model wrote, thinking and marks of the template too; null: the answer
    label: str | None = None  # the most probable label (--restrict); null if that was not asked for
    confidence: float | None = None  # its probability among the labels, calibrated


@dataclass(frozen=True)
class TurnRecord:
    """A turn of a conversation."""

    role: str  # system, user, assistant or tool
    text: str  # its text without thinking, then a line for each call, such as `calls get_weather(city="Paris")`


@dataclass(frozen=True)
class RowRecord:
    """A row of the split."""

    prompt: str  # its last user turn; of plain text, the beginning that is to be continued
    question: str  # the same in short
    reference: str  # its own answer; of plain text, how it goes on
    tuned: AnswerRecord  # answer of the tuned model
    base: AnswerRecord | None = None  # answer of the base model; null without a comparison
    before: list[TurnRecord] = field(default_factory=list)  # the turns before `prompt`; none in older files
    after: list[TurnRecord] = field(default_factory=list)  # the turns between `prompt` and the answer, such as calls
    tools: list[str] = field(default_factory=list)  # the functions that can be called

    @property
    def sides(self) -> dict[str, AnswerRecord]:
        return _sides(self.base, self.tuned)


@dataclass(frozen=True)
class SideRecord:
    """What one model did with the rows. Shares are 0 to 1."""

    accuracy: float | None  # share of right answers among the scored rows; null if there are none
    score: float | None  # mean score, 0 to 1; null if no row has one
    interval: tuple[float, float]  # 95 % interval of the accuracy (Wilson)
    right: int  # right answers
    kinds: Mapping[str, int]  # kind of answer -> how many of the scored rows
    formatted: float | None  # share of the scored answers that are well-formed; null if there are none
    stopped: float  # share of the answers that the model finished itself (EOS)
    mean_tokens: float  # mean length of an answer, in tokens
    repetition: float  # share of an answer's word sequences that were in it before, on average
    loss_per_token: float  # loss of the references, in nats; of plain text, of the text
    bits_per_byte: float | None = None  # of plain text: its loss in bits, by its bytes in UTF-8; null for other rows
    parts: Mapping[str, float] = field(default_factory=dict)  # other measure -> its mean


@dataclass(frozen=True)
class FieldSide:
    """What one model did with one field of the objects that it was to extract."""

    right: int  # rows that have the field, and it is right
    faults: Mapping[str, int]  # kind of fault -> rows, the most frequent first


@dataclass(frozen=True)
class WrongField:
    """A field of the tuned model's answer to one row that is wrong."""

    row: int  # its place in `rows`, from 0
    fault: str  # kind of fault, such as "missing" or "lost sign"
    reference: str | None  # the value of the row, in JSON and shortened; null if it has none
    answer: str | None  # that of the answer; null if it has none


@dataclass(frozen=True)
class FieldRecord:
    """A field of the objects that were to be extracted."""

    name: str  # its path, such as "customer.name"
    about: str  # what it may be, in words; "not in the schema" if it was invented
    n: int  # rows that have it; 0 if it was invented
    tuned: FieldSide  # the tuned model
    base: FieldSide | None = None  # the base model; null without a comparison
    wrong: list[WrongField] = field(default_factory=list)  # the rows in which the tuned model is wrong on it

    @property
    def sides(self) -> dict[str, FieldSide]:
        return _sides(self.base, self.tuned)


@dataclass(frozen=True)
class GeneralSide:
    """One model's answers to the general questions."""

    right: int  # right answers
    accuracy: float  # their share, 0 to 1
    interval: tuple[float, float]  # its 95 % interval (Wilson)


@dataclass(frozen=True)
class GeneralRow:
    """A general question."""

    question: str  # its text
    tuned: AnswerRecord  # answer of the tuned model
    base: AnswerRecord | None = None  # answer of the base model; null without a comparison


@dataclass(frozen=True)
class GeneralRecord:
    """General questions, which have nothing to do with the task: what has the tuned model forgotten?"""

    n: int  # questions
    tuned: GeneralSide  # the tuned model
    rows: list[GeneralRow]  # the questions with their answers
    base: GeneralSide | None = None  # the base model; null without a comparison
    verdict: Word | None = None  # "worse": the tuned model has lost some; null without a comparison
    explanation: str | None = None  # the reason in words

    @property
    def sides(self) -> dict[str, GeneralSide]:
        return _sides(self.base, self.tuned)


@dataclass(frozen=True)
class RestrictedSide:
    """One model's answers to the same rows that could only be objects of the schema."""

    accuracy: float  # share of right answers
    right: int  # right answers
    interval: tuple[float, float]  # 95 % interval of the accuracy (Wilson)
    stopped: float  # share of the answers that ended before the limit on tokens
    mean_tokens: float  # mean length of an answer, in tokens
    parts: Mapping[str, float]  # other measure -> its mean
    verdict: Word  # of the restricted answers against the free ones of the same model
    explanation: str  # the reason in words
    answers: list[AnswerRecord]  # in the order of the rows


@dataclass(frozen=True)
class RestrictedRecord:
    """Answers by the grammar of the schema (`--restrict`), beside the free ones."""

    tuned: RestrictedSide  # the tuned model
    base: RestrictedSide | None = None  # the base model; null without a comparison
    verdict: Word | None = None  # of the tuned model against the base model, both restricted
    explanation: str | None = None  # the reason in words

    @property
    def sides(self) -> dict[str, RestrictedSide]:
        return _sides(self.base, self.tuned)


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord(Record):
    """Answers, scores and verdict; in benchmark.json it is `quality`. Without a comparison, the keys that only a comparison
    fills are null or empty."""

    FORMAT: ClassVar[int] = 4
    MADE_BY: ClassVar[str] = "python test_finetuned.py"

    task: str  # type of the rows, such as "sql"
    metric: str  # name of the share of right answers, such as "execution accuracy"
    split: str  # "test" or "valid"
    model: str  # name of the model
    adapter_path: str  # folder of the adapters
    against: str | None = None  # folder of the adapters in the place of the base model
    scorer: ScorerRecord | None = None  # file of --scorer, which scored the answers; null: the task did
    base_prompt: str | None = None  # system message for the base model alone, in the place of the rows' own
    few_shot: int | None = None  # training rows that the base model alone was shown as earlier turns
    changes_nothing: bool = False  # the adapter is as it was before the first step
    answering: str | None = None  # how the rows were decoded: "together", or in another way and why; null if not known
    n: int  # rows
    scored: int  # rows whose answers have a score on every side
    unscored: Mapping[str, int]  # kind of answer -> rows that cannot be scored
    base: SideRecord | None = None  # the base model
    tuned: SideRecord  # the tuned model
    verdict: Word | None = None  # of the tuned model against the base model
    explanation: str | None = None  # the reason in words
    p: float | None = None  # two-sided, of the exact McNemar test; null if an interval decided
    fixed: int | None = None  # rows that only the tuned model got right, or on which it did better
    broken: int | None = None  # rows that only the base model got right, or on which the tuned model did worse
    needed: int | None = None  # rows that would show a difference as large as the one seen in 80 % of the cases
    decided_by: str | None = None  # what decided: the metric, "score" (mean score), "loss per token", or "nothing"
    measure: str | None = None  # the same in words: "executed SQL", "word overlap only"; null in files before format 4
    differences: Mapping[str, Difference] = field(default_factory=dict)  # measure -> its difference; shares are 0 to 1
    worse_rows: list[int] = field(default_factory=list)  # places in `rows`, from 0, that got worse, the worst first
    rows: list[RowRecord]  # in the order of the file
    general: GeneralRecord | None = None  # the general questions; null if they were not asked
    drafts: Drafts | None = None  # what was measured of long answers; null for short ones
    classes: Classes | None = None  # what the answers say of each label; null for rows that have none
    fields: tuple[FieldRecord, ...] | None = None  # of `extract` rows: each field; null for other rows
    restricted: RestrictedRecord | None = None  # answers under --restrict; null without it

    @property
    def sides(self) -> dict[str, SideRecord]:
        """The sides by name, the base model first."""
        return _sides(self.base, self.tuned)


def _sides(base: _Side | None, tuned: _Side) -> dict[str, _Side]:
    return {"tuned": tuned} if base is None else {"base": base, "tuned": tuned}
