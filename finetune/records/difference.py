"""A measure of two models on the same rows, as the records hold it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """A measure of the base and the tuned model on the same rows, and their difference with its 95 % interval."""

    base: float  # of the base model, or of the adapters that a run started with
    tuned: float  # of the tuned model
    difference: float  # tuned - base
    low: float | None = None  # lower end of the interval; null if the rows are too few
    high: float | None = None  # upper end of the interval
