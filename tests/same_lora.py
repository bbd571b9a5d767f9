"""Trainers of both backends that begin with the same adapters."""

from pathlib import Path
from typing import Any


def same_lora(on_mlx: Any, on_torch: Any) -> None:
    """The same random LoRA weights for both, none of them 0: else lora_A would have no gradient."""
    import torch
    from mlx.utils import tree_flatten, tree_unflatten

    from finetune.backends.mlx.runtime import mx
    from finetune.backends.torch import adapters

    generator = torch.Generator().manual_seed(0)
    weights, arrays = {}, []
    for name, array in tree_flatten(on_mlx.network.trainable_parameters()):
        values = 0.05 * torch.randn(tuple(array.shape), generator=generator)
        arrays.append((name, mx.array(values.numpy())))
        peft_name = f"base_model.model.{name.replace('lora_a', 'lora_A.weight').replace('lora_b', 'lora_B.weight')}"
        weights[peft_name] = values.T.contiguous()
    on_mlx.network.update(tree_unflatten(arrays))
    adapters.put(on_torch.peft_model, weights, Path("made here"))
