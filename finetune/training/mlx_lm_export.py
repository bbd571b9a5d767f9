"""Settings of train.py as a file that ``mlx_lm.lora -c FILE`` runs on the same model and rows."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from finetune.backends import load_backend
from finetune.backends.interface import OPTIMIZERS
from finetune.errors import UserError, shell_command
from finetune.methods import total_steps
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.find import ModelFolder, find_model
from finetune.records import files
from finetune.records.dataset import read_dataset_record, read_split
from finetune.settings.config import TrainingConfig
from finetune.settings.mlx_lm import BATCHES, LORA, NO_CLIPPING, SAME
from finetune.settings.save import scalar
from finetune.terminal import say

_MLX_LM_OPTIMIZERS = OPTIMIZERS.keys() - {"lion"}


def export(config: TrainingConfig, path: Path) -> None:
    """Write the file. It lists at its top what mlx-lm cannot do. UserError if mlx-lm could not run it at all."""
    if config.optimizer not in _MLX_LM_OPTIMIZERS:
        raise UserError(
            f"--optimizer {config.optimizer}: not available in mlx_lm.lora (choose from {_listed(_MLX_LM_OPTIMIZERS)})"
        )
    if path.is_dir():
        raise UserError(f"{path}: cannot be written: it is a folder", exit_code=4)
    data = read_dataset_record(config.data_dir)
    found = {split: read_split(config.data_dir, split, data, may_be_empty=split != "train") for split in files.SPLITS}
    rows = {split: len(of_split) for split, of_split in found.items()}
    plain_text = data.pieces is not None
    folder = find_model(config.model, say)
    conversations = (Conversation.of(row) for _, row in found["train"])
    with_tools = next((conversation for conversation in conversations if conversation.uses_tools), None)
    steps = total_steps(config, rows["train"])
    notes = [*_notes(config, folder, rows, plain_text=plain_text), *_of_tools(folder, with_tools), *_of_config(folder)]
    if any("reasoning_content" in turn for _, row in found["train"] for turn in row.get("messages", ())):
        notes.append(
            "- leaves out thinking where the chat template has no place for it, and learns what is only context"
        )
    lines = ["# " + " ".join(line.splitlines()) for line in ["Run with: mlx_lm.lora -c FILE", *notes]]
    lines += [
        f"{name}: {_yaml(value)}" for name, value in _settings(config, folder, steps, plain_text=plain_text).items()
    ]
    files.write_text(path, "\n".join(lines) + "\n")
    say(f"For mlx-lm: {path} ({shell_command('mlx_lm.lora', '-c', path)})")


def _settings(config: TrainingConfig, folder: ModelFolder, steps: int, *, plain_text: bool) -> dict[str, object]:
    batches = {name: getattr(config, ours) * config.grad_accumulation for name, ours in BATCHES.items()}
    same = {name: getattr(config, ours) for name, ours in SAME.items()}
    model = folder.name if folder.source == "hub" else folder.path.resolve()
    settings = {**same, "model": model, "train": True, "data": config.data_dir}
    settings |= {**batches, "iters": steps * config.grad_accumulation, "val_batches": -1, "mask_prompt": not plain_text}
    settings |= {"num_layers": config.lora_layers or -1, "grad_accumulation_steps": config.grad_accumulation}
    if config.fine_tune_type != "full":
        values = {name: getattr(config, ours) for name, ours in LORA.items()} | {"scale": config.lora_factor}
        settings["lora_parameters"] = {**values, **_keys(folder.path, config)}
    settings["optimizer_config"] = {config.optimizer: _optimizer(config)}
    if config.report_to == "wandb":
        settings["report_to"] = "wandb"
    settings |= _learning_rate(config, steps)
    return settings


def _optimizer(config: TrainingConfig) -> dict[str, object]:
    """What our backend gives the optimizer of this name."""
    options: dict[str, object] = {} if config.optimizer == "adam" else {"weight_decay": config.weight_decay}
    if config.optimizer in ("adam", "adamw"):
        options["bias_correction"] = True
    if config.optimizer == "adafactor":
        options |= {"relative_step": False, "scale_parameter": False}
    return options


def _learning_rate(config: TrainingConfig, steps: int) -> dict[str, object]:
    """The peak, and the schedule with its warm-up, to within two steps."""
    warmup = min(config.warmup, steps // 2)
    peak, rest = config.learning_rate, max(steps - warmup + 1, 1)
    if config.schedule == "constant" and not warmup:
        return {"learning_rate": peak}
    schedule = {
        "constant": ("linear_schedule", [peak, peak, rest]),
        "linear": ("linear_schedule", [peak, 0.0, rest]),
        "cosine": ("cosine_decay", [peak, rest]),
    }
    name, arguments = schedule[config.schedule]
    begin = {"warmup": warmup, "warmup_init": peak / (warmup + 1)} if warmup else {}
    return {"learning_rate": peak, "lr_schedule": {"name": name, **begin, "arguments": arguments}}


def _keys(folder: Path, config: TrainingConfig) -> dict[str, object]:
    """What mlx_lm calls the modules that --lora-modules chooses; no weights are loaded."""
    if config.lora_modules == "all":
        return {}
    load_backend("mlx")
    from finetune.backends.mlx.memory_estimate import adapted_keys

    keys = adapted_keys(folder, config)
    return {"keys": keys} if keys is not None else {}


def _of_tools(folder: ModelFolder, conversation: Conversation | None) -> list[str]:
    """A line if the model's own template does not show what the rows with tools hold, of which this is one."""
    if conversation is None:
        return []
    encoder = ChatEncoder(folder.path)
    with suppress(ValueError):
        encoder.prompt(conversation.prompt)
    return ["- does not show what the model's own chat template ignores of tools"] if encoder.tool_note else []


def _of_config(folder: ModelFolder) -> list[str]:
    """A line if mlx-lm reads another model out of config.json than is trained here."""
    with suppress(ImportError):  # without MLX nothing here runs the file
        from finetune.backends.mlx.loading import load

        found = load(folder.path, strict=False, quiet=True).differences
        copy = shell_command("python", "-m", "finetune", "doctor", "--model", folder.name, "--mlx-lm-copy", "FOLDER")
        return [f"- reads config.json otherwise ({'; '.join(found)}): give it a copy, {copy}"] if found else []
    return []


def _notes(config: TrainingConfig, folder: ModelFolder, rows: dict[str, int], *, plain_text: bool) -> list[str]:
    """What mlx-lm does differently with this file, a line each."""
    notes = ["Unlike train.py, mlx_lm.lora:"]
    if config.template != "model":
        notes.append(f"- writes rows with the model's own chat template, not with {config.template}")
    if config.patience:
        notes.append(f"- does not stop early (patience {config.patience}), and keeps the last adapters, not the best")
    else:
        notes.append("- keeps the last adapters, not the best")
    if config.max_grad_norm < NO_CLIPPING:
        notes.append(f"- does not clip gradients (max_grad_norm {config.max_grad_norm:g})")
    if config.rslora:
        notes.append(f"- has no rsLoRA: the file gives the resulting scale, {config.lora_factor:g}")
    if config.epochs is not None:
        notes.append(f"- counts batches: iters is {config.epochs:g} epochs of the current {rows['train']} rows")
    if config.grad_accumulation > 1:
        notes.append("- counts batches, not steps, and gives all batches of a step the same weight")
    for split, count in rows.items():
        if not count:
            notes.append(f"- stops with an error: {split}.jsonl is empty (remove the file for mlx-lm)")
        elif count < config.batch_size and split != "test":
            notes.append(f"- stops with an error: {split}.jsonl has fewer rows than a batch ({count})")
    if config.eval_samples or config.report_to not in (None, "wandb"):
        notes.append("- scores no answers and reports only to wandb (eval_samples, report_to)")
    if plain_text:
        notes.append("- learns the overlap of two pieces twice, ends every piece with the end-of-sequence token, and")
        notes.append("  takes the name of a special token in a text for the token")
        notes.append("- truncates rows that are too long, drops")
    else:
        notes.append("- trains on the last answer of a conversation only, truncates rows that are too long, drops")
    notes.append("  the last batch of an epoch if it is smaller, and orders the batches differently")
    return notes


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_yaml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return scalar(value)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
