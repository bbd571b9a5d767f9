"""Which modules of a model's layers can be adapted: those that are called. Some models read the weight of a module
instead, which an adapter would hide."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from finetune.backends.mlx.runtime import mx

import mlx.nn as nn  # isort: skip  after the runtime
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear  # isort: skip

KINDS = (
    nn.Linear,
    nn.QuantizedLinear,
    nn.Embedding,
    nn.QuantizedEmbedding,
    SwitchLinear,
    QuantizedSwitchLinear,
)  # as mlx_lm.tuner.utils.linear_to_lora_layers has them


def adaptable(network: Any) -> tuple[set[str], set[str]]:
    """Names within a layer of the modules that mlx_lm would adapt: those that are called, and those whose weight is read.

    The network is followed once, and computes nothing.
    """
    modules = [
        (name, module)
        for layer in network.layers
        for name, module in layer.named_modules()
        if isinstance(module, KINDS) or hasattr(module, "to_lora")
    ]
    read: set[int] = set()
    training = network.training
    network.train()  # some make things of weights once, and read them again in training
    with _watched([module for _, module in modules if isinstance(module, KINDS)], read):
        network(mx.array([[0, 0, 0]]))
    network.train(training)
    elsewhere = {name for name, module in modules if id(module) in read}
    return {name for name, _ in modules} - elsewhere, elsewhere


@contextmanager
def _watched(modules: list[Any], read: set[int]) -> Iterator[None]:
    """Note whose weight is read by others than the module itself."""
    kinds = [type(module) for module in modules]
    busy: set[int] = set()

    def watching(kind: Any) -> type:
        def call(module: Any, *given: Any, **named: Any) -> Any:
            busy.add(id(module))
            try:
                return kind.__call__(module, *given, **named)
            finally:
                busy.discard(id(module))

        def attribute(module: Any, name: str) -> Any:
            if name == "weight" and id(module) not in busy:
                read.add(id(module))
            return kind.__getattr__(module, name)

        return type(kind.__name__, (kind,), {"__call__": call, "__getattr__": attribute})

    made = {kind: watching(kind) for kind in set(kinds)}
    for module, kind in zip(modules, kinds, strict=True):
        module.__class__ = made[kind]
    try:
        yield
    finally:
        for module, kind in zip(modules, kinds, strict=True):
            module.__class__ = kind
