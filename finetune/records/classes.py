"""What is known of each label: in evaluation.json of rows of type classify."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LabelScore:
    """One model's answers, seen from one label. Shares are 0 to 1."""

    n: int  # rows that have the label
    answered: int  # answers that name it
    right: int  # of them, to rows that have it
    precision: float | None  # right / answered; null if no answer names it
    recall: float | None  # right / n; null if no row has it
    f1: float | None  # their harmonic mean; 0 if none is right; null if no row has it and no answer names it


@dataclass(frozen=True)
class SideClasses:
    """One model's answers by label."""

    labels: Mapping[str, LabelScore]  # each label, in the order of the labels
    macro_f1: float | None  # mean F1 of the labels that rows have
    micro_f1: float | None  # F1 over all labels of all rows; of rows with one label the share of right answers
    confusion: Sequence[
        Sequence[int]
    ]  # rows of each label by the label that was answered, the last: none; [] if several
    invented: Mapping[str, int]  # answers, or lines of them, that are no label, the most frequent first, 50 at most
    n_invented: int  # answers that name something that is no label


@dataclass(frozen=True)
class Confidence:
    """How sure the tuned model is if it can only answer with a label, and whether that can be trusted."""

    temperature: (
        float | None
    )  # divides the log-probabilities; fitted on validation rows; null: 1, for want of such rows
    fitted_on: int  # validation rows
    calibration_error_before: float  # expected calibration error on the scored rows at temperature 1
    calibration_error: float  # the same at the fitted temperature
    threshold: float | None  # lowest confidence at which 95 % of the validation rows are right; null if there is none
    coverage: float | None  # share of the scored rows with at least that confidence
    precision: float | None  # share of right answers among them


@dataclass(frozen=True)
class Classes:
    """What the answers say of each label."""

    several: bool  # rows can have several labels
    majority: str  # the most frequent label of the scored rows
    majority_share: float  # share of right answers of whoever always answers with it
    tuned: SideClasses  # the tuned model
    base: SideClasses | None = None  # the base model; null without a comparison
    worse: Sequence[
        str
    ] = ()  # labels of which the tuned model gets clearly fewer rows right (exact McNemar test, p < 0.05)
    restricted: Mapping[str, float] | None = None  # side -> share of right answers if only a label can be answered
    confidence: Confidence | None = None  # of those answers; null without --restrict

    @property
    def sides(self) -> dict[str, SideClasses]:
        return {"tuned": self.tuned} if self.base is None else {"base": self.base, "tuned": self.tuned}

    @property
    def never_right(self) -> list[str]:
        """Labels of which the tuned model gets no row right."""
        return [label for label, found in self.tuned.labels.items() if found.n and not found.right]
