"""What computes: a backend loads a model, trains it and lets it answer. Each is imported only when it is chosen."""

from importlib import import_module
from types import ModuleType

BACKENDS = {"mlx": "finetune.backends.mlx"}


def load_backend(name: str) -> ModuleType:
    """The backend's package; ``__all__`` of ``mlx`` lists the functions that every backend has."""
    return import_module(BACKENDS[name])
