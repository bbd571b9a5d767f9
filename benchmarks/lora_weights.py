"""LoRA matrices of one model under the names of MLX and of PEFT, as arrays of numpy.

MLX keeps ``model.layers.0.self_attn.q_proj.lora_a`` as [in, rank], PEFT
``base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`` as [rank, in].
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

_PREFIX = "base_model.model."
_LEAVES = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight"}
_LEAVES_OF_PEFT = {theirs: ours for ours, theirs in _LEAVES.items()}


def to_peft(arrays: Mapping[str, Any]) -> dict[str, numpy.ndarray]:
    """What MLX calls and shapes so, as PEFT does."""
    found = {}
    for name, array in arrays.items():
        module, leaf = name.rsplit(".", 1)
        found[f"{_PREFIX}{module}.{_LEAVES[leaf]}"] = numpy.ascontiguousarray(numpy.array(array).T)
    return found


def to_mlx(arrays: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    """What PEFT calls and shapes so, as MLX does."""
    found = {}
    for name, array in arrays.items():
        module, *leaf = name.removeprefix(_PREFIX).rsplit(".", 2)
        found[f"{module}.{_LEAVES_OF_PEFT['.'.join(leaf)]}"] = numpy.ascontiguousarray(array.T)
    return found


def drawn(like: Mapping[str, Any], seed: int, b_size: float) -> dict[str, numpy.ndarray]:
    """Matrices shaped like these by PEFT's names: A as a run begins with, B normal with this deviation (0: as a run begins)."""
    draw = numpy.random.default_rng(seed)
    found = {}
    for name in sorted(like):
        shape = tuple(like[name].shape)
        if ".lora_A." in name:
            bound = 1 / math.sqrt(shape[1])
            array = draw.uniform(-bound, bound, shape)
        else:
            array = draw.normal(0, b_size, shape)
        found[name] = array.astype(numpy.float32)
    return found


def of(name: str, trainer: Any) -> dict[str, numpy.ndarray]:
    """The matrices of a ``Trainer`` of this backend, by PEFT's names."""
    if name == "mlx":
        from finetune.backends.mlx import adapters

        return to_peft(adapters.trainable(trainer.network))
    from finetune.backends.torch.adapters import trained

    return {key: tensor.numpy() for key, tensor in trained(trainer.peft_model).items()}


def begin(name: str, trainer: Any, seed: int) -> None:
    """Let a ``Trainer`` of this backend begin with the same matrices as one of another."""
    matrices = drawn(of(name, trainer), seed, 0.0)
    if name == "mlx":
        from finetune.backends.mlx import adapters
        from finetune.backends.mlx.runtime import mx

        adapters.put(trainer.network, {key: mx.array(array) for key, array in to_mlx(matrices).items()})
    else:
        from finetune.backends.torch.adapters import put
        from finetune.backends.torch.runtime import torch

        put(trainer.peft_model, {key: torch.from_numpy(array) for key, array in matrices.items()}, Path())
