"""LoRA on MLX: Metal on Apple Silicon, CUDA, or the CPU."""

from finetune.backends.mlx.runtime import describe  # isort: skip  the first import of MLX
from finetune.backends.mlx.model import MlxModel, load, peak_memory_mb, reset_peak_memory
from finetune.backends.mlx.training import attach_lora, save_adapters, train, trainable_parameters

__all__ = [
    "MlxModel",
    "attach_lora",
    "describe",
    "load",
    "peak_memory_mb",
    "reset_peak_memory",
    "save_adapters",
    "train",
    "trainable_parameters",
]
