"""LoRA on MLX: Metal on Apple Silicon, CUDA, or the CPU."""

from finetune.backends.mlx.runtime import describe  # isort: skip  the first import of MLX
from finetune.backends.mlx.runtime import is_leader  # isort: skip  the first import of MLX
from finetune.backends.mlx.adapters import FORMAT
from finetune.backends.mlx.memory import device_memory, memory_mb, peak_memory_mb, reset_peak_memory
from finetune.backends.mlx.memory_estimate import estimate_memory, static_mb
from finetune.backends.mlx.model import MlxModel, load
from finetune.backends.mlx.training import Trainer

__all__ = [
    "FORMAT",
    "MlxModel",
    "Trainer",
    "describe",
    "device_memory",
    "estimate_memory",
    "is_leader",
    "load",
    "memory_mb",
    "peak_memory_mb",
    "reset_peak_memory",
    "static_mb",
]
