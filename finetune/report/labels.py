"""What an evaluation says of each label, as the page and the terminal show it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finetune.records.classes import Classes, LabelScore, SideClasses
from finetune.records.evaluation import EvaluationRecord
from finetune.report.texts import Cell, fixed, percent

_NAMED = 8  # labels in a sentence
_FEW = 5  # rows of a label, too few for a figure
_FEWEST_ANSWERED = 20  # rows above the threshold, for a share of right answers


@dataclass(frozen=True)
class LabelRow:
    """A label in the table."""

    label: str
    n: int
    right: list[str]  # of each side: "7 of 9"
    cells: list[str]  # precision, recall and F1 of the tuned model
    css_class: str  # "bad" if the tuned model never gets it right, or clearly less often than the base model


def label_rows(classes: Classes) -> list[LabelRow]:
    """Every label that rows have, or that the tuned model answered, in the order of the labels."""
    found = []
    for label, score in classes.tuned.labels.items():
        if not score.n and not score.answered:
            continue
        right = [f"{side.labels[label].right} of {score.n}" for side in classes.sides.values()]
        bad = label in classes.worse or (score.n > 0 and not score.right)
        cells = [_share(value) for value in (score.precision, score.recall, score.f1)]
        found.append(LabelRow(label, score.n, right, cells, "bad" if bad else ""))
    return found


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value, 0)


def warnings(classes: Classes) -> list[str]:
    """What the overall figure hides, a sentence each: labels that are never right, and those that got worse."""
    tuned, base = classes.tuned.labels, classes.base.labels if classes.base else {}
    found = []
    share = _share_right(classes)
    if classes.majority and share is not None and share <= classes.majority_share:
        found.append(
            f"No better than always answering “{classes.majority}”, which is right in {percent(classes.majority_share)} of the"
            " rows."
        )
    if never := classes.never_right:
        found.append(f"Never right: {_named([f'{label} ({_of_none(label, classes)})' for label in never])}.")
    if worse := [label for label in classes.worse if label not in never]:
        changes = [f"{label} ({base[label].right} → {tuned[label].right} of {tuned[label].n})" for label in worse]
        found.append(f"Clearly worse than before: {_named(changes)}.")
    return found


def _share_right(classes: Classes) -> float | None:
    """The share of rows whose one label is right; None if rows can have several, or if there are none."""
    scores = classes.tuned.labels.values()
    rows = sum(score.n for score in scores)
    return None if classes.several or not rows else sum(score.right for score in scores) / rows


def _of_none(label: str, classes: Classes) -> str:
    before = classes.base.labels[label].right if classes.base else 0
    return f"0 of {classes.tuned.labels[label].n}" + (f", before {before}" if before else "")


def remarks(evaluation: EvaluationRecord, classes: Classes) -> Iterator[str]:
    """What else a reader should know, a sentence each."""
    if classes.majority:
        yield f"Whoever always answers “{classes.majority}” is right in {percent(classes.majority_share)} of the rows."
    named = {"base": "the other model" if evaluation.against else "the base model", "tuned": "the tuned model"}
    for name, side in classes.sides.items():
        if side.n_invented:
            what = [f"“{text[:40].strip()}” {count}" for text, count in side.invented.items() if text]
            answers = f"{side.n_invented} of {evaluation.n} answers of {named[name]} are no label"
            yield f"{answers}: {_named(what)}." if what else f"{answers}: they are empty."
    if few := [label for label, score in classes.tuned.labels.items() if 0 < score.n < _FEW]:
        yield f"Fewer than {_FEW} rows, so that the figures say little: {_named(few)}."


def _named(items: Sequence[str]) -> str:
    more = [f"and {len(items) - _NAMED} more"] if len(items) > _NAMED else []
    return ", ".join([*items[:_NAMED], *more])


def confused(side: SideClasses, most: int = 5) -> list[str]:
    """The most frequent mistakes: "Praise → Refund 3"."""
    labels = list(side.labels)
    pairs = [
        (count, labels[row], labels[column])
        for row, counts in enumerate(side.confusion)
        for column, count in enumerate(counts[:-1])
        if count and row != column
    ]
    pairs.sort(key=lambda pair: -pair[0])
    return [f"{label} → {answered} {count}" for count, label, answered in pairs[:most]]


def measures(classes: Classes) -> Iterator[tuple[str, list[Cell]]]:
    """Rows of the table of all measures."""
    sides = classes.sides
    if classes.restricted:
        shares = [classes.restricted.get(name) for name in sides]
        yield "right labels, restricted", [Cell("–" if share is None else percent(share)) for share in shares]
    yield "macro F1", [Cell(_figure(side.macro_f1)) for side in sides.values()]
    if classes.several:
        yield "micro F1", [Cell(_figure(side.micro_f1)) for side in sides.values()]


def _figure(value: float | None) -> str:
    return "–" if value is None else fixed(value, 3)


def confidence(classes: Classes) -> list[str]:
    """How sure the restricted answers of the tuned model are, a sentence each."""
    found = classes.confidence
    if found is None:
        return []
    before, after = percent(found.calibration_error_before), percent(found.calibration_error)
    if found.temperature is None:
        return [
            f"If only a label can be answered, confidence and share of right answers are {before} apart (not calibrated: that"
            " needs validation rows of their own)."
        ]
    lines = [
        f"If only a label can be answered, confidence and share of right answers are {after} apart on average ({before} before"
        f" calibration: temperature {fixed(found.temperature, 2)}, fitted on {found.fitted_on} validation rows)."
    ]
    if found.threshold is None:
        return [*lines, "At no confidence are 95 % of the validation rows right."]
    least = fixed(found.threshold, 2)
    if found.precision is None or found.coverage is None:
        return [*lines, f"No answer has the confidence of {least}, at which 95 % of the validation rows are right."]
    rows = sum(score.n for score in classes.tuned.labels.values())
    answered = round(found.coverage * rows)
    few = "" if answered >= _FEWEST_ANSWERED else " These are too few rows to rely on."
    return [
        *lines,
        f"With a confidence of at least {least} (95 % of the validation rows are right there), {percent(found.coverage, 0)} of"
        f" the rows ({answered} of {rows}) are answered, {percent(found.precision)} of them right.{few}",
    ]


def worst_first(scores: dict[str, LabelScore]) -> list[str]:
    """The labels that rows have, those of the lowest F1 first."""
    return sorted((label for label, score in scores.items() if score.n), key=lambda label: scores[label].f1 or 0.0)
