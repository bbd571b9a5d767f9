"""Adapters as train.py, mlx-lm and PEFT write them, with random numbers for what is learned; made without PyTorch."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
from finetune.backends.mlx import adapters
from finetune.backends.mlx.model import load_network
from finetune.models.fingerprint import fingerprint
from finetune.records import files
from finetune.settings.config import TrainingConfig

TOKENS = [[5, 17, 300, 42, 7, 7, 1999, 23, 11, 4, 900, 31]]


def mlx_adapter(model: Path, folder: Path, step: float = 0.05, **changed: Any) -> Path:
    """What train.py would write."""
    network = load_network(model)
    settings = adapters.settings(network, TrainingConfig(**{"lora_rank": 4, **changed}))
    adapters.attach(network, settings)
    mx.random.seed(1)
    arrays = {
        name: array if name.endswith("lora_a") else array + step * mx.random.normal(array.shape)
        for name, array in adapters.trainable(network).items()
    }
    folder.mkdir()
    files.write_json(folder / files.ADAPTER_CONFIG, {**settings, "model": str(model)})
    adapters.save(arrays, folder / files.ADAPTERS, {"base": fingerprint(model)})
    return folder


def peft_adapter(model: Path, folder: Path, ranks: dict[str, int], dora: bool = False, **settings: Any) -> Path:
    """What PEFT would write for modules of every layer, by their last names, each with its rank."""
    from mlx.utils import tree_flatten

    chance = np.random.default_rng(3)
    weights = dict(tree_flatten(load_network(model).parameters()))
    arrays: dict[str, np.ndarray] = {}
    for name, weight in weights.items():
        if (rank := ranks.get(name.split(".")[-2])) is None or ".layers." not in name:
            continue
        module = f"base_model.model.{name.removesuffix('.weight')}"
        out, inner = weight.shape
        a, b = chance.normal(size=(rank, inner)), 0.05 * chance.normal(size=(out, rank))
        arrays |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
        if dora:
            arrays[f"{module}.lora_magnitude_vector"] = 1 + chance.random(out)
    folder.mkdir()
    save_file({name: array.astype(np.float32) for name, array in arrays.items()}, folder / files.PEFT_ADAPTERS)
    first = next(iter(ranks.values()))
    about = {"peft_type": "LORA", "r": first, "lora_alpha": 8, "target_modules": [*ranks], "use_dora": dora}
    about |= {"base_model_name_or_path": str(model), **settings}
    (folder / files.ADAPTER_CONFIG).write_text(json.dumps(about))
    return folder


def peft_weight(model: Path, adapter: Path, name: str, scale: float) -> np.ndarray:
    """A weight with PEFT's update, by the formula of its documentation."""
    from mlx.utils import tree_flatten
    from safetensors.numpy import load_file

    base = np.array(dict(tree_flatten(load_network(model, mx.float32).parameters()))[f"{name}.weight"])
    arrays = load_file(adapter / files.PEFT_ADAPTERS)
    module = f"base_model.model.{name}"
    merged = base + scale * arrays[f"{module}.lora_B.weight"] @ arrays[f"{module}.lora_A.weight"]
    magnitude = arrays.get(f"{module}.lora_magnitude_vector")
    if magnitude is not None:
        merged = merged * (magnitude / np.linalg.norm(merged, axis=1))[:, None]
    return merged


def logits_of(model: Path, adapter: Path | None = None) -> np.ndarray:
    """By mlx-lm itself, in float32."""
    from mlx_lm.tuner.utils import load_adapters

    network = load_network(model, mx.float32)
    if adapter is not None:
        network = load_adapters(network, str(adapter))
    network.eval()
    return np.array(network(mx.array(TOKENS)))


def quantised(model: Path, folder: Path, bits: int = 4) -> Path:
    """The model as mlx_lm.convert quantises it."""
    from mlx.utils import tree_flatten
    from mlx_lm.utils import load_model, quantize_model

    network, config = load_model(model)
    network, config = quantize_model(network, config, 32, bits)
    folder.mkdir()
    for path in model.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(network.parameters())))
    return folder


def rs_scale(alpha: float, rank: int) -> float:
    return alpha / math.sqrt(rank)
