"""What every backend reports while it trains, and the names that its choices go by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from finetune.models.encoder import ChatEncoder, Example, Message

OPTIMIZERS = {
    "adamw": "AdamW",
    "adam": "Adam",
    "sgd": "SGD",
    "lion": "Lion",
    "adafactor": "Adafactor",
    "muon": "Muon",
}


MOST_COPIED_BYTES = 1e9  # of weights that are copied to draw answers faster


@dataclass(frozen=True)
class AdapterFormat:
    """How adapters lie in their folder, so that the other tools of a backend's world load them as they are."""

    file: str
    model_key: str  # of adapter_config.json: what they were trained on


@dataclass(frozen=True)
class Step:
    """One optimizer step, counted from 1."""

    step: int
    loss: float  # the method's; of sft the mean over the learned tokens of its rows
    finite: bool  # of the loss and of the gradient's norm; where False the run ends, and nothing of the step is kept
    learning_rate: float
    rows: list[int]  # indices of the training rows it took
    tokens: int  # processed, padding included
    learned: int  # tokens in the loss
    seconds: float
    peak_memory_mb: float
    figures: dict[str, float] = field(default_factory=dict)  # the method's own, such as the mean reward


@dataclass(frozen=True)
class Footprint:
    """What training takes: memory in 10^6 bytes, seconds of a typical optimizer step."""

    parameters: int
    trainable: int
    layers: int
    thinnest: int | None  # the smaller side of the smallest matrix with an adapter
    measured_layers: tuple[int, ...]  # how many layers the steps were run on
    weights_mb: float
    adapters_mb: float
    optimizer_mb: float
    layers_mb: float  # what the layers keep for the way back, and their gradients; 0 where it was measured as a whole
    others_mb: float  # the rest of a step: output head, loss, what is under way
    seconds: float

    @property
    def held_mb(self) -> float:
        """Between two steps."""
        return self.weights_mb + self.adapters_mb + self.optimizer_mb

    @property
    def peak_mb(self) -> float:
        return self.held_mb + self.layers_mb + self.others_mb


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    stopped: bool  # by itself, not by the limit on tokens
    seconds: float  # from the reading of its prompt to its last token, beside others


class Model(Protocol):
    @property
    def encoder(self) -> ChatEncoder: ...

    def answers(
        self, conversations: Sequence[Sequence[Message]], on_answer: Callable[[int, Answer], None], *, max_tokens: int
    ) -> list[Answer]: ...

    def losses(self, examples: Sequence[Example], on_batch: Callable[[int], None]) -> list[float]: ...
