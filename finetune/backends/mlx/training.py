"""The training loop on MLX. It yields what happened; the caller prints, records and decides when to stop."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from finetune.artifacts import atomic
from finetune.backends.base import Step, Validation
from finetune.backends.mlx.completion import collate, logprob_function
from finetune.backends.mlx.model import MlxModel, peak_memory_mb
from finetune.backends.mlx.runtime import mx
from finetune.config import TrainingConfig
from finetune.encoding import Example
from finetune.methods import Method
from finetune.methods.schedules import SCHEDULES, learning_rate

import mlx.nn as nn  # isort: skip  after the runtime
import mlx.optimizers as optim  # isort: skip


def attach_lora(model: MlxModel, config: TrainingConfig) -> dict[str, Any]:
    """Freeze the model and put LoRA matrices on every linear layer of its last ``lora_layers`` blocks.

    Returns what mlx_lm needs to load them again (adapter_config.json). LoRA: arXiv 2106.09685.
    """
    from mlx_lm.tuner.utils import linear_to_lora_layers

    mx.random.seed(config.seed)
    model.network.freeze()
    layers = min(config.lora_layers or len(model.network.layers), len(model.network.layers))
    parameters = {"rank": config.lora_rank, "scale": config.lora_scale, "dropout": config.lora_dropout}
    linear_to_lora_layers(model.network, layers, parameters)
    return {"fine_tune_type": "lora", "num_layers": layers, "lora_parameters": parameters}


def trainable_parameters(model: MlxModel) -> int:
    from mlx.utils import tree_flatten

    arrays = dict(tree_flatten(model.network.trainable_parameters()))
    return sum(array.size for array in arrays.values())


def save_adapters(model: MlxModel, path: Path) -> None:
    from mlx.utils import tree_flatten

    with atomic(path) as temporary:
        try:
            mx.save_safetensors(str(temporary), dict(tree_flatten(model.network.trainable_parameters())))
        except RuntimeError as error:  # how MLX says that the disk is full
            raise OSError(str(error)) from None


def train(
    model: MlxModel,
    method: Method,
    train_rows: Sequence[Example],
    valid_rows: Sequence[Example],
    config: TrainingConfig,
    steps: int,
) -> Iterator[Step | Validation]:
    """Train for ``steps`` optimizer steps; yields a Step after each, and a Validation every ``steps_per_eval`` and at the end.

    Stops after a Step whose loss or gradient is not finite: the caller sees it there, with the rows of the batch.
    """
    network = model.network
    logprobs = logprob_function(network)
    loss_and_grad = nn.value_and_grad(network, lambda network, batch: method.loss(logprobs(network, batch)))
    # without the correction the first hundred steps are several times larger than the learning rate says
    optimizer = optim.AdamW(config.learning_rate, weight_decay=config.weight_decay, bias_correction=True)
    schedule = SCHEDULES[config.schedule]
    for step, rows in zip(
        range(1, steps + 1), method.batches(train_rows, config.batch_size, config.seed), strict=False
    ):
        started = time.perf_counter()
        network.train()
        mx.random.seed(config.seed + step)  # dropout depends on the step alone, not on what ran before
        batch = collate([train_rows[row] for row in rows])
        loss, gradients = loss_and_grad(network, batch)
        gradients, norm = optim.clip_grad_norm(gradients, config.max_grad_norm)
        rate = learning_rate(step, steps, config.learning_rate, config.warmup, schedule)
        finite = math.isfinite(loss.item()) and math.isfinite(norm.item())
        if finite:
            optimizer.learning_rate = rate
            optimizer.update(network, gradients)
            mx.eval(network.trainable_parameters(), optimizer.state)
        seconds = time.perf_counter() - started
        tokens, learned = sum(part.inputs.size for part in batch), sum(part.learned for part in batch)
        yield Step(step, loss.item(), finite, rate, rows, tokens, learned, seconds, peak_memory_mb())
        if not finite:
            return
        if step % config.steps_per_eval == 0 or step == steps:
            yield Validation(step, validation_loss(model, logprobs, valid_rows, config.batch_size))


def validation_loss(model: MlxModel, logprobs: Any, rows: Sequence[Example], batch_size: int) -> float:
    """Mean negative log-probability per learned token over all rows, whatever their number."""
    model.network.eval()
    order = sorted(range(len(rows)), key=lambda row: len(rows[row].tokens))
    total, learned = 0.0, 0
    for at in range(0, len(order), batch_size):
        batch = collate([rows[row] for row in order[at : at + batch_size]])
        total -= logprobs(model.network, batch).sum().item()
        learned += sum(part.learned for part in batch)
    return total / learned
