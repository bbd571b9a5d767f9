"""What computes: a backend loads a model, trains it and lets it answer. Each is imported only when it is chosen."""

from importlib import import_module
from types import ModuleType

BACKENDS = {"mlx": "finetune.backends.mlx"}


def load_backend(name: str) -> ModuleType:
    """The backend's package: ``describe()``, ``load(folder, encoder, adapter)`` and ``train(...)``."""
    return import_module(BACKENDS[name])
