"""Memory and time of a training step, without training: the step is run on the first layers of the model alone.

What layers take grows with their number, so two short models tell the slope and what comes on top of it, the output head and
the loss. Each backend says what a model holds and runs the steps.
"""

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from finetune.backends.interface import MemoryEstimate, Step
from finetune.errors import UserError
from finetune.methods import Method
from finetune.models.encoder import Example
from finetune.settings.config import TrainingConfig

# steps never meet in memory in quite the same way: the farther apart the two models, the less that counts
_MORE_LAYERS = (6, 4, 2)
_SHARE = 0.2  # of the free memory that the weights of such a model may take
_SLOW_STEP = 5  # seconds
STEPS = 4  # of a measurement, at most


@dataclass(frozen=True)
class Sizes:
    """What a model and its optimizer hold, without having any of it in memory."""

    layers: int
    thinnest: int | None
    parameters: int
    trainable: int
    weights: int  # bytes
    adapters: int
    optimizer: int
    period: int  # layers until every kind of layer has come


@dataclass(frozen=True)
class Measured:
    layers: int
    peak: float  # bytes above the weights
    seconds: float


class Probe(Protocol):
    """What a backend knows of its models."""

    def sizes(self, folder: Path, config: TrainingConfig) -> Sizes: ...

    def weights(self, folder: Path, layers: int) -> int:
        """Bytes of the first layers, embeddings and head."""

    def measured(
        self, folder: Path, method: Method, config: TrainingConfig, layers: int, batches: "Batches"
    ) -> Measured: ...


def estimate_memory(
    probe: Probe,
    folder: Path,
    method: Method,
    config: TrainingConfig,
    typical: Sequence[Example],
    largest: Sequence[Example],
    available: float,
    *,
    whole: bool = False,
) -> MemoryEstimate:
    """The memory of a step with the ``largest`` batch, the time of one with the ``typical`` batch.

    The settings are those of ``config``; the model is that of ``folder``, which may lack its weights. ``available``: bytes
    that may be used for it.

    ``whole`` runs both on all layers instead of concluding from a few. UserError where the backend does not know the model,
    where it has no such layers to adapt, or where not even these few fit.
    """
    sizes = probe.sizes(folder, config)
    trained = min(config.lora_layers or sizes.layers, sizes.layers)
    few = min(sizes.period, sizes.layers)  # fewer would be another model, or none that runs
    most = sizes.layers if trained <= few else trained
    more = [min(few + n, most) for n in _MORE_LAYERS]
    last_count = next((count for count in more if probe.weights(folder, count) < _SHARE * available), more[-1])
    counts = [sizes.layers] if whole else sorted({few, last_count})
    smallest = probe.weights(folder, counts[-1])
    smallest += round((sizes.adapters + sizes.optimizer) * min(1.0, counts[-1] / trained))
    if smallest > available:
        raise UserError(
            f"{folder}: {counts[-1]} of its {sizes.layers} layers alone take {smallest / 1e9:.1f} GB,"
            f" and {available / 1e9:.1f} GB are free (take a smaller model)"
        )
    batches = Batches(typical, largest)
    accumulation = min(config.grad_accumulation, 2)  # more of them hold no more memory
    runs = []
    for layers in counts:
        adapted = config.lora_layers and min(config.lora_layers, layers)
        less = replace(config, lora_layers=adapted, grad_accumulation=accumulation)
        runs.append(probe.measured(folder, batches.method(method, accumulation), less, layers, batches))
    gc.collect()  # what comes next has the memory to itself
    first, last = runs[0], runs[-1]

    def slope(smaller: float, larger: float) -> float:
        return max(0.0, larger - smaller) / max(1, last.layers - first.layers)

    if whole or trained <= few:  # all that is trained was there each time
        layers_bytes, others = 0.0, max(run.peak for run in runs)
        seconds = last.seconds + (sizes.layers - last.layers) * slope(first.seconds, last.seconds)
    else:
        per_layer = slope(first.peak, last.peak)
        layers_bytes, others = per_layer * trained, max(0.0, last.peak - per_layer * last.layers)
        # a layer that is not trained has no way back below it: about half the work
        like = trained - last.layers + (sizes.layers - trained) / 2
        seconds = last.seconds + like * slope(first.seconds, last.seconds)
    seconds *= config.grad_accumulation / accumulation
    return MemoryEstimate(
        parameters=sizes.parameters,
        trainable=sizes.trainable,
        layers=sizes.layers,
        thinnest=sizes.thinnest,
        measured_layers=tuple(run.layers for run in runs),
        weights_mb=sizes.weights / 1e6,
        adapters_mb=sizes.adapters / 1e6,
        optimizer_mb=sizes.optimizer / 1e6,
        layers_mb=layers_bytes / 1e6,
        head_and_loss_mb=others / 1e6,
        seconds=seconds,
    )


def static_mb(probe: Probe, folder: Path, config: TrainingConfig) -> float:
    """Memory held between two steps, in 10^6 bytes: weights, adapters, optimizer state. Loads no weights."""
    sizes = probe.sizes(folder, config)
    return (sizes.weights + sizes.adapters + sizes.optimizer) / 1e6


class Batches:
    """The steps of a measurement: a typical batch, the largest, and both once more where steps are not slow."""

    def __init__(self, typical: Sequence[Example], largest: Sequence[Example]):
        self.examples = [*typical, *largest]
        self._typical, self._largest = list(range(len(typical))), list(range(len(typical), len(self.examples)))

    def method(self, method: Method, accumulation: int) -> Method:
        """``method`` with these batches as its epoch, each as often as a step has batches."""
        batches = [rows for rows in (self._typical, self._largest) * 2 for _ in range(accumulation)]
        return replace(method, fixed=batches)

    def measured(
        self,
        layers: int,
        train: Callable[[Callable[[Step], bool]], None],
        peak: Callable[[], float],
    ) -> Measured:
        """``train`` runs the steps and tells of each; ``peak`` says the bytes above the weights since it was last asked."""
        seconds: list[float] = []
        peaks: list[float] = []

        def on_step(step: Step) -> bool:
            seconds.append(step.seconds)
            peaks.append(peak())
            return len(seconds) != STEPS and not (len(seconds) == 2 and seconds[0] > _SLOW_STEP)

        train(on_step)
        typical = seconds[::2][-1]  # a first step has to find its memory; beside many seconds that is nothing
        largest = peaks[1::2]
        return Measured(layers, sum(largest) / len(largest), typical)


def text_config(folder: Path) -> Mapping[str, Any]:
    """The part of config.json about the language model: a model that sees has more."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return dict(config.get("text_config") or config)


def shortened(folder: Path, layers: int) -> dict[str, Any]:
    """What config.json would say of the first layers alone."""
    text = text_config(folder)
    fewer: dict[str, Any] = {"num_hidden_layers": layers}
    if text.get("layer_types"):
        fewer["layer_types"] = text["layer_types"][:layers]
    return fewer
