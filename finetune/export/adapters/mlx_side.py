"""An adapter folder of MLX: adapters.safetensors, and adapter_config.json with one rank and one scale for all modules."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.backends.mlx import adapters
from finetune.backends.mlx.runtime import mx
from finetune.errors import UserError, shortened
from finetune.export.adapters.adapter import Adapter, Embeddings, Part
from finetune.export.adapters.names import Layers
from finetune.records import files


def check(path: Path, settings: Mapping[str, Any]) -> None:
    """UserError if the settings, read from ``path``, describe an adapter that PEFT cannot express."""
    kind = settings.get("fine_tune_type", "lora")
    if kind == "full":
        raise UserError(
            f"{path}: fine_tune_type 'full' cannot be converted: the layers themselves were trained, there is no adapter"
        )
    if kind not in ("lora", "dora"):
        raise UserError(f"{path}: fine_tune_type {shortened(repr(kind))} cannot be converted (supported: lora, dora)")


def read(network: Any, settings: Mapping[str, Any]) -> Adapter:
    """The adapter attached to the MLX network; ``settings`` is its adapter_config.json."""
    dora, parts = settings.get("fine_tune_type") == "dora", {}
    for name, module in network.named_modules():
        if "lora_b" in module:
            if type(module).__name__ not in ("LoRALinear", "DoRALinear"):
                raise UserError(
                    f"{name}: {type(module).__name__} cannot be converted (supported: adapters of linear modules)"
                )
            parts[name] = Part(module.lora_a, module.lora_b, module.m if dora else None, module.scale)
    parameters = settings["lora_parameters"]
    return Adapter(
        dora, parameters["rank"], float(parameters.get("dropout", 0.0)), parts, _embeddings(network, settings)
    )


def _embeddings(network: Any, settings: Mapping[str, Any]) -> Embeddings | None:
    wanted = adapters.of_embeddings(settings)
    if wanted is None:
        return None
    rows = slice(None) if wanted.whole else slice(wanted.first, wanted.first + wanted.count)
    modules = dict(network.named_modules())
    inputs, *outputs = (modules[name].weight[rows] for name in wanted.modules)
    shape = (wanted.vocabulary, wanted.first, wanted.count, wanted.whole)
    return Embeddings(inputs, outputs[0] if outputs else None, *shape)


def write(folder: Path, adapter: Adapter, network: Any, layers: Layers, about: Mapping[str, str]) -> None:
    """Write an adapter folder of MLX: adapters.safetensors and adapter_config.json.

    ``about["model"]`` is the base model's folder or name, ``about["base"]`` the fingerprint of its weights."""
    first, keys = _keys(adapter, network, layers)
    scale, arrays = _one_scale(adapter)
    settings = {
        "fine_tune_type": "dora" if adapter.dora else "lora",
        "num_layers": layers.depth - first,
        "lora_parameters": {"rank": adapter.rank, "scale": scale, "dropout": adapter.dropout, "keys": keys},
        "model": about["model"],
    }
    files.write_json(folder / files.ADAPTER_CONFIG, settings)
    adapters.save(arrays, folder / files.ADAPTERS, {"base": about["base"]})


def check_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """UserError if ``arrays``, read from ``path``, are adapters of more than linear modules."""
    of_experts = sorted(name.removesuffix(".lora_a") for name, array in arrays.items() if array.ndim == 3)
    if of_experts:
        raise UserError(
            f"{path}: {shortened(of_experts[0])} is an adapter of experts, which cannot be converted: transformers keeps the"
            " weights of all experts in other arrays than MLX, and PEFT adapts those as a whole (train the other modules"
            " alone, with --lora-modules)"
        )


def _keys(adapter: Adapter, network: Any, layers: Layers) -> tuple[int, list[str]]:
    """The first adapted layer, and mlx_lm's keys: the names of modules within a layer if each layer from then on has an adapter
    for them, or else their whole names."""
    places = {layers.place(name) for name in adapter.parts}
    first, keys = min(number for number, _ in places), sorted({inner for _, inner in places})
    for number in range(first, layers.depth):
        there = {name for name, _ in network.layers[number].named_modules()}
        if any(inner in there and (number, inner) not in places for inner in keys):
            return first, sorted(adapter.parts)
    return first, keys


def _one_scale(adapter: Adapter) -> tuple[float, Mapping[str, Any]]:
    """The scale that most modules have, and the arrays by name; lora_b of modules with another scale is multiplied."""
    scale = Counter(part.scale for part in adapter.parts.values()).most_common(1)[0][0]
    arrays = {}
    for name, part in adapter.parts.items():
        arrays[f"{name}.lora_a"] = part.a
        arrays[f"{name}.lora_b"] = part.b
        if part.scale != scale:
            arrays[f"{name}.lora_b"] = part.b.astype(mx.float32) * (part.scale / scale)
        if part.m is not None:
            arrays[f"{name}.m"] = part.m
    return scale, arrays
