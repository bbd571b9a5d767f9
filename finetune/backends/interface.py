"""What every backend offers: a model that answers, a trainer that takes steps, and what both report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from finetune.backends.estimate import DeviceMemory, MemoryEstimate
from finetune.methods import Method
from finetune.methods.base import Sample
from finetune.methods.batches import BatchSource, Policy
from finetune.models.constraint import Restrict
from finetune.models.conversation import AnyConversation
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import TrainingRow
from finetune.models.loss_mask import Example
from finetune.models.new_tokens import NewTokens
from finetune.records.run import renamed_metrics
from finetune.settings.config import TrainingConfig
from finetune.signals import Stop, never

__all__ = [
    "AdapterFormat",
    "Answer",
    "Backend",
    "DeviceMemory",
    "MemoryEstimate",
    "Model",
    "Position",
    "Sample",
    "Step",
    "Trainer",
]

OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD", "lion": "Lion", "adafactor": "Adafactor", "muon": "Muon"}
MOST_COPIED_BYTES = 1e9  # of weights that are copied so that sampling is faster


@dataclass(frozen=True)
class AdapterFormat:
    """How adapters lie in their folder, so that the other tools of a backend's world load them unchanged."""

    file: str
    model_key: str  # of adapter_config.json: the model that the adapters belong to


@dataclass(frozen=True)
class Step:
    """What one optimizer step did.

    ``loss`` is a mean: the summed loss of the step's batches over ``weight``. The unit of the weight is the method's: learned
    tokens (sft, and GRPO's dapo), pairs (dpo, orpo) or completions (GRPO's grpo and dr_grpo). The mean of steps is weighted."""

    step: int  # counted from 1
    loss: float
    weight: float  # 0 if nothing in the step had a gradient
    finite: bool  # the loss and the norm of the gradient; if False, the run ends and the step has changed nothing
    learning_rate: float
    rows: list[int]  # indices of the training rows in the step
    tokens: int  # processed, padding included
    learned: int  # tokens in the loss
    seconds: float
    peak_memory_mb: float  # 10^6 bytes
    metrics: dict[str, float] = field(default_factory=dict)  # of the method, such as the mean reward

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> "Step":
        """A step from the JSON of a training state. States of older versions have other names and no weight."""
        older = {"metrics": state.get("figures", {}), "weight": state["learned"]}
        fields = {**older, **{name: value for name, value in state.items() if name != "figures"}}
        return cls(**{**fields, "metrics": renamed_metrics(fields["metrics"])})


@dataclass(frozen=True)
class Answer:
    """A model's greedy answer to one conversation."""

    text: str  # without thinking and what the chat template puts around it
    tokens: int  # without the end-of-sequence token
    stopped: bool  # finished with an end-of-sequence token; False if it was cut off at the token limit
    seconds: float  # from the start of the prompt to the last token, while other answers were decoded too
    raw: str | None = None  # all that it wrote; None if that is the text


class Model(Protocol):
    """A model in memory, with or without an adapter."""

    @property
    def encoder(self) -> ChatEncoder:
        """The tokenizer and its template."""

    @property
    def network(self) -> Any:
        """The backend's own network, with its adapter attached, disabled or fused as this model says."""

    @property
    def changes_nothing(self) -> bool:
        """Whether there is an adapter that leaves the model unchanged (every LoRA B is 0)."""

    @property
    def batch_hint(self) -> int:
        """How many answers to ask for in one call, so that the hardware is used and progress can be shown in between."""

    @property
    def answering(self) -> str:
        """How it has answered several conversations, in a few words: "together", or in another way and why; "" if unknown."""

    def without_adapter(self) -> "Model":
        """The base model on the same weights. It is not a second copy: only one of the two can work at a time."""

    def fused(self) -> "Model":
        """The tuned model with the adapter added into a copy of the adapted weights."""

    def answers(
        self,
        conversations: Sequence[AnyConversation],
        on_answer: Callable[[int, Answer], None] = lambda index, answer: None,
        *,
        max_tokens: int,
        stops: bool = True,
        stop: Stop = never,
        restrict: Restrict | None = None,
    ) -> list[Answer]:
        """Greedy answers, many decoded at a time, in the order of the conversations; empty if ``stop`` interrupted them.
        ``on_answer`` is called with the index of each when it is finished. With ``stops`` False every answer runs to
        ``max_tokens``. ``restrict`` says what each may be. ValueError if the chat template refuses a conversation."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        temperature: float,
        seed: str,
        stop: Stop = never,
    ) -> list[Sample] | None:
        """One sampled completion for each prompt (token ids), by prompt, ``seed`` and index; None if ``stop`` stopped it."""

    def losses(
        self,
        examples: Sequence[Example],
        on_batch: Callable[[int], None] = lambda count: None,
        *,
        same_prompts: bool = False,
    ) -> list[float]:
        """Summed negative log-probability of each example's learned tokens, in nats. ``same_prompts``: of neighbours."""

    def stream(self, prompt: Sequence[int], max_tokens: int, *, stops: bool = True) -> Iterator[int]:
        """Greedy tokens after a prompt (token ids), one at a time, without the end-of-sequence token that ends them."""


class Position(Protocol):
    """How far a run has come."""

    @property
    def step(self) -> int:
        """Finished optimizer steps."""

    @property
    def batch(self) -> int:
        """Finished batches of the step under way."""


class Trainer(Policy, Protocol):
    """A training run that can be saved and resumed; several processes each have one, and make the same calls."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""

    @property
    def position(self) -> Position:
        """How far the run has come."""

    @property
    def notes(self) -> Sequence[str]:
        """What is computed in a slower or larger way than usual with this model, and why: a sentence each."""

    @property
    def is_sound(self) -> bool:
        """Whether what ``save`` writes is whole, also right after an error of the device: False within a change."""

    @property
    def trainable_parameters(self) -> int:
        """How many numbers are trained."""

    @property
    def adapter_config(self) -> Mapping[str, object]:
        """The content of adapter_config.json."""

    def train(self, stop: Stop, on_step: Callable[[Step], bool]) -> None:
        """Train up to the last step. ``on_step`` is called after each one and returns whether to continue.

        Returns early, with everything ready to be saved, when ``stop`` returns True; and after a step whose loss or gradient
        is not finite, which changes nothing.
        """

    def validation_loss(self, rows: Sequence[TrainingRow], stop: Stop = never) -> float | None:
        """The method's loss over all rows, a mean by its weight; None if ``stop`` interrupted it."""

    def logprobs(
        self,
        examples: Sequence[Example],
        *,
        at_start: bool = False,
        on_batch: Callable[[int], None] = lambda count: None,
        stop: Stop = never,
    ) -> list[list[float]]:
        """Log-probabilities of each example's learned tokens, ``at_start`` of the run or now; empty after ``stop``."""

    def any_process(self, stop: Stop) -> bool:
        """Whether ``stop`` returns True in any process of the run; all of them must make this call."""

    def save_adapters(self, path: Path) -> None:
        """Write the adapters as safetensors, atomically, with their hash."""

    def save(self, folder: Path) -> Mapping[str, object]:
        """Write what ``restore`` needs into the folder; returns the position as JSON, for the caller to keep."""

    def restore(self, folder: Path, position: Mapping[str, Any]) -> None:
        """Resume from what ``save`` wrote; UserError (exit 3) if a file is damaged."""


class Backend(Protocol):
    """A package that loads and trains models. ``load_backend`` returns one by its name."""

    @property
    def FORMAT(self) -> AdapterFormat:
        """How this backend's adapters are saved."""

    def describe(self) -> str:
        """One line: library, version, device and precision."""

    def is_leader(self) -> bool:
        """Whether this process is the one, of several, that writes files and prints."""

    def load(self, folder: Path, encoder: ChatEncoder, adapter: Path | None = None, base: str | None = None) -> Model:
        """The model of ``folder``, with the adapter of the folder ``adapter`` attached. UserError if it cannot be loaded,
        exit 3 if the adapter does not fit.

        ``base`` is the fingerprint of the model's weights; an adapter that records another one is refused.
        """

    def Trainer(
        self,
        model: Model,
        method: Method,
        source: BatchSource,
        config: TrainingConfig,
        steps: int,
        base: str,
        start: Path | None = None,
    ) -> Trainer:
        """Make the layers that ``config`` names trainable, for ``steps`` optimizer steps over what ``source`` gives.

        ``base``: fingerprint of the model's weights, saved with the adapters. ``start``: a file of adapters to begin with. New
        tokens of the model's encoder get embeddings. UserError if the model has no such layers, exit 3 if ``start`` does not
        fit.
        """

    def estimate_memory(
        self,
        folder: Path,
        method: Method,
        config: TrainingConfig,
        typical: Sequence[TrainingRow],
        largest: Sequence[TrainingRow],
        available: float,
        *,
        whole: bool = False,
        new: NewTokens | None = None,
    ) -> MemoryEstimate:
        """Memory of a step on the ``largest`` batch and time of one on the ``typical`` batch, measured on a few layers of the
        model; ``whole``: on all of them. ``available``: bytes of memory that may be used. ``new``: tokens that are added.
        UserError if the model cannot be trained in this way, or if not even a few layers fit."""

    def static_mb(self, folder: Path, config: TrainingConfig, new: NewTokens | None = None) -> float:
        """Memory held between two steps, in 10^6 bytes. Loads no weights."""

    def device_memory(self) -> DeviceMemory:
        """Bytes that this process may have on the device that computes, and those of them that are free."""

    def memory_mb(self) -> dict[str, float]:
        """``active`` (held now), ``peak`` (the most since the last reset) and ``cache`` (kept for reuse), in 10^6 bytes."""

    def peak_memory_mb(self) -> float:
        """The most memory held at once since the last reset, in 10^6 bytes."""

    def reset_peak_memory(self) -> None:
        """Forget the peak, and free what is kept for reuse."""
