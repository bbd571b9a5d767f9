"""Memory and time of a training step, estimated from steps on the first layers of the model alone.

What layers take grows with their number. So two short models give the slope, and what comes on top of it: the output head and
the loss. Each backend counts what a model holds, and runs the steps.
"""

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from finetune.backends.interface import MemoryEstimate, Step
from finetune.errors import UserError
from finetune.methods import Method, RowSource
from finetune.methods.batches import BatchSource
from finetune.models.examples import TrainingRow
from finetune.models.new_tokens import NewTokens
from finetune.settings.config import TrainingConfig

# the peak varies a little from run to run: the farther apart the two models, the less that counts
_MORE_LAYERS = (6, 4, 2)
_SHARE = 0.2  # of the free memory that the weights of such a model may take
_SLOW_STEP = 5  # seconds
STEPS = 4  # of a measurement, at most


@dataclass(frozen=True)
class Sizes:
    """What a model and its optimizer hold, counted without any of it in memory."""

    layers: int
    thinnest: int | None
    parameters: int
    trainable: int
    weights: int  # bytes
    adapters: int
    optimizer: int
    period: int  # layers, from the first, in which every kind of layer occurs
    trained: int | None = None  # layers, from the last, down to the first of which something is trained; None for all
    modules: int = 0  # with an adapter; 0 if layers are trained whole
    experts: int = 0  # of these modules, those with an adapter for each expert
    notes: tuple[str, ...] = ()  # what is not adapted although it was meant, a clause each
    embeddings: int = 0  # bytes of the trained embeddings, and of their gradient


@dataclass(frozen=True)
class Measured:
    """Steps on the first ``layers`` layers of a model."""

    layers: int
    peak: float  # bytes above the weights, of the largest batch
    seconds: float  # of the typical batch
    ahead: float = 0.0  # bytes more, where the memory of a result is taken before its turn: it depends on the moment


@dataclass(frozen=True)
class StepEstimate:
    """A step on all layers."""

    layers: float  # bytes of activations and gradients in the layers; 0 if the step was measured as a whole
    head_and_loss: float  # bytes of the rest
    seconds: float


class Probe(Protocol):
    """What a backend can find out about a model without training it."""

    def sizes(self, folder: Path, config: TrainingConfig, new: NewTokens | None = None) -> Sizes:
        """Counted, not measured: no weights are loaded. UserError if the backend cannot train the model so."""

    def weights(self, folder: Path, layers: int) -> int:
        """Bytes of the first ``layers`` layers, the embeddings and the head."""

    def measured(
        self,
        folder: Path,
        method: Method,
        config: TrainingConfig,
        layers: int,
        source: BatchSource,
        new: NewTokens | None = None,
    ) -> Measured:
        """Train the first ``layers`` layers for ``STEPS`` steps of ``source``, by ``measure_steps``."""


def estimate_memory(
    probe: Probe,
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
    """The memory of a step on the ``largest`` batch, and the time of one on the ``typical`` batch.

    The model is that of ``folder``, whose weights can be missing. ``available``: bytes of memory that may be used.
    ``whole`` runs both steps on all layers instead of extrapolating from a few. UserError if the backend does not know the
    model, if it has no such layers to adapt, or if not even a few layers fit.
    """
    sizes = probe.sizes(folder, config, new)
    trained = sizes.layers if sizes.trained is None else sizes.trained
    counts = choose_layers(sizes, trained, lambda count: probe.weights(folder, count), available, whole=whole)
    smallest = probe.weights(folder, counts[-1])
    smallest += round((sizes.adapters + sizes.optimizer) * min(1.0, counts[-1] / trained))
    if smallest > available:
        raise UserError(
            f"{folder}: {counts[-1]} of its {sizes.layers} layers alone take {smallest / 1e9:.1f} GB,"
            f" but only {available / 1e9:.1f} GB are free (use a smaller model)"
        )
    accumulation = min(config.grad_accumulation, 2)  # more of them hold no more memory
    runs = []
    for layers in counts:
        adapted = min(trained, layers) if trained < sizes.layers else None
        fewer = replace(config, lora_layers=adapted, grad_accumulation=accumulation)
        runs.append(probe.measured(folder, method, fewer, layers, MeasuredSteps(method, typical, largest, fewer), new))
    gc.collect()  # what comes next has the memory to itself
    step = extrapolate(runs, sizes, trained, whole=whole)
    return MemoryEstimate(
        parameters=sizes.parameters,
        trainable=sizes.trainable,
        layers=sizes.layers,
        thinnest=sizes.thinnest,
        measured_layers=tuple(run.layers for run in runs),
        modules=sizes.modules,
        experts=sizes.experts,
        notes=sizes.notes,
        weights_mb=sizes.weights / 1e6,
        adapters_mb=sizes.adapters / 1e6,
        optimizer_mb=sizes.optimizer / 1e6,
        embeddings_mb=sizes.embeddings / 1e6,
        layers_mb=step.layers / 1e6,
        head_and_loss_mb=step.head_and_loss / 1e6,
        seconds=step.seconds * config.grad_accumulation / accumulation,
    )


def choose_layers(
    sizes: Sizes, trained: int, weights: Callable[[int], int], available: float, *, whole: bool = False
) -> list[int]:
    """Numbers of layers to measure steps on, in rising order: two, or one if the model is small or ``whole`` is asked for.

    The smaller has every kind of layer once. The larger has as many more as fit: ``weights`` (bytes, by number of layers)
    may take a share of ``available`` bytes. No more than the ``trained`` layers, as long as these are more than the smaller.
    """
    if whole:
        return [sizes.layers]
    few = _fewest(sizes)
    most = sizes.layers if trained <= few else trained
    more = [min(few + count, most) for count in _MORE_LAYERS]
    return sorted({few, next((count for count in more if weights(count) < _SHARE * available), more[-1])})


def extrapolate(runs: Sequence[Measured], sizes: Sizes, trained: int, *, whole: bool = False) -> StepEstimate:
    """A step on all layers, of which the last ``trained`` are trained, from steps on the first layers alone.

    ``whole``: the only run was on all layers.
    """
    first, last = runs[0], runs[-1]

    def per_layer(smaller: float, larger: float) -> float:
        return max(0.0, larger - smaller) / max(1, last.layers - first.layers)

    seconds = per_layer(first.seconds, last.seconds)
    if whole or trained <= _fewest(sizes):  # everything that is trained was in each run
        missing = sizes.layers - last.layers
        return StepEstimate(0.0, max(run.peak + run.ahead for run in runs), last.seconds + missing * seconds)
    peak = per_layer(first.peak, last.peak)
    # a layer that is not trained has no backward pass: about half the work
    missing_trained = trained - last.layers + (sizes.layers - trained) / 2
    return StepEstimate(
        layers=peak * trained,
        head_and_loss=max(0.0, last.peak - peak * last.layers) + last.ahead,
        seconds=last.seconds + missing_trained * seconds,
    )


def _fewest(sizes: Sizes) -> int:
    """Fewer layers would be another model, or none that runs."""
    return min(sizes.period, sizes.layers)


def static_mb(probe: Probe, folder: Path, config: TrainingConfig, new: NewTokens | None = None) -> float:
    """Memory held between two steps, in 10^6 bytes: weights, adapters, optimizer state. Loads no weights."""
    sizes = probe.sizes(folder, config, new)
    return (sizes.weights + sizes.adapters + sizes.optimizer) / 1e6


class MeasuredSteps(RowSource):
    """The steps of a measurement: a typical batch, the largest twice, the typical, each as often as a step has batches."""

    def __init__(
        self,
        method: Method,
        typical: Sequence[TrainingRow],
        largest: Sequence[TrainingRow],
        config: TrainingConfig,
    ):
        super().__init__(method, [*typical, *largest], config)
        first, second = list(range(len(typical))), list(range(len(typical), len(self.rows)))
        self._epoch = [batch for batch in (first, second, second, first) for _ in range(config.grad_accumulation)]

    def epoch(self, number: int) -> list[list[int]]:
        """The same in every epoch."""
        return self._epoch


def measure_steps(
    layers: int,
    train: Callable[[Callable[[Step], bool]], None],
    peak: Callable[[], float],
    one_at_a_time: Callable[[bool], object] | None = None,
) -> Measured:
    """``train`` runs ``MeasuredSteps`` and reports each step; ``peak`` returns the bytes above the weights since its last call.

    A batch is run once only if its steps are slow and nothing more is learned from them. ``one_at_a_time`` makes the backend
    compute one operation after the other, so that the peak is the same each time: the first step of the largest batch is
    run so, and the second shows what is taken ahead.
    """
    seconds: list[float] = []
    peaks: list[float] = []

    def on_step(step: Step) -> bool:
        seconds.append(step.seconds)
        peaks.append(peak())
        if one_at_a_time:
            one_at_a_time(len(seconds) == 1)
        return len(seconds) != STEPS and not (len(seconds) == enough and seconds[0] > _SLOW_STEP)

    enough = 3 if one_at_a_time else 2
    train(on_step)
    typical = seconds[::3][-1]  # a first step has to find its memory; beside many seconds that is nothing
    largest = peaks[1:3]
    if one_at_a_time:
        return Measured(layers, largest[0], typical, max(0.0, largest[-1] - largest[0]))
    return Measured(layers, sum(largest) / len(largest), typical)


def text_config(folder: Path) -> Mapping[str, Any]:
    """The part of config.json about the language model: a model that sees has more."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return dict(config.get("text_config") or config)


def first_layers(folder: Path, layers: int) -> dict[str, object]:
    """The values of config.json that make a model of its first layers alone."""
    text = text_config(folder)
    fewer: dict[str, object] = {"num_hidden_layers": layers}
    if text.get("layer_types"):
        fewer["layer_types"] = text["layer_types"][:layers]
    return fewer
