"""What every backend reports while it trains."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One optimizer step, counted from 1."""

    step: int
    loss: float  # mean over the learned tokens of the batch
    finite: bool  # of the loss and of the gradient's norm; where False the step was not applied
    learning_rate: float
    rows: list[int]  # indices of the batch's training rows
    tokens: int  # processed, padding included
    learned: int  # in the loss
    seconds: float
    peak_memory_mb: float


@dataclass(frozen=True)
class Validation:
    step: int
    loss: float  # per learned token, over the whole validation split
