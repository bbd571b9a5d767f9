"""The modules of a layer are named alike in mlx_lm and transformers; the list of the layers may not be."""

from dataclasses import dataclass
from typing import Any

from finetune.errors import UserError


@dataclass(frozen=True)
class Layers:
    """Where the layers of one model lie in the two networks: "model.h" and "transformer.h" of GPT-2."""

    mlx: str
    torch: str
    depth: int

    def to_torch(self, name: str) -> str:
        return _moved(name, self.mlx, self.torch)

    def to_mlx(self, name: str) -> str:
        return _moved(name, self.torch, self.mlx)

    def place(self, name: str) -> tuple[int, str]:
        """The layer of a module that MLX names so, and its name within the layer."""
        number, _, inner = name.removeprefix(f"{self.mlx}.").partition(".")
        return int(number), inner


def _moved(name: str, source: str, target: str) -> str:
    number = name.removeprefix(f"{source}.").partition(".")[0]
    if not name.startswith(f"{source}.") or not number.isdecimal():
        raise UserError(
            f"{name}: an adapter outside of the layers ({source}.N) cannot be converted (embedding, head or another part)"
        )
    return target + name.removeprefix(source)


def pair(network: Any, torch_network: Any) -> Layers:
    """Of the lists of as many modules as MLX's network has layers, the one whose layers hold the same names."""
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
            f"{type(torch_network).__name__} of transformers has no {depth} layers, as the model has in MLX"
        )
    return Layers(ours, max(lists, key=lambda name: (lists[name], name == ours)), depth)
