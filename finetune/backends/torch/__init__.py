"""LoRA on PyTorch, by Transformers, PEFT and TRL: CUDA, MPS on Apple Silicon, or the CPU."""

from finetune.backends.torch.adapters import FORMAT
from finetune.backends.torch.memory import device_memory, memory_mb, peak_memory_mb, reset_peak_memory
from finetune.backends.torch.memory_estimate import estimate_memory, static_mb
from finetune.backends.torch.model import TorchModel, load
from finetune.backends.torch.runtime import describe, is_leader
from finetune.backends.torch.training import Trainer

__all__ = [
    "FORMAT",
    "TorchModel",
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
