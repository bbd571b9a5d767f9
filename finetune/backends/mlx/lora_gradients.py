"""LoRA's update with early gradients of its weights: as soon as they are known, what they were made of can be freed.

MLX would leave the gradients of the LoRA weights to the end of the backward pass, and keep until then the input of every
adapted layer and the gradient of its output. With gradient checkpointing that is nearly all the memory of a
step; without, it is held at the peak anyway, and waiting would only cost time.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from finetune.backends.mlx.runtime import mx, with_gradient

from mlx_lm.tuner.lora import LoRALinear  # isort: skip  after the runtime


class TimelyLoRALinear(LoRALinear):
    def __call__(self, x: Any) -> Any:
        return self.linear(x) + update(self.scale)(self.dropout(x), self.lora_a, self.lora_b)


def make_timely(network: Any) -> None:
    """Give every LoRA layer of a network early gradients."""
    for _, module in network.named_modules():
        if type(module) is LoRALinear:
            module.__class__ = TimelyLoRALinear


def make_plain(network: Any) -> None:
    """Undo ``make_timely``."""
    for _, module in network.named_modules():
        if type(module) is TimelyLoRALinear:
            module.__class__ = LoRALinear


@cache
def update(scale: float) -> Callable[..., Any]:
    """A function (x [..., size], a [size, rank], b [rank, out]) -> scale x a b [..., out], in the type of x."""

    def backward(primals: Any, cotangents: Any, outputs: Any) -> tuple[Any, Any, Any]:
        x, a, b = primals
        gradient: Any = cotangents  # of the one output
        inputs = x.reshape(-1, x.shape[-1])
        arrived = gradient.reshape(-1, gradient.shape[-1])
        inner = (scale * (arrived @ b.T)).astype(a.dtype)
        for_a = (inputs.T @ inner).astype(a.dtype)
        for_b = (scale * ((inputs @ a).T @ arrived)).astype(b.dtype)
        for_x = (inner @ a.T).reshape(x.shape).astype(x.dtype)
        # the backward pass continues only when both are there
        return mx.depends(for_x, [for_a, for_b]), for_a, for_b

    @with_gradient(backward)
    def forward(x: Any, a: Any, b: Any) -> Any:
        return (scale * ((x @ a) @ b)).astype(x.dtype)

    return forward
