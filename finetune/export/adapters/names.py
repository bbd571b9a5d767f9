"""Module names in mlx_lm and transformers: the same within a layer, but the list of layers can have another name."""

from dataclasses import dataclass
from typing import Any

from finetune.errors import UserError


@dataclass(frozen=True)
class Layers:
    """The names of a model's list of layers in the two libraries, such as "model.h" and "transformer.h" for GPT-2."""

    mlx: str
    torch: str
    depth: int

    def to_torch(self, name: str) -> str:
        """The name in transformers of a module named ``name`` in MLX. UserError if it is not in a layer."""
        return _moved(name, self.mlx, self.torch)

    def to_mlx(self, name: str) -> str:
        """The name in MLX of a module named ``name`` in transformers. UserError if it is not in a layer."""
        return _moved(name, self.torch, self.mlx)

    def place(self, name: str) -> tuple[int, str]:
        """The number of the layer of a module named ``name`` in MLX, and the module's name within the layer."""
        number, _, inner = name.removeprefix(f"{self.mlx}.").partition(".")
        return int(number), inner


def _moved(name: str, source: str, target: str) -> str:
    number = name.removeprefix(f"{source}.").partition(".")[0]
    if not name.startswith(f"{source}.") or not number.isdecimal():
        raise UserError(f"{name}: cannot be converted (supported: adapters of modules in layers, {source}.N)")
    return target + name.removeprefix(source)


def pair(network: Any, torch_network: Any) -> Layers:
    """Find the list of layers of transformers' network that corresponds to the layers of MLX's network.

    It has as many modules, and its modules have the most names in common with MLX's. UserError if there is none.
    """
    from torch import nn

    depth = len(network.layers)
    ours = next(name for name, module in network.named_modules() if module is network.layers[-1]).rpartition(".")[0]
    wanted = {name for name, _ in network.layers[-1].named_modules() if name}
    lists = {
        name: len(wanted & {inner for inner, _ in module[-1].named_modules()})
        for name, module in torch_network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    }
    if not lists:
        raise UserError(
            f"{type(torch_network).__name__} of transformers has no list of {depth} layers, unlike the model in MLX"
        )
    return Layers(ours, max(lists, key=lambda name: (lists[name], name == ours)), depth)
