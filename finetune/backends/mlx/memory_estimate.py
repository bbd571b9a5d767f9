"""What a model of MLX holds, and steps on its first layers: what ``backends.memory_estimate`` extrapolates from.

A short model is the whole one with its first layers alone, of whatever type it is; nothing else is loaded. If a folder has no
weights, the layers are filled with a constant.
"""

import gc
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from finetune.backends import lora_modules
from finetune.backends import memory_estimate as scaling
from finetune.backends.memory_estimate import STEPS, Measured, Sizes, measure_steps, text_config
from finetune.backends.mlx import adapters, cpu_math, loading
from finetune.backends.mlx.adaptable import adaptable
from finetune.backends.mlx.adaptation import adaptation
from finetune.backends.mlx.optimizers import optimizer
from finetune.backends.mlx.precision import cast
from finetune.backends.mlx.proofs import UNFIT
from finetune.backends.mlx.runtime import DTYPE, mx
from finetune.backends.mlx.training import Trainer
from finetune.errors import UserError, first_line, is_out_of_memory, stopped_by_gpu
from finetune.methods import Method
from finetune.methods.batches import BatchSource
from finetune.models.foreign import foreign
from finetune.models.new_tokens import NewTokens
from finetune.settings.config import TrainingConfig
from finetune.signals import never

import mlx.nn as nn  # isort: skip  after the runtime
from mlx.utils import tree_flatten, tree_map  # isort: skip


class _Unproven(Trainer):
    """Its weights are not the model's."""

    proves = False


class Probe:
    def sizes(self, folder: Path, config: TrainingConfig, new: NewTokens | None = None) -> Sizes:
        """Arrays of MLX are made when they are needed: nothing here needs them."""
        period = _period(folder, _network(folder))  # before adapters make layers of one kind differ
        network = _network(folder)
        weights = _bytes(network.parameters())
        parameters = sum(_count(module) for module in network.modules())
        adapted = adaptation(network, config, new)
        adapters.attach(network, adapted.settings)
        before = _bytes(network.parameters())
        adapters.raise_trained(network)
        weights += _bytes(network.parameters()) - before
        _demand_trainable(folder, network)
        trainable = adapters.trainable(network)
        chosen = optimizer(config)
        chosen.init(network.trainable_parameters())
        matrices = adapted.matrices.arrays if adapted.matrices else set()
        of_layers = {name: array for name, array in trainable.items() if name not in matrices}
        if config.fine_tune_type == "full":
            of_layers = {}  # they are among the weights
        return Sizes(
            layers=len(network.layers),
            thinnest=min((_side(name, array) for name, array in trainable.items() if "lora_" in name), default=None),
            parameters=parameters,
            trainable=adapters.count(network),
            weights=weights,
            adapters=sum(array.nbytes for array in of_layers.values()),
            optimizer=_bytes(chosen.state),
            embeddings=sum(trainable[name].nbytes for name in matrices),
            period=period,
            trained=adapted.layers,
            modules=adapted.modules,
            experts=adapted.experts,
            notes=tuple(adapted.notes),
        )

    def weights(self, folder: Path, layers: int) -> int:
        return _bytes(_cut(_network(folder), layers).parameters())

    def measured(
        self,
        folder: Path,
        method: Method,
        config: TrainingConfig,
        layers: int,
        source: BatchSource,
        new: NewTokens | None = None,
    ) -> Measured:
        """Steps on the first ``layers`` layers, trained as far as the settings say."""
        cpu_math.install()
        mx.set_memory_limit(limit := mx.set_memory_limit(0))
        network = _cut(_network(folder), layers)
        there = _has_weights(folder)
        network.update(tree_map(_filled, network.parameters()) if not there else {})
        try:
            model: Any = SimpleNamespace(network=network, encoder=SimpleNamespace(new_tokens=new))  # it is not asked
            if config.lora_modules != lora_modules.ALL:
                config = lora_modules.for_first_layers(config, adaptable(network).places, layers)
            trainer = (Trainer if there else _Unproven)(model, method, source, config, STEPS, "")
            gc.collect()  # an earlier model that is freed meanwhile would count as memory that this one frees
            mx.synchronize()
            held = mx.get_active_memory()

            def peak() -> float:
                mx.synchronize()
                found = mx.get_peak_memory() - held
                mx.reset_peak_memory()
                return float(found)

            mx.reset_peak_memory()
            return measure_steps(
                layers,
                lambda on_step: trainer.train(never, on_step),
                peak,
                # above its limit of memory, MLX waits for each operation before it takes memory for the next
                one_at_a_time=lambda wanted: mx.set_memory_limit(0 if wanted else limit),
            )
        except UNFIT as error:  # sizes that contradict each other fail only when they meet
            if is_out_of_memory(error) or stopped_by_gpu(error):
                raise
            raise UserError(f"{folder}: MLX cannot run this model: {first_line(error)}") from None
        finally:
            mx.set_memory_limit(limit)
            mx.clear_cache()


def adapted_keys(folder: Path, config: TrainingConfig) -> list[str] | None:
    """lora_parameters.keys of mlx_lm for the modules that the settings choose; None for all. Computes nothing."""
    parameters: Any = adaptation(_network(folder), config).settings["lora_parameters"]
    return parameters.get("keys")


def _demand_trainable(folder: Path, network: Any) -> None:
    """UserError if MLX has no gradients for the model; computes nothing."""
    if not adapters.trainable(network):
        raise UserError(f"{folder}: MLX cannot train this model: its layers have no module that can be adapted")
    network.train()
    try:
        nn.value_and_grad(network, lambda network: network(mx.array([[0, 0, 0]])).sum())(network)
    except UNFIT as error:
        raise UserError(f"{folder}: MLX cannot train this model: {first_line(error)}") from None
    network.eval()


def _side(name: str, array: Any) -> int:
    """Of the adapted matrix: a is [size, rank], b [rank, size]; of experts [experts, rank, size], [experts, size, rank]."""
    if array.ndim == 3:
        return int(array.shape[-1 if name.endswith("lora_a") else 1])
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
    """The number of first layers in which every kind occurs: Gemma 3 has a global one after five with a window, others have
    experts or shared keys later on. All layers, if fewer would be no model."""
    layers = list(network.layers)
    kinds = list(zip(*_listed(folder, len(layers)), map(_kind, layers), strict=True))
    period = max(kinds.index(kind) for kind in set(kinds)) + 1
    try:
        _cut(network, period)(mx.array([[0, 0]]))  # computes nothing
    except UNFIT:
        return len(layers)
    return period


def _listed(folder: Path, count: int) -> list[Sequence[object]]:
    """What config.json says of each layer, under whatever name: layer_types, moe_layer_freq ..."""
    values = [value for value in text_config(folder).values() if isinstance(value, list) and len(value) == count]
    return [
        value for value in values if all(isinstance(item, (str, int)) for item in value) and len(set(value)) < count
    ]


def _kind(layer: Any) -> tuple[object, ...]:
    """Of two layers that are computed alike: their modules with sizes, and what they are told to be."""
    arrays = tuple((name, array.shape) for name, array in dict(tree_flatten(layer.parameters())).items())
    told = (
        (name, type(module), key, value)
        for name, module in layer.named_modules()
        for key, value in vars(module).items()
        if not key.startswith("_") and isinstance(value, (bool, str, type(None)))
    )
    return arrays, tuple(told)


def _cut(network: Any, count: int) -> Any:
    """The network with its first layers alone."""
    kept = {id(layer) for layer in network.layers[:count]}
    every = {id(layer) for layer in network.layers}
    for module in network.modules():
        for name, value in list(dict.items(module)):
            if isinstance(value, list) and any(id(item) in every for item in value):
                module[name] = [item for item in value if id(item) in kept]
    return network


def _network(folder: Path) -> Any:
    """The model of the folder, with nothing in memory yet."""
    there = _has_weights(folder)
    loaded = loading.load(folder, strict=there)
    network, config = loaded.network, loaded.config
    with foreign(f"{folder}: MLX cannot load this model"):
        network(mx.array([[0, 0]]))  # computes nothing
        network.freeze()
    if (quantization := config.get("quantization")) and not there:
        _quantize(folder, network, quantization)
        network.freeze()
    cast(network, DTYPE)
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
    """Numbers that differ, so that the fast paths can be proven on them; random ones would take longer than the steps."""
    if not mx.issubdtype(array.dtype, mx.floating):
        return mx.zeros_like(array)
    values = (mx.arange(array.size, dtype=mx.int32) * 7919 % 1021).astype(array.dtype) / 25_000 - 0.01
    return values.reshape(array.shape)


def _has_weights(folder: Path) -> bool:
    """Whether all weights are there; the part that an interrupted download left does not count."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return all((folder / file).exists() for file in files)
    return any(folder.glob("model*.safetensors"))


estimate_memory, static_mb = partial(scaling.estimate_memory, Probe()), partial(scaling.static_mb, Probe())
