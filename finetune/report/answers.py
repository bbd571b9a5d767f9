"""What an evaluation says of the answers, as the page and the terminal show it."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetune.records.difference import Difference
from finetune.records.evaluation import (
    LOSS,
    NOTHING,
    SCORE,
    AnswerRecord,
    EvaluationRecord,
    GeneralRecord,
    GeneralRow,
    RowRecord,
)
from finetune.report import labels as labels_of
from finetune.report.texts import Cell, fixed, number, percent, signed
from finetune.tasks import TASKS

POINTS = " points"  # of percentages
_MOST_LOSS = 700.0  # of which a float holds the exponential
_SHOWN = 50_000  # characters of a text; those cut off are counted

# outcome of a row: did the base model get it right, did the tuned one; without a base model the first is None
_OUTCOMES = {
    (False, True): "fixed",
    (True, False): "broken",
    (False, False): "both wrong",
    (True, True): "both right",
    (None, True): "right",
    (None, False): "wrong",
}
_NOT_SCORED = "not scored"
_WORSE = "got worse"
_CLASSES = {"fixed": "good", "right": "good", "broken": "bad", "wrong": "bad", "better": "good", "worse": "bad"}


def css_class(word: str | None) -> str:
    """The colour of a verdict or of the outcome of a row: "good", "bad" or "" for none."""
    return _CLASSES.get(word or "", "")


def labels(evaluation: EvaluationRecord) -> dict[str, str]:
    """What the sides are called: other adapters may take the place of the base model."""
    return {"base": "other" if evaluation.against else "base", "tuned": "tuned"}


def is_scored(evaluation: EvaluationRecord) -> bool:
    return all(side.accuracy is not None for side in evaluation.sides.values())


@dataclass(frozen=True)
class Headline:
    """The result in one sentence, which begins with ``word``."""

    word: str
    sentence: str
    css_class: str = ""


def in_words(kind: str, task: str) -> str:
    """A kind of answer as a person reads it. Kinds of general questions and of a scorer's are words already."""
    own = [TASKS[task]] if task in TASKS else []
    words = next((one.kind_words[kind] for one in [*own, *TASKS.values()] if kind in one.kind_words), None)
    return words or ("right" if kind == "ok" else kind.replace("_", " "))


def decided_by(evaluation: EvaluationRecord) -> str:
    """What decided, after "better by": "executed SQL", "loss only: no answer could be judged"."""
    if evaluation.measure:
        return evaluation.measure
    return {LOSS: "loss per token", SCORE: "mean score"}.get(evaluation.decided_by or "", evaluation.metric)


def base_told(evaluation: EvaluationRecord) -> str:
    """What the base model alone was told: "a system message of its own and 3 training rows as examples"; empty if nothing."""
    told = ["a system message of its own"] if evaluation.base_prompt is not None else []
    if evaluation.few_shot:
        told.append(f"{evaluation.few_shot} training row{'s' if evaluation.few_shot > 1 else ''} as examples")
    return " and ".join(told)


def skipped(evaluation: EvaluationRecord) -> str:
    """The rows that cannot be judged, and why: "15 of 15 rows: the reference does not run"; empty if there are none."""
    if not evaluation.unscored:
        return ""
    reasons = [f"{count} × {in_words(kind, evaluation.task)}" for kind, count in evaluation.unscored.items()]
    one = len(reasons) == 1
    return f"{sum(evaluation.unscored.values())} of {evaluation.n} rows: " + (
        in_words(next(iter(evaluation.unscored)), evaluation.task) if one else "; ".join(reasons)
    )


def headline(evaluation: EvaluationRecord) -> Headline:
    base, tuned, verdict = evaluation.base, evaluation.tuned, evaluation.verdict
    if evaluation.decided_by == NOTHING:
        return Headline("Cannot be judged", f"none of the {evaluation.n} rows could be scored.")
    if tuned.accuracy is None and evaluation.decided_by != LOSS:
        if tuned.bits_per_byte is not None:
            return Headline("Not compared", f"the loss per token of the tuned model is {number(tuned.loss_per_token)}.")
        return Headline("Not scored", f"none of the {evaluation.n} rows could be scored.")
    if base is None or verdict is None:
        return Headline("Not compared", f"the tuned model has {percent(tuned.accuracy or 0)} {evaluation.metric}.")
    if evaluation.decided_by == LOSS:
        loss = evaluation.differences[LOSS]
        of = "references" if tuned.bits_per_byte is None else "texts"
        measure, before, after = f"the loss per token of the {of}", number(loss.base), number(loss.tuned)
    elif evaluation.decided_by == SCORE:
        measure, before, after = "the mean score", number(base.score or 0.0), number(tuned.score or 0.0)
    else:
        measure, before, after = evaluation.metric, percent(base.accuracy or 0), percent(tuned.accuracy or 0)
    even = verdict == "no evidence"
    if evaluation.against:
        sentence = f"{measure} is {after}, with the other adapters {before}."
    elif even:
        sentence = f"{measure} was {before} before training, {after} after it."
    else:
        sentence = (
            f"{measure} {'rose' if (verdict == 'better') == _rises(evaluation) else 'fell'} from {before} to {after}."
        )
    word = "No evidence of a difference" if even else verdict.capitalize()
    return Headline(f"{word} by {decided_by(evaluation).partition(':')[0]}", sentence, css_class(verdict))


def _rises(evaluation: EvaluationRecord) -> bool:
    """Whether more is better of the measure that decided."""
    return evaluation.decided_by != LOSS


def decisive(evaluation: EvaluationRecord) -> Cell | None:
    """The difference that decided, with its interval; None without a comparison."""
    found = evaluation.differences.get(evaluation.decided_by or "")
    is_share = evaluation.decided_by == evaluation.metric
    return _difference(found, more_is_better=_rises(evaluation), is_share=is_share) if found else None


@dataclass(frozen=True)
class Measure:
    """A row of the table of measures: a cell for each side, and their difference."""

    label: str
    cells: list[Cell]
    difference: Cell | None


def measures(evaluation: EvaluationRecord) -> list[Measure]:
    """All measures of the answers. The detail of a share is its own 95 % interval."""
    shown = list(evaluation.sides.values())
    rows = []

    def add(label: str, cells: Iterable[Cell], *, more_is_better: bool = True, is_share: bool = False) -> None:
        found = evaluation.differences.get(label)
        difference = _difference(found, more_is_better=more_is_better, is_share=is_share) if found else None
        rows.append(Measure(label, list(cells), difference))

    if is_scored(evaluation):
        shares = [Cell(percent(side.accuracy or 0), _interval(*side.interval)) for side in shown]
        add(evaluation.metric, shares, is_share=True)
        add("right answers", (Cell(f"{side.right} of {evaluation.scored}") for side in shown))
        if any(side.score != side.accuracy for side in shown):
            add("mean score", (Cell(fixed(side.score or 0, 3)) for side in shown))
    for label, cells in labels_of.measures(evaluation.classes) if evaluation.classes else ():
        add(label, cells)
    for part in shown[-1].parts:
        add(part, (Cell(number(side.parts[part]) if part in side.parts else "–") for side in shown))
    add(LOSS, (Cell(fixed(side.loss_per_token, 3)) for side in shown), more_is_better=False)
    if all(side.bits_per_byte is not None for side in shown):
        add("perplexity", (Cell(number(perplexity(side.loss_per_token))) for side in shown))
        add("bits per byte", (Cell(fixed(side.bits_per_byte or 0.0, 3)) for side in shown))
    if is_scored(evaluation) and all(side.formatted is not None for side in shown):
        add("well-formed", (Cell(percent(side.formatted or 0)) for side in shown))
    add("finished (EOS)", (Cell(percent(side.stopped)) for side in shown))
    add("repetition", (Cell(percent(side.repetition)) for side in shown))
    add("tokens per answer", (Cell(number(side.mean_tokens)) for side in shown))
    return rows


def perplexity(loss: float) -> float:
    """Of a loss per token in nats."""
    return math.exp(min(loss, _MOST_LOSS))


def _interval(low: float, high: float) -> str:
    """In whole percent: of a few hundred rows it says no more."""
    return f"{fixed(100 * low, 0)} to {percent(high, 0)}"


def _difference(found: Difference, *, more_is_better: bool, is_share: bool) -> Cell:
    """The difference and, below it, its 95 % interval; it is good or bad if the interval excludes 0."""
    scale, digits = (100, 1) if is_share else (1, 3)
    text = signed(scale * found.difference, digits) + (POINTS if is_share else "")
    if found.low is None or found.high is None:
        return Cell(text, "too few rows")
    excludes_zero = found.low > 0 or found.high < 0
    colour = ("good" if (found.low > 0) == more_is_better else "bad") if excludes_zero else ""
    return Cell(text, f"{signed(scale * found.low, digits)} to {signed(scale * found.high, digits)}", colour)


@dataclass(frozen=True)
class Forgotten:
    """The general questions: the record, and the questions that only one side got right."""

    record: GeneralRecord
    lost: list[GeneralRow]
    gained: list[GeneralRow]


def forgotten(evaluation: EvaluationRecord) -> Forgotten | None:
    """None if the general questions were not asked."""
    general = evaluation.general
    if general is None:
        return None
    lost, gained = ([row for row in general.rows if _outcome(row) == word] for word in ("broken", "fixed"))
    return Forgotten(general, lost, gained)


def kinds(evaluation: EvaluationRecord) -> list[str]:
    """Kinds of answers, "ok" first, then the most frequent ones."""
    total: Counter[str] = Counter()
    for side in evaluation.sides.values():
        total.update(side.kinds)
    return sorted(total, key=lambda kind: (kind != "ok", -total[kind], kind))


@dataclass(frozen=True)
class Example:
    """A row with its number from 1 and the groups that it can be filtered by."""

    number: int
    row: RowRecord
    groups: list[str]
    css_class: str
    is_open: bool  # one of each group, so that a page on paper shows it


def examples(evaluation: EvaluationRecord) -> list[Example]:
    """Every row with its outcome; those that got worse come first, the worst at the top, then the order of the rows."""
    rows = evaluation.rows
    first = {i: place for place, i in enumerate(evaluation.worse_rows)}
    found: list[Example] = []
    seen: set[str] = set()
    for i in sorted(range(len(rows)), key=lambda i: (first.get(i, len(rows)), i)):
        outcome = _outcome(rows[i])
        groups = [outcome] + ([_WORSE] if i in first and outcome != "broken" else [])
        colour = "bad" if i in first else css_class(outcome)
        found.append(Example(i + 1, rows[i], groups, colour, not seen.issuperset(groups)))
        seen.update(groups)
    return found


def groups(shown: Sequence[Example]) -> dict[str, int]:
    """How many examples there are of each group that occurs."""
    counts = Counter(group for example in shown for group in example.groups)
    return {group: counts[group] for group in [_WORSE, *_OUTCOMES.values(), _NOT_SCORED] if counts[group]}


def _outcome(row: RowRecord | GeneralRow) -> str:
    if row.tuned.value is None:
        return _NOT_SCORED
    return _OUTCOMES[row.base.value == 1 if row.base else None, row.tuned.value == 1]


def mark(answer: AnswerRecord, task: str) -> Cell:
    """What became of an answer: its kind and, for a graded score, its score."""
    value = answer.value
    graded = f" {fixed(value, 2)}" if value is not None and value not in (0, 1) else ""
    return Cell(in_words(answer.kind, task) + graded, "", "good" if value == 1 else "bad" if value == 0 else "")


def shortened(text: str, most: int = _SHOWN) -> str:
    """The text, or its beginning and how much is cut off."""
    more = len(text) - most
    return text if more <= 0 else f"{text[:most]}\n[{more:,} more characters]"
