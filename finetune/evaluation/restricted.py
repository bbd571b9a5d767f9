"""Answers that can only be one of the labels: the label whose text is the most probable after the prompt, and how sure that is.

The probability of a label is that of all its tokens, the end of the turn included, divided by the sum over the labels. It is
calibrated by one temperature, fitted on validation rows (Guo et al. 2017, arXiv 1706.04599).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, fsum, log

from finetune.backends.interface import Model
from finetune.models.conversation import Conversation
from finetune.models.examples import last_answer
from finetune.models.loss_mask import Example
from finetune.records.classes import Classes, Confidence
from finetune.records.evaluation import AnswerRecord, EvaluationRecord
from finetune.records.files import Row
from finetune.tasks.classify.task import labels_of
from finetune.terminal import Progress

MOST_FITTED = 300  # validation rows that the temperature is fitted on
_BINS = 10  # of the expected calibration error
_PRECISION = 0.95  # of the answers above the threshold
_RANGE = (0.05, 20.0)  # of the temperature
_STEPS = 60  # of the search for it


@dataclass(frozen=True)
class Chosen:
    """A row's most probable label."""

    label: str
    right: bool
    confidence: float


@dataclass(frozen=True)
class Choices:
    """The log-probabilities of all labels after the prompt of each row: [rows][labels], and the place of the right one."""

    labels: Sequence[str]
    logprobs: Sequence[Sequence[float]]
    right: Sequence[int]

    def chosen(self, temperature: float = 1.0) -> list[Chosen]:
        found = []
        for values, right in zip(self.logprobs, self.right, strict=True):
            best = max(range(len(values)), key=values.__getitem__)
            found.append(Chosen(self.labels[best], best == right, _softmax(values, temperature)[best]))
        return found

    @property
    def accuracy(self) -> float:
        return sum(one.right for one in self.chosen()) / max(1, len(self.right))

    def temperature(self) -> float:
        """The temperature at which the right labels are the most probable (golden-section search; the loss is convex in its
        inverse)."""

        def loss(at: float) -> float:
            pairs = zip(self.logprobs, self.right, strict=True)
            return -fsum(log(max(_softmax(values, exp(at))[right], 1e-300)) for values, right in pairs)

        low, high = map(log, _RANGE)
        golden = (5**0.5 - 1) / 2
        for _ in range(_STEPS):
            one, other = high - golden * (high - low), low + golden * (high - low)
            low, high = (low, other) if loss(one) < loss(other) else (one, high)
        return exp((low + high) / 2)


def _softmax(values: Sequence[float], temperature: float) -> list[float]:
    highest = max(values)
    weights = [exp((value - highest) / temperature) for value in values]
    total = fsum(weights)
    return [weight / total for weight in weights]


def choices(
    model: Model, rows: Sequence[Row], labels: Sequence[str], on_rows: Callable[[int], None] = lambda count: None
) -> Choices:
    """The log-probabilities of each label after the prompts of the rows."""
    at = {label: number for number, label in enumerate(labels)}
    logprobs: list[list[float]] = []
    for begin in range(0, len(rows), model.batch_hint):
        some = rows[begin : begin + model.batch_hint]
        asked = [Conversation.of(row).answered(label) for row in some for label in labels]
        examples: list[Example] = []
        for made in model.encoder.examples(asked):
            if isinstance(made, ValueError):
                raise made
            examples.append(last_answer(made[-1]))
        losses = model.losses(examples, same_prompts=True)
        logprobs += [
            [-loss for loss in losses[number * len(labels) : (number + 1) * len(labels)]] for number in range(len(some))
        ]
        on_rows(len(some))
    return Choices(labels, logprobs, [at[labels_of(row)[0]] for row in rows])


def calibration_error(chosen: Sequence[Chosen]) -> float:
    """The expected calibration error: how far confidence and share of right answers are apart, in bins of the confidence."""
    bins: dict[int, list[Chosen]] = {}
    for one in chosen:
        bins.setdefault(min(_BINS - 1, int(one.confidence * _BINS)), []).append(one)
    gaps = (abs(fsum(one.confidence for one in of) - sum(one.right for one in of)) for of in bins.values())
    return fsum(gaps) / max(1, len(chosen))


def threshold(chosen: Sequence[Chosen]) -> float | None:
    """The lowest confidence such that 95 % of the answers with at least that are right; None if there is none."""
    found, right = None, 0
    ordered = sorted(chosen, key=lambda one: -one.confidence)
    for number, one in enumerate(ordered, start=1):
        right += one.right
        is_last = number == len(ordered) or ordered[number].confidence < one.confidence
        if is_last and right >= _PRECISION * number:
            found = one.confidence
    return found


def confidence_of(test: Choices, valid: Choices | None) -> tuple[Confidence, list[Chosen]]:
    """How far the confidence on the scored rows can be trusted, with temperature and threshold of the validation rows."""
    temperature = valid.temperature() if valid and valid.right else None
    chosen = test.chosen(temperature or 1.0)
    least = threshold(valid.chosen(temperature)) if valid and temperature else None
    sure = [one for one in chosen if least is not None and one.confidence >= least]
    return (
        Confidence(
            temperature=temperature,
            fitted_on=len(valid.right) if valid else 0,
            calibration_error_before=calibration_error(test.chosen()),
            calibration_error=calibration_error(chosen),
            threshold=least,
            coverage=len(sure) / len(chosen) if least is not None and chosen else None,
            precision=sum(one.right for one in sure) / len(sure) if sure else None,
        ),
        chosen,
    )


def add(
    record: EvaluationRecord,
    models: Mapping[str, Model],
    rows: Mapping[str, Sequence[Row]],
    labels: Sequence[str],
    valid: Sequence[Row],
) -> EvaluationRecord:
    """The record with what each model answers if it can only answer with one of the ``labels``. ``rows``: by model, as it is
    asked them. ``valid``: rows to calibrate the tuned model's confidence on."""
    known = list(dict.fromkeys((*labels, *(label for row in [*rows["tuned"], *valid] for label in labels_of(row)))))
    found: dict[str, Choices] = {}
    for name, model in models.items():
        with Progress(f"Labels ({name})", len(rows[name]), "rows") as bar:
            found[name] = choices(model, rows[name], known, bar.advance)
    fitted = None
    if some := valid[:MOST_FITTED]:
        with Progress("Labels (validation)", len(some), "rows") as bar:
            fitted = choices(models["tuned"], some, known, bar.advance)
    confidence, tuned = confidence_of(found["tuned"], fitted)
    chosen = {name: tuned if name == "tuned" else one.chosen() for name, one in found.items()}
    assert record.classes
    classes: Classes = replace(
        record.classes, restricted={name: found[name].accuracy for name in found}, confidence=confidence
    )
    made = [
        replace(
            row,
            base=_with(row.base, chosen["base"][at]) if row.base else None,
            tuned=_with(row.tuned, chosen["tuned"][at]),
        )
        for at, row in enumerate(record.rows)
    ]
    return replace(record, classes=classes, rows=made)


def _with(answer: AnswerRecord, chosen: Chosen) -> AnswerRecord:
    return replace(answer, label=chosen.label, confidence=chosen.confidence)
