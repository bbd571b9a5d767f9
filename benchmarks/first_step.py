"""Loss and gradients of one batch of ``backend_parity.py``, on MLX, on PyTorch, and on PyTorch in float64."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy

from benchmarks import lora_weights
from finetune.methods import METHODS
from finetune.settings.config import TrainingConfig

_B_SIZE = 0.02  # deviation of lora_B: about what a short training leaves there
Gradients = dict[str, numpy.ndarray]  # by PEFT's names
Step = tuple[float, Gradients]  # the loss, and what it has


def compared(folder: Path, encoder: Any, rows: Sequence[Any], settings: TrainingConfig) -> dict[str, dict[str, Any]]:
    """How far each is from the others: of the loss, of all gradients together, and of the matrix that is farthest."""
    reference, weights = _on_torch(folder, encoder, rows, settings, double=True)
    torch, _ = _on_torch(folder, encoder, rows, settings)
    mlx = _on_mlx(folder, encoder, rows, settings, weights)
    return {
        "MLX to PyTorch": _distance(mlx, torch),
        "MLX to float64": _distance(mlx, reference),
        "PyTorch to float64": _distance(torch, reference),
    }


def _distance(one: Step, other: Step) -> dict[str, Any]:
    """Relative to the other: differences of matrices by their Frobenius norms."""
    apart = {name: float(numpy.linalg.norm(one[1][name] - wanted)) for name, wanted in other[1].items()}
    sizes = {name: float(numpy.linalg.norm(wanted)) for name, wanted in other[1].items()}
    worst = max(apart, key=lambda name: apart[name] / sizes[name])
    return {
        "loss": abs(one[0] - other[0]) / other[0],
        "gradients": math.hypot(*apart.values()) / math.hypot(*sizes.values()),
        "worst matrix": apart[worst] / sizes[worst],
        "worst": worst,
    }


def _on_mlx(folder: Path, encoder: Any, rows: Sequence[Any], settings: TrainingConfig, weights: Gradients) -> Step:
    from finetune.backends import mlx as backend
    from finetune.backends.mlx import adapters
    from finetune.backends.mlx.logprobs import collate, logprob_function
    from finetune.backends.mlx.runtime import mx

    import mlx.nn as nn  # isort: skip  after the runtime
    from mlx.utils import tree_flatten

    network = backend.load(folder, encoder).network
    adapters.attach(network, adapters.settings(network, settings))
    adapters.put(network, {name: mx.array(array) for name, array in lora_weights.to_mlx(weights).items()})
    logprobs = logprob_function(network)

    def loss(network: Any, batch: Any) -> Any:
        found = METHODS["sft"].loss(mx, logprobs(network, batch), rows, settings)
        return found.total / found.weight

    value, gradients = nn.value_and_grad(network, loss)(network, collate(rows))
    return value.item(), lora_weights.to_peft(dict(tree_flatten(gradients)))


def _on_torch(
    folder: Path, encoder: Any, rows: Sequence[Any], settings: TrainingConfig, double: bool = False
) -> tuple[Step, Gradients]:
    """The step, and the LoRA matrices it was taken with, float32 in either case."""
    from finetune.backends import torch as backend
    from finetune.backends.torch import adapters
    from finetune.backends.torch.logprobs import collate, learned_logprobs
    from finetune.backends.torch.runtime import device, torch

    model = backend.load(folder, encoder)
    adapted = adapters.attach(model.network, adapters.settings(model.network, settings))
    weights = lora_weights.drawn(adapters.trained(adapted), settings.seed, _B_SIZE)
    adapters.put(adapted, {name: torch.from_numpy(array) for name, array in weights.items()}, folder)
    with _in_float64(torch, adapted) if double else nullcontext():
        batch = {name: tensor.to(device()) for name, tensor in collate(rows).items()}
        found = METHODS["sft"].loss(torch, learned_logprobs(model.network, batch), rows, settings)
        loss = found.total / found.weight
        loss.backward()
    gradients = {
        name.replace(".default", ""): parameter.grad.double().cpu().numpy()
        for name, parameter in adapted.named_parameters()
        if parameter.requires_grad
    }
    return (loss.item(), gradients), weights


@contextmanager
def _in_float64(torch: Any, model: Any) -> Iterator[None]:
    """``model`` with weights in float64, and whatever asks for float32 gets float64.

    Transformers computes norms and rotary positions in float32 whatever the weights are in.
    """
    double = torch.float64
    model.double()
    with (
        mock.patch.object(torch, "float32", double),
        mock.patch.object(torch, "float", double),
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
    ):
        for name, module in [*model.named_modules()]:
            if any("inv_freq" in buffer for buffer in module._buffers):  # the rotary positions, made anew
                model.set_submodule(name, type(module)(module.config))
        yield
