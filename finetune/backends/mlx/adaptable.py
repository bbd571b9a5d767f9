"""Which modules of a model's layers can be adapted: those that are called. Some models read the weight of a module
instead, which an adapter would hide."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from finetune.backends.lora_modules import Place
from finetune.backends.mlx.runtime import mx

import mlx.nn as nn  # isort: skip  after the runtime
from mlx.utils import tree_flatten  # isort: skip
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear  # isort: skip

KINDS = (
    nn.Linear,
    nn.QuantizedLinear,
    nn.Embedding,
    nn.QuantizedEmbedding,
    SwitchLinear,
    QuantizedSwitchLinear,
)  # as mlx_lm.tuner.utils.linear_to_lora_layers has them


EXPERTS = (SwitchLinear, QuantizedSwitchLinear)
LEAVES = {"lora_a", "lora_b", "m"}  # what mlx_lm loads of an adapter; m: DoRA's magnitudes


@dataclass(frozen=True)
class Adaptable:
    """The modules of a network's layers that mlx_lm would adapt."""

    modules: dict[Place, Any]
    barred: dict[str, str]  # names within a layer of those that must not be, and why, as a clause about the module

    @property
    def places(self) -> list[Place]:
        return list(self.modules)


def adaptable(network: Any) -> Adaptable:
    """The network is followed once, and computes nothing."""
    paths = {id(module): path for path, module in network.named_modules()}
    modules = {
        Place(number, name, paths[id(module)]): module
        for number, layer in enumerate(network.layers)
        for name, module in layer.named_modules()
        if isinstance(module, KINDS) or hasattr(module, "to_lora")
    }
    read: set[int] = set()
    training = network.training
    network.train()  # some make things of weights once, and read them again in training
    with _watched([module for module in modules.values() if isinstance(module, KINDS)], read):
        network(mx.array([[0, 0, 0]]))
    network.train(training)
    barred = {place.name: "the model reads its weight" for place, module in modules.items() if id(module) in read}
    for place, module in modules.items():
        if hasattr(module, "to_lora") and not _is_loaded(module.to_lora(r=1)):
            barred[place.name] = f"mlx_lm saves adapters of a {type(module).__name__}, but does not load them"
    return Adaptable(modules, barred)


def _is_loaded(adapter: Any) -> bool:
    """Whether mlx_lm.tuner.utils.load_adapters takes what is trained of a module that makes its own adapter."""
    names = [name for name in dict(tree_flatten(adapter.parameters())) if "lora_" in name]
    return all(name.rpartition(".")[2] in LEAVES for name in names)


def not_adaptable(network: Any) -> dict[str, str]:
    """Names within a layer of quantised modules that mlx_lm has no adapters for, and of what type they are."""
    return {
        name: type(module).__name__
        for layer in network.layers
        for name, module in layer.named_modules()
        if "scales" in module and not isinstance(module, KINDS) and not hasattr(module, "to_lora")
    }


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
