"""--backend: mlx, torch, and the interface that both fill; llama.cpp, which checks what is exported.

A backend loads a model, trains it and generates answers. It is imported only when it is chosen.
"""

import os
import sys
from dataclasses import replace
from importlib import import_module
from importlib.metadata import distributions, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from finetune.backends.interface import Backend
from finetune.errors import UserError
from finetune.settings import environment
from finetune.settings.config import TrainingConfig
from finetune.settings.fields import flag

# Read when PyTorch is imported. Threads that wait for each other by spinning take the cores from whatever else runs: beside
# another program a step took five times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

BACKENDS = {"mlx": "finetune.backends.mlx", "torch": "finetune.backends.torch"}
AUTO = "auto"
CHOICES = {AUTO: None, **BACKENDS}
# values of flags that a backend does not support
_WITHOUT = {"torch": {"fine_tune_type": ("full",), "optimizer": ("lion",), "train_embeddings": (True,)}}
_NEEDED = {"mlx": ("mlx", "mlx_lm"), "torch": ("torch", "transformers", "peft", "trl", "accelerate")}
_REMEDY = {"mlx": "make setup", "torch": "make setup-torch"}


if TYPE_CHECKING:  # both packages fill the interface
    from finetune.backends import mlx, torch

    _FILLED: tuple[Backend, ...] = (mlx, torch)


def load_backend(name: str) -> Backend:
    """The backend's package. UserError if it is not installed, with the command that installs it."""
    if missing := _missing(name):
        raise UserError(f"--backend {name}: {', '.join(missing)} not installed (run: {_REMEDY[name]})")
    return cast(Backend, import_module(BACKENDS[name]))


def _missing(name: str) -> list[str]:
    return [package for package in _NEEDED[name] if find_spec(package) is None]


def resolved(config: TrainingConfig) -> TrainingConfig:
    """``config`` with the backend that "auto" stands for on this machine, and why as its origin.

    UserError if the backend does not support what ``config`` asks for.
    """
    if config.backend == AUTO:
        name, why = chosen_by_auto()
        config = replace(config, backend=name, origins={**config.origins, "backend": f"{AUTO}: {why}"})
    for name, values in _WITHOUT.get(config.backend, {}).items():
        if (value := getattr(config, name)) in values:
            what = flag(name) if value is True else f"{flag(name)} {value}"
            raise UserError(f"{what}: not supported by --backend {config.backend} (use --backend mlx)")
    if config.add_tokens and config.backend == "torch":
        raise UserError("--add-tokens: not supported by --backend torch (use --backend mlx)")
    return config


def chosen_because(config: TrainingConfig) -> str:
    """Why "auto" chose the backend, in brackets; empty if it was given or is the only one installed."""
    origin = config.origins.get("backend", "")
    return f" ({origin})" if origin.startswith(f"{AUTO}: ") and not _missing("torch") else ""


def chosen_by_auto() -> tuple[str, str]:
    """The backend that "auto" stands for on this machine, and why, as a phrase for the terminal."""
    if _missing("torch"):
        return "mlx", "the only one installed"
    if not _missing("mlx") and (gpu := _gpu_of_mlx()):
        return "mlx", f"MLX runs on {gpu}"
    if gpu := _gpu_of_torch():
        return "torch", f"PyTorch runs on {gpu}, and MLX would on the CPU"
    if not _missing("mlx"):
        from finetune.backends.mlx.runtime import BLAS

        if BLAS is not None:
            return "mlx", "as fast as PyTorch on a CPU, in less memory"
    return "torch", "MLX has no fast BLAS on this machine"


def _gpu_of_mlx() -> str | None:
    """The GPU that MLX runs on; None for the CPU. On Linux MLX is imported only if it can be CUDA: it loads a BLAS for
    everything after it, and PyTorch's threads beside those of that BLAS are several times slower."""
    if sys.platform == "linux" and not any(dist.name.startswith("mlx-cuda") for dist in distributions()):
        return None
    from finetune.backends.mlx.runtime import ON_CPU

    return None if ON_CPU else "Metal" if sys.platform == "darwin" else "CUDA"


def _gpu_of_torch() -> str | None:
    if environment.device() == "cpu" or version("torch").endswith("+cpu"):  # to import it takes a second
        return None
    import torch

    return "CUDA" if torch.cuda.is_available() else "MPS" if torch.backends.mps.is_available() else None
