"""An adapter in memory: MLX arrays by the names of MLX modules, whichever library wrote the folder."""

from dataclasses import dataclass
from typing import Any, NamedTuple


class Part(NamedTuple):
    """The trained part of one linear module: its output is x W + scale · (x a) b; with DoRA, columns have the norm m."""

    a: Any  # [input, rank]
    b: Any  # [rank, output]
    m: Any | None  # [output], DoRA's magnitudes
    scale: float


@dataclass(frozen=True)
class Adapter:
    """The trained parts of all modules, by the modules' names in MLX; ``dropout`` is a probability."""

    dora: bool
    rank: int
    dropout: float
    parts: dict[str, Part]  # by "model.layers.0.self_attn.q_proj"

    def __str__(self) -> str:
        scales = sorted({part.scale for part in self.parts.values()})
        scale = f"{scales[0]:.6g}" if len(scales) == 1 else f"{scales[0]:.6g} to {scales[-1]:.6g}"
        return f"{'DoRA' if self.dora else 'LoRA'} rank {self.rank}, {len(self.parts)} modules, scale {scale}"
