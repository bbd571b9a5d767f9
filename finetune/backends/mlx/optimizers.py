"""MLX's optimizers by the names of --optimizer."""

from typing import Any

from finetune.backends.interface import OPTIMIZERS
from finetune.backends.mlx.runtime import mx  # noqa: F401  the first import of MLX
from finetune.settings.config import TrainingConfig

import mlx.optimizers as optim  # isort: skip


def optimizer(config: TrainingConfig) -> Any:
    """The optimizer of MLX by its name. Only those that know weight decay get it."""
    name = OPTIMIZERS[config.optimizer]
    options: dict[str, float | bool] = {}
    if name in ("AdamW", "Lion", "SGD", "Muon", "Adafactor"):
        options["weight_decay"] = config.weight_decay
    if name in ("Adam", "AdamW"):
        # without the correction the first hundred steps are several times larger than the learning rate says
        options["bias_correction"] = True
    if name == "Adafactor":
        options |= {"relative_step": False, "scale_parameter": False}  # the schedule is ours
    return getattr(optim, name)(learning_rate=config.learning_rate, **options)
