"""The trainers that ``versus_trl.py`` compares: ours on MLX, ours on PyTorch, and TRL with PEFT as its documentation shows it.

Each gives the same figures: times from the end of one step to the end of the next, whatever happens in between; the most
memory that the process has had resident; and the validation loss of the LoRA matrices it ends with, put into one model.
"""

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import lora_weights
from benchmarks.turns import LORA, WARM, TurnConfig, encoded, examples, settings

_STATUS = Path("/proc/self/status")


@dataclass
class Turn:
    """What is noted of the steps of a trainer."""

    clock: list[float] = field(default_factory=list)  # when each step was done
    rows: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)  # of the rows, without padding
    padded: list[int] = field(default_factory=list)
    learned: list[int] = field(default_factory=list)

    def figures(self, device: str, device_mb: float | None) -> dict[str, Any]:
        """``device_mb``: the most that was allocated on a GPU; None on the CPU."""
        seconds = self.clock[-1] - self.clock[WARM - 1]
        rows, tokens, padded, learned = (
            sum(values[WARM : len(self.clock)]) for values in (self.rows, self.tokens, self.padded, self.learned)
        )
        return {
            "device": device,
            "examples_per_second": rows / seconds,
            "tokens_per_second": tokens / seconds,
            "completion_tokens_per_second": learned / seconds,
            "padding": 1 - tokens / padded,
            "peak_process_mb": peak_process_mb(),
            "peak_device_mb": device_mb,
        }


def _ours(name: str, config: TurnConfig) -> dict[str, Any]:
    from finetune.backends import load_backend
    from finetune.methods import METHODS, RowSource
    from finetune.models.examples import as_rows

    backend = load_backend(name)
    encoder, train, valid = examples(config.folder)
    model = backend.load(config.folder / "model", encoder)
    source = RowSource(METHODS["sft"], as_rows(train), settings(config))
    trainer = backend.Trainer(model, METHODS["sft"], source, settings(config), config.steps, "")
    turn = Turn()

    def after(step: Any) -> bool:
        turn.clock.append(time.perf_counter())
        turn.rows.append(len(step.rows))
        turn.tokens.append(sum(len(train[row].tokens) - 1 for row in step.rows))
        turn.padded.append(step.tokens)
        turn.learned.append(step.learned)
        return True

    trainer.train(lambda: False, after)
    found = turn.figures(backend.describe(), None if _on_cpu(name) else backend.peak_memory_mb())
    return {**found, "validation_loss": _validation_loss(config, lora_weights.of(name, trainer), valid)}


def _on_cpu(name: str) -> bool:
    if name == "mlx":
        from finetune.backends.mlx.runtime import ON_CPU

        return ON_CPU
    from finetune.backends.torch.runtime import device

    return device().type == "cpu"


def _trl(checkpointing: bool, config: TurnConfig) -> dict[str, Any]:
    """https://huggingface.co/docs/trl/sft_trainer: "Train on completion only" and "Train adapters with PEFT".

    What is not its default: the figures that must be the same for all, no limit of length, and the precision of the weights
    (of float32 weights its default would compute in bfloat16, which a CPU emulates).
    """
    from finetune.backends.torch.runtime import describe, dtype, torch
    from finetune.backends.torch import adapters  # isort: skip  after the runtime
    from finetune.backends.torch.memory import peak_memory_mb  # isort: skip
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            turn.clock.append(time.perf_counter())

    encoder, _, valid = examples(config.folder)
    train, conversations = encoded(config.folder, "train", encoder)
    turn, same = Turn(), settings(config)
    trainer = SFTTrainer(
        model=str(config.folder / "model"),
        args=SFTConfig(
            output_dir=str(config.folder / "trl"),
            max_steps=config.steps,
            per_device_train_batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=same.weight_decay,
            max_length=None,
            gradient_checkpointing=checkpointing,
            model_init_kwargs={"dtype": dtype()},
            bf16=dtype() is torch.bfloat16,
            fp16=dtype() is torch.float16,
            use_cpu=_on_cpu("torch"),
            seed=config.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in conversations]),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=LORA["rank"],
            lora_alpha=LORA["scale"] * LORA["rank"],
            lora_dropout=LORA["dropout"],
            target_modules="all-linear",
        ),
        callbacks=[Clock()],
    )
    trainer.train_dataset = _same_tokens(trainer.train_dataset, train)
    trainer.data_collator = _noted(trainer.data_collator, turn)
    trainer.train()
    found = turn.figures(describe(), None if _on_cpu("torch") else peak_memory_mb())
    matrices = {name: tensor.numpy() for name, tensor in adapters.trained(trainer.model).items()}
    return {**found, "validation_loss": _validation_loss(config, matrices, valid)}


def _same_tokens(rows: Any, wanted: Sequence[Any]) -> Any:
    """TRL's rows of tokens and labels, the same as ours up to where ours end, and cut there.

    It would also learn what the template writes after the end of the turn, a line break in most.
    """
    lengths = [len(example.tokens) for example in wanted]
    rows = rows.map(
        lambda row, at: {key: row[key][: lengths[at]] for key in ("input_ids", "labels")}, with_indices=True
    )
    for row, example in zip(rows, wanted, strict=True):
        labels = [token if learn else -100 for token, learn in zip(example.tokens, example.loss_mask, strict=True)]
        if (row["input_ids"], row["labels"]) != (example.tokens, labels):
            raise SystemExit("TRL makes other tokens of the rows: this model cannot be compared")
    return rows


def _noted(collate: Callable[[Any], dict[str, Any]], turn: Turn) -> Callable[[Any], dict[str, Any]]:
    """``collate``, and the size of each batch noted. The loader is a batch ahead of the steps, but in their order."""

    def collated(rows: Any) -> dict[str, Any]:
        batch = collate(rows)
        labels = batch["labels"][:, 1:]
        turn.rows.append(len(rows))
        turn.tokens.append(sum(len(row["input_ids"]) - 1 for row in rows))
        turn.padded.append(labels.numel())
        turn.learned.append(int((labels != -100).sum()))
        return batch

    return collated


def peak_process_mb() -> float:
    """Most memory of this process that was resident at once, in 10^6 bytes."""
    if _STATUS.exists():  # on Linux ru_maxrss begins with what the parent had when it started this process
        return next(int(line.split()[1]) * 1024 / 1e6 for line in _STATUS.open() if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _validation_loss(config: TurnConfig, matrices: Mapping[str, Any], valid: Sequence[Any]) -> float:
    """Mean over the learned tokens of all validation rows, by the torch backend, whoever trained these matrices."""
    from finetune.backends import torch as backend
    from finetune.backends.torch import adapters
    from finetune.backends.torch.runtime import torch

    encoder, _, _ = examples(config.folder)
    model = backend.load(config.folder / "model", encoder)
    adapted = adapters.attach(model.network, adapters.settings(model.network, settings(config)))
    adapters.put(adapted, {name: torch.from_numpy(array) for name, array in matrices.items()}, config.folder)
    return sum(model.losses(valid)) / sum(sum(example.loss_mask) for example in valid)


TRAINERS: dict[str, Callable[[TurnConfig], dict[str, Any]]] = {
    "mlx": partial(_ours, "mlx"),
    "torch": partial(_ours, "torch"),
    "trl": partial(_trl, False),
    "trl-checkpointing": partial(_trl, True),
}
