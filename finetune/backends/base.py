"""What every backend reports while it trains, and the names that its choices go by."""

from dataclasses import dataclass

OPTIMIZERS = {
    "adamw": "AdamW",
    "adam": "Adam",
    "sgd": "SGD",
    "lion": "Lion",
    "adafactor": "Adafactor",
    "muon": "Muon",
}


@dataclass(frozen=True)
class Step:
    """One optimizer step, counted from 1."""

    step: int
    loss: float  # mean over the learned tokens of its rows
    finite: bool  # of the loss and of the gradient's norm; where False the step was not applied
    learning_rate: float
    rows: list[int]  # indices of the training rows it took
    tokens: int  # processed, padding included
    learned: int  # in the loss
    seconds: float
    peak_memory_mb: float
