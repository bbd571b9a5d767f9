"""An adapter in memory: MLX arrays by the names of MLX modules, whichever library wrote the folder."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from finetune.terminal import counted


class Part(NamedTuple):
    """The trained part of one linear module: its output is x W + scale · (x a) b; with DoRA, columns have the norm m."""

    a: Any  # [input, rank]
    b: Any  # [rank, output]
    m: Any | None  # [output], DoRA's magnitudes
    scale: float


@dataclass(frozen=True)
class Embeddings:
    """What was trained of the embeddings. ``inputs`` and, if it is another matrix, ``outputs``, the head: all rows
    [vocabulary, size], or those of the ``count`` new tokens from ``first`` on [count, size]."""

    inputs: Any
    outputs: Any | None
    vocabulary: int
    first: int
    count: int
    whole: bool

    @property
    def ids(self) -> range:
        """Those of the new tokens."""
        return range(self.first, self.first + self.count)

    def __str__(self) -> str:
        return "all embeddings" if self.whole else f"the embeddings of {counted(self.count, 'new token')}"


@dataclass(frozen=True)
class Adapter:
    """The trained parts of all modules, by the modules' names in MLX; ``dropout`` is a probability."""

    dora: bool
    rank: int
    dropout: float
    parts: dict[str, Part]  # by "model.layers.0.self_attn.q_proj"
    embeddings: Embeddings | None = None

    def __str__(self) -> str:
        scales = sorted({part.scale for part in self.parts.values()})
        scale = f"{scales[0]:.6g}" if len(scales) == 1 else f"{scales[0]:.6g} to {scales[-1]:.6g}"
        more = f", and {self.embeddings}" if self.embeddings else ""
        return f"{'DoRA' if self.dora else 'LoRA'} rank {self.rank}, {len(self.parts)} modules, scale {scale}{more}"
