"""mlx-lm's own settings, read and written; what is written is run by mlx-lm itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bad_input_table import configured
from finetune.errors import UserError
from finetune.scripts import prepare
from finetune.training.mlx_lm_export import export

EXAMPLE = """\
model: builtin
train: true
data: {rows}
optimizer: adamw
optimizer_config: {{adamw: {{bias_correction: true, weight_decay: 0.1}}}}
iters: 1000
grad_accumulation_steps: 4
num_layers: -1
save_every: 100
mask_prompt: true
val_batches: -1
test: false
resume_adapter_file: null
lora_parameters:
  keys: ["self_attn.q_proj", "self_attn.v_proj"]
  rank: 4
  scale: 10.0
  dropout: 0.05
lr_schedule: {{name: cosine_decay, warmup: 20, warmup_init: 1e-7, arguments: [1e-5, 250]}}
"""


def test_a_file_of_mlx_lm_is_read_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "lora.yaml"
    path.write_text(EXAMPLE.format(rows=tmp_path))
    config = configured("train", "--config", path, "--batch-size", 2)
    prepare(config)
    assert (config.model, config.data_dir, config.adapter_path) == ("builtin", tmp_path, Path("adapters"))
    assert (config.iters, config.grad_accumulation, config.steps_per_save, config.batch_size) == (250, 4, 25, 2)
    assert (config.lora_layers, config.lora_modules, config.lora_rank) == (None, "self_attn.q_proj,self_attn.v_proj", 4)
    assert (config.lora_factor, config.lora_dropout, config.weight_decay) == (10.0, 0.05, 0.1)
    assert (config.learning_rate, config.schedule, config.warmup) == (1e-5, "cosine", 20)
    assert (config.seed, config.max_seq_length, config.steps_per_eval) == (0, 2048, 50)
    origins = [config.origins[name] for name in ("iters", "seed", "batch_size", "patience")]
    assert origins == [f"{path} (mlx-lm)", "mlx-lm's default", "flag", "default"]


def test_mlx_lms_defaults_are_what_is_assumed() -> None:
    from finetune.backends.mlx.runtime import mx  # noqa: F401  # isort: skip
    from mlx_lm.lora import CONFIG_DEFAULTS

    from finetune.settings.mlx_lm import _DEFAULTS, _KNOWN

    theirs = CONFIG_DEFAULTS | CONFIG_DEFAULTS["lora_parameters"]
    assert {name: theirs[name] for name in _DEFAULTS} == _DEFAULTS
    assert not CONFIG_DEFAULTS.keys() - set(_KNOWN)


@pytest.mark.parametrize(
    "change, words",
    [
        ("mask_prompt: false", "mask_prompt: false: not supported (the loss mask always covers the prompt"),
        ("val_batches: 10", "val_batches: 10: not supported"),
        ("test: true", "test: true: not supported (evaluate with test_finetuned.py)"),
        (
            "resume_adapter_file: a.safetensors",
            "resume_adapter_file: a.safetensors: not supported (resume with --resume",
        ),
        ("report_to: swanlab", "report_to: swanlab: not supported"),
        ("lora_rank: 8", "unknown key 'lora_rank'"),
        ("num_layer: 8", "unknown key 'num_layer' (did you mean num_layers?)"),
        ("num_layers: some", "num_layers: 'some' is not a whole number"),
        ("batch_size: some", "batch_size: 'some' is not a whole number"),
        (
            "data: mlx-community/WikiSQL",
            "data: mlx-community/WikiSQL is not a folder (rows of the Hub: python dataset.py",
        ),
        ("lora_parameters: {rank: 8, alpha: 16}", "unknown key 'lora_parameters.alpha'"),
        ("lora_parameters: {rank: 8, scale: 2.0}", "lora_parameters: dropout is missing"),
        ("lora_parameters: {rank: x, scale: 2.0, dropout: 0}", "lora_parameters.rank: 'x' is not a whole number"),
        ("optimizer_config: {adamw: {betas: [0.9, 0.99]}}", "optimizer_config.adamw.betas: not supported"),
        ("optimizer_config: {adamw: {bias_correction: false}}", "bias_correction: this value is not supported"),
        ("optimizer: adafactor", "optimizer adafactor uses another relative_step here"),
        (
            "lr_schedule: {name: step_decay, arguments: [1e-5, 0.1, 10]}",
            "lr_schedule: unknown schedule 'step_decay' (choose from cosine_decay, linear_schedule)",
        ),
        (
            "lr_schedule: {name: cosine_decay, arguments: [1e-5, 90]}",
            "ends after 90 steps; schedules here end with the run",
        ),
        ("lr_schedule: {name: cosine_decay, arguments: [1e-5, 250, 1e-6]}", "ends at 1e-06"),
        (
            "lr_schedule: {name: cosine_decay}",
            "lr_schedule: arguments of cosine_decay must be a list: [peak, steps, end]",
        ),
        ("model: {a: 1}", "model: not a plain value"),
        ('val_batches: "a\\nb"', "val_batches: a b: not supported"),
        ("lr_schedule: 5", "lr_schedule: 5: not a mapping"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(tmp_path: Path, change: str, words: str) -> None:
    key = change.split(":")[0]
    lines = EXAMPLE.format(rows=tmp_path).replace("\n  ", " ").replace("lora_parameters: ", "lora_parameters: {")
    kept = [line for line in lines.splitlines() if not line.startswith((f"{key}:", "lora_parameters:"))]
    path = tmp_path / "lora.yaml"
    path.write_text("\n".join([*kept, change]))
    with pytest.raises(UserError) as caught:
        configured("train", "--config", path)
    assert words in str(caught.value) and str(caught.value).startswith(f"{path}:") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        "lr_schedule: {name: cosine_decay, arguments: 1e-5}",
        "lr_schedule: {name: [a], arguments: [1e-5, 250]}",
        "lr_schedule: {name: [a], arguments: [1e-5, 250, 0]}",
        "lr_schedule: {name: {a: b}, arguments: [1e-5, 250]}",
        "lr_schedule: {name: true, arguments: [1e-5, 250]}",
        "lr_schedule: {name: null, arguments: [1e-5, 250]}",
        "lr_schedule: {arguments: [1e-5, 250]}",
        "lr_schedule: {name: cosine_decay, arguments: {a: 1}}",
        "lr_schedule: {name: cosine_decay, arguments: []}",
        "lr_schedule: {name: cosine_decay, arguments: null}",
        "lr_schedule: {name: cosine_decay, arguments: true}",
        "lr_schedule: {name: cosine_decay, arguments: [[1e-5], 250]}",
        "lr_schedule: {name: cosine_decay, arguments: [{a: 1}, 250]}",
        "lr_schedule: {name: cosine_decay, arguments: [true, 250]}",
        "lr_schedule: {name: cosine_decay, arguments: [1e-5, .inf]}",
        "lr_schedule: {name: cosine_decay, arguments: [1e-5, .nan]}",
        "lr_schedule: {name: cosine_decay, arguments: [nan, 250]}",
        "lr_schedule: {name: cosine_decay, arguments: [1e-5, 250, 0, 7, 8]}",
        "lr_schedule: {name: linear_schedule, arguments: [1e-5, 0]}",
        "lr_schedule: {name: cosine_decay, arguments: [1e-5, 250], warmup: [20]}",
        "lr_schedule: {name: cosine_decay, arguments: [1e-5, 250], warmup: 1.5}",
        "lr_schedule: {name: cosine_decay, arguments: [1e-5, 250], warmup: 2, warmup_init: {a: 1}}",
        "lr_schedule: {name: cosine_decay, arguments: [1e-5, 250], warmup: 2, warmup_init: nan}",
        "lr_schedule: [cosine_decay]",
        "optimizer_config: {adamw: 5}",
        "optimizer_config: {adamw: [0.1]}",
        "optimizer_config: {adamw: {weight_decay: [0.1]}}",
        "optimizer_config: [adamw]",
        "optimizer: [adamw]",
        "mask_prompt: null",
        "mask_prompt: [true]",
        "lora_parameters: [8]",
        "lora_parameters: {rank: [8], scale: 2.0, dropout: 0}",
        "lora_parameters: {rank: 8, scale: 2.0, dropout: 0, keys: q_proj}",
        "lora_parameters: {rank: 8, scale: 2.0, dropout: 0, keys: [[q_proj]]}",
        "lora_parameters: {rank: 8, scale: 2.0, dropout: 0, keys: []}",
        "iters: [10]",
        "iters: 1_000",
        "num_layers: {a: 1}",
        "grad_accumulation_steps: 0",
        "grad_accumulation_steps: -2",
        "report_to: [wandb]",
        "data: [a]",
    ],
)
def test_malformed_values_are_one_line(tmp_path: Path, change: str) -> None:
    key = change.split(":")[0]
    lines = EXAMPLE.format(rows=tmp_path).replace("\n  ", " ").replace("lora_parameters: ", "lora_parameters: {")
    kept = [line for line in lines.splitlines() if not line.startswith((f"{key}:", "lora_parameters:"))]
    path = tmp_path / "lora.yaml"
    path.write_text("\n".join([*kept, change]))
    with pytest.raises(UserError) as caught:
        configured("train", "--config", path)
    assert str(caught.value).startswith(f"{path}:{len(kept) + 1}: {key}") and "\n" not in str(caught.value)
    assert "Entry(" not in str(caught.value)


def test_a_file_that_would_learn_prompts_or_be_ignored_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lora.yaml"
    path.write_text(f"num_layers: 4\ndata: {tmp_path}\n")
    with pytest.raises(UserError, match="add mask_prompt: true"):
        configured("train", "--config", path)
    path.write_text(f"num_layers: 4\ndata: {tmp_path}\nmask_prompt: true\n")
    with pytest.raises(UserError, match="--quick-test has no effect"):
        configured("train", "--config", path, "--quick-test")


@pytest.mark.parametrize(
    "flags, runs",
    [
        ("--lora-modules q_proj,v_proj --rslora --epochs 0.5 --warmup 1 --lora-dropout 0.1", True),
        (
            "--fine-tune-type dora --optimizer adafactor --schedule linear --iters 4 --warmup 1 --grad-accumulation 2",
            True,
        ),
        ("--fine-tune-type full --lora-layers 1 --optimizer sgd --schedule constant --warmup 0", False),
        ("--optimizer muon --schedule constant --iters 30 --warmup 3 --grad-checkpoint", False),
    ],
)
def test_what_is_exported_runs_and_reads_back_the_same(
    tmp_path: Path, tiny_model: Path, flags: str, runs: bool
) -> None:
    from finetune.records.dataset import DatasetRecord, Source, write_dataset

    messages = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "SELECT 1"}]
    rows = {
        "train": [{"messages": messages}] * 8,
        "valid": [{"messages": messages}] * 2,
        "test": [{"messages": messages}],
    }
    write_dataset(tmp_path / "rows", rows, [], DatasetRecord("chat", Source("own"), {}))
    places = ["--data-dir", tmp_path / "rows", "--adapter-path", tmp_path / "adapters", "--model", tiny_model]
    config = configured("train", *places, "--batch-size", 2, *flags.split())
    path = tmp_path / "lora.yaml"
    export(config, path)

    back = configured("train", "--config", path)
    prepare(back)
    apart = {
        "config",
        "epochs",
        "iters",
        "max_grad_norm",
        "rslora",
        "lora_scale",
        "origins",
        "lora_rank",
        "lora_dropout",
        "lora_modules",
    }
    for name in config.origins.keys() - apart:
        assert getattr(back, name) == getattr(config, name), name
    whole = {"all": "all", "q_proj,v_proj": "self_attn.q_proj,self_attn.v_proj"}  # mlx-lm's names within a layer
    assert back.lora_modules == whole[config.lora_modules]
    assert back.iters == (2 if config.epochs else config.iters)
    if config.fine_tune_type != "full":
        assert back.lora_factor == pytest.approx(config.lora_factor)
        assert (back.lora_rank, back.lora_dropout) == (config.lora_rank, config.lora_dropout)

    if not runs:
        return
    command = [sys.executable, "-m", "mlx_lm", "lora", "-c", str(path), "--iters", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    written = json.loads((tmp_path / "adapters" / "adapter_config.json").read_text())
    assert (tmp_path / "adapters" / "adapters.safetensors").exists() and written["mask_prompt"] is True
    assert yaml.safe_load(path.read_text())["data"] == str(tmp_path / "rows")


def test_what_mlx_lm_cannot_do_is_said(tmp_path: Path, tiny_model: Path) -> None:
    from finetune.records.dataset import DatasetRecord, Source, write_dataset

    answer = {"role": "assistant", "content": "SELECT 1", "reasoning_content": "one"}
    messages = [{"role": "user", "content": "How many?"}, answer]
    tools = [{"type": "function", "function": {"name": "count", "parameters": {"type": "object", "properties": {}}}}]
    rows = {"train": [{"messages": messages, "tools": tools}] * 2, "valid": [], "test": []}
    write_dataset(tmp_path, rows, [], DatasetRecord("chat", Source("own"), {}))
    places = ["--data-dir", tmp_path, "--model", tiny_model]
    export(configured("train", *places, "--conservative", "--template", "gemma", "--rslora"), tmp_path / "lora.yaml")
    comments = [line for line in (tmp_path / "lora.yaml").read_text().splitlines() if line.startswith("#")]
    for words in (
        "template, not with gemma",
        "patience 3",
        "clip gradients",
        "rsLoRA",
        "train.jsonl has fewer rows",
        "valid.jsonl is empty",
        "ignores of tools",
        "leaves out thinking where",
    ):
        assert any(words in line for line in comments), words
    with pytest.raises(UserError, match="--optimizer lion"):
        export(configured("train", *places, "--optimizer", "lion"), tmp_path / "lora.yaml")
