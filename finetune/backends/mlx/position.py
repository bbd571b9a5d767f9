"""How far a run on MLX has come, to the batch."""

from dataclasses import dataclass, field


@dataclass
class Position:
    """Whole steps, and the batches of the step under way with the sums of their losses and weights."""

    step: int = 0
    batch: int = 0
    loss: float = 0.0
    weight: float = 0.0
    tokens: int = 0
    learned: int = 0
    seconds: float = 0.0
    metrics: dict[str, list[float]] = field(default_factory=dict)  # of each its sum and its count
