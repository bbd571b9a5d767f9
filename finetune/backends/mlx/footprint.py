"""Memory and time of a training step, without training: the step is run on the first layers of the model alone.

What layers take grows with their number, so two short models tell the slope and what comes on top of it, the output head and
the loss. Only what a short model needs is loaded; where a folder has no weights at all, the layers are filled with a constant.
"""

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.backends.base import Footprint
from finetune.backends.mlx import adapters, cpu_math
from finetune.backends.mlx.model import MlxModel
from finetune.backends.mlx.runtime import DTYPE, mx
from finetune.backends.mlx.training import Trainer, optimizer
from finetune.cli import UserError, first_line
from finetune.config import TrainingConfig
from finetune.encoding import Example
from finetune.methods import Method

import mlx.nn as nn  # isort: skip  after the runtime
from mlx.utils import tree_flatten, tree_map  # isort: skip

# the two lanes of a step never meet in quite the same place: the farther apart the two models, the less that counts
_MORE_LAYERS = (6, 4, 2)
_SHARE = 0.2  # of the free memory that the weights of such a model may take
_SLOW_STEP = 5  # seconds


@dataclass(frozen=True)
class _Sizes:
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
class _Measured:
    layers: int
    peak: float  # bytes above the weights
    seconds: float


def footprint(
    folder: Path,
    method: Method,
    config: TrainingConfig,
    typical: Sequence[Example],
    largest: Sequence[Example],
    available: float,
    whole: bool = False,
) -> Footprint:
    """The memory of a step with the ``largest`` batch, the time of one with the ``typical`` batch.

    The settings are those of ``config``; the model is that of ``folder``, which may lack its weights. ``available``: bytes
    that may be used for it.

    ``whole`` runs both on all layers instead of concluding from a few. UserError where MLX does not know the model, where
    it has no such layers to adapt, or where not even these few fit.
    """
    cpu_math.install()
    sizes = _sizes(folder, config)
    trained = min(config.lora_layers or sizes.layers, sizes.layers)
    few = min(sizes.period, sizes.layers)  # fewer would be another model, or none that runs
    most = sizes.layers if trained <= few else trained
    counts = [sizes.layers] if whole else sorted({few, min(few + _more_layers(folder, few, available), most)})
    smallest = _bytes(_network(folder, counts[-1]).parameters())
    smallest += round((sizes.adapters + sizes.optimizer) * min(1.0, counts[-1] / trained))
    if smallest > available:
        raise UserError(
            f"{folder}: {counts[-1]} of its {sizes.layers} layers alone take {smallest / 1e9:.1f} GB,"
            f" and {available / 1e9:.1f} GB are free (take a smaller model)"
        )
    runs = [_measured(folder, method, config, layers, typical, largest) for layers in counts]
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
    return Footprint(
        parameters=sizes.parameters,
        trainable=sizes.trainable,
        layers=sizes.layers,
        thinnest=sizes.thinnest,
        measured_layers=tuple(run.layers for run in runs),
        weights_mb=sizes.weights / 1e6,
        adapters_mb=sizes.adapters / 1e6,
        optimizer_mb=sizes.optimizer / 1e6,
        layers_mb=layers_bytes / 1e6,
        others_mb=others / 1e6,
        seconds=seconds,
    )


def _more_layers(folder: Path, few: int, available: float) -> int:
    return next(
        (more for more in _MORE_LAYERS if _bytes(_network(folder, few + more).parameters()) < _SHARE * available),
        _MORE_LAYERS[-1],
    )


def held_mb(folder: Path, config: TrainingConfig) -> float:
    """What is in memory between two steps: weights, adapters, the optimizer's state. Loads nothing."""
    sizes = _sizes(folder, config)
    return (sizes.weights + sizes.adapters + sizes.optimizer) / 1e6


def _sizes(folder: Path, config: TrainingConfig) -> _Sizes:
    """Arrays of MLX are made when they are needed: nothing here needs them."""
    network = _network(folder)
    weights = _bytes(network.parameters())
    parameters = sum(_count(module) for module in network.modules())
    adapters.attach(network, adapters.settings(network, config))
    trainable = adapters.trainable(network)
    chosen = optimizer(config)
    chosen.init(network.trainable_parameters())
    full = config.fine_tune_type == "full"
    return _Sizes(
        layers=len(network.layers),
        thinnest=min((_side(name, array) for name, array in trainable.items() if "lora_" in name), default=None),
        parameters=parameters,
        trainable=adapters.count(network),
        weights=weights,
        adapters=0 if full else sum(array.nbytes for array in trainable.values()),
        optimizer=_bytes(chosen.state),
        period=_period(folder, network),
    )


def _side(name: str, array: Any) -> int:
    """Of the adapted matrix: a is [size, rank], b [rank, size]."""
    return int(array.shape[0 if name.endswith("lora_a") else -1])


def _bytes(tree: Any) -> int:
    return sum(array.nbytes for array in dict(tree_flatten(tree)).values())


def _count(module: Any) -> int:
    """Parameters of a module itself; a quantised weight counts as the numbers it stands for."""
    own = [(name, array) for name, array in module.items() if isinstance(array, mx.array)]
    bits = getattr(module, "bits", None)
    if bits is None or "scales" not in dict(own):
        return sum(array.size for _, array in own)
    return sum(array.size * 32 // bits if name == "weight" else 0 for name, array in own)


def _period(folder: Path, network: Any) -> int:
    """Layers from the first up to where every kind has come once: Gemma 3 has a global one after five with a window."""
    kinds = _text_config(folder).get("layer_types")
    if kinds:
        return max(kinds.index(kind) for kind in kinds) + 1
    return int(getattr(getattr(network, "args", None), "sliding_window_pattern", 1))


def _measured(
    folder: Path,
    method: Method,
    config: TrainingConfig,
    layers: int,
    typical: Sequence[Example],
    largest: Sequence[Example],
) -> _Measured:
    """Steps on the first ``layers`` layers, trained as far as the settings say."""
    network = _network(folder, layers)
    network.update(tree_map(_filled, network.parameters()) if not _has_weights(folder) else {})
    if config.lora_layers is not None:
        config = replace(config, lora_layers=min(config.lora_layers, layers))
    examples = [*typical, *largest]
    rows = list(range(len(typical))), list(range(len(typical), len(examples)))
    count = min(config.grad_accumulation, 2)  # more of them hold no more memory
    seconds: list[float] = []
    peaks: list[int] = []

    def batches() -> Iterator[list[list[int]]]:
        yield [rows[0]] * count
        slow = seconds[0] > _SLOW_STEP  # a first step has to find its memory; beside seconds that is nothing
        yield from [] if slow else [[rows[0]] * count]
        yield from [[rows[1]] * count] * (1 if slow else 2)

    try:
        trainer = Trainer(MlxModel(network, None), method, examples, config, 4, "")  # type: ignore[arg-type]
        gc.collect()  # an earlier model that goes away meanwhile would be taken for memory that this one gives back
        held = mx.get_active_memory()
        for step in trainer.run(lambda: False, batches()):
            seconds.append(step.seconds)
            peaks.append(mx.get_peak_memory() - held)
            mx.reset_peak_memory()
    except (IndexError, ValueError) as error:  # sizes that contradict each other show only where they meet
        raise UserError(f"{folder}: MLX cannot run this model: {first_line(error)}") from None
    mx.clear_cache()
    with_largest = peaks[2:] or peaks[1:]
    return _Measured(
        layers,
        sum(with_largest) / len(with_largest),
        (seconds[1] if len(seconds) > 2 else seconds[0]) * config.grad_accumulation / count,
    )


def _network(folder: Path, layers: int | None = None) -> Any:
    """The model of the folder, or its first layers, with nothing in memory yet."""
    from mlx_lm.utils import load_model

    fewer: dict[str, Any] = {}
    if layers is not None:
        text = _text_config(folder)
        fewer = {"num_hidden_layers": layers}
        if text.get("layer_types"):
            fewer["layer_types"] = text["layer_types"][:layers]
        if "text_config" in _config(folder):
            fewer = {"text_config": {**text, **fewer}}
    try:
        network, config = load_model(
            folder, lazy=True, strict=layers is None and _has_weights(folder), model_config=fewer
        )
    except FileNotFoundError as error:
        raise UserError(f"{folder}: MLX cannot load this model: {first_line(error)}") from None
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        # a config.json that MLX does not understand, or whose sizes contradict each other
        why = first_line(error) or type(error).__name__
        raise UserError(f"{folder}: MLX cannot load this model: {why}") from None
    if (quantization := config.get("quantization")) and not _has_weights(folder):
        _quantize(folder, network, quantization)
    network.update(
        tree_map(lambda a: a.astype(DTYPE) if mx.issubdtype(a.dtype, mx.floating) else a, network.parameters())
    )
    network.freeze()
    return network


def _quantize(folder: Path, network: Any, quantization: Mapping[str, Any]) -> None:
    """What is not quantised yet, as far as its sizes allow; a layer may have its own setting under its name."""
    group = quantization["group_size"]

    def wanted(name: str, module: Any) -> Any:
        fits = hasattr(module, "to_quantized") and module.weight.shape[-1] % group == 0
        return quantization.get(name, True) if fits else False

    try:
        nn.quantize(
            network, group, quantization["bits"], mode=quantization.get("mode", "affine"), class_predicate=wanted
        )
    except ValueError as error:
        raise UserError(f"{folder}: MLX cannot quantise this model: {first_line(error)}") from None


def _filled(array: Any) -> Any:
    """Random numbers would take longer to draw than the steps."""
    return mx.full(array.shape, 0.01, array.dtype) if mx.issubdtype(array.dtype, mx.floating) else mx.zeros_like(array)


def _has_weights(folder: Path) -> bool:
    """All of them: where a download broke off, what is there is as good as nothing."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return all((folder / file).exists() for file in files)
    return any(folder.glob("model*.safetensors"))


def _config(folder: Path) -> Mapping[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def _text_config(folder: Path) -> Mapping[str, Any]:
    """The part of config.json about the language model: a model that sees has more."""
    config = _config(folder)
    return dict(config.get("text_config") or config)
