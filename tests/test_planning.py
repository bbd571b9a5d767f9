"""train.py --dry-run and --validate: what a run would take, before it is begun."""

import gc
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune import machine, planning, profiles
from finetune.backends import load_backend
from finetune.cli import UserError
from finetune.config import TrainingConfig
from finetune.encoding import ChatEncoder, Example
from finetune.methods import METHODS
from test_scripts import refused, run

GB = 1_000_000_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    run(folder, "dataset.py", "--type", "sql", "--dataset-name", "builtin", "--sample-size", 60)
    return folder


def examples(count: int, length: int) -> list[Example]:
    draw = random.Random(0)
    learned = [at > length * 3 // 4 for at in range(length)]
    return [Example([draw.randrange(1000, 40000) for _ in range(length)], learned) for _ in range(count)]


@pytest.mark.parametrize(
    "settings",
    [{}, {"grad_checkpoint": True}, {"lora_layers": 2}, {"fine_tune_type": "full"}, {"grad_accumulation": 2}],
    ids=str,
)
def test_the_estimate_is_near_the_peak_of_a_run(builtin_model: Path, settings: dict[str, Any]) -> None:
    mlx = load_backend("mlx")
    config, rows = TrainingConfig(batch_size=2, **settings), examples(4, 96)
    gc.collect()
    others = mlx.memory_mb()["active"]  # of other tests
    found = mlx.footprint(builtin_model, METHODS["sft"], config, rows[:2], rows[:2], 8 * GB)
    assert len(found.measured_layers) == 2 and found.layers == 30
    trainer = mlx.Trainer(mlx.load(builtin_model, ChatEncoder(builtin_model)), METHODS["sft"], rows, config, 2, "")
    assert found.trainable == trainer.trainable_parameters
    assert found.held_mb == pytest.approx(mlx.memory_mb()["active"] - others, rel=0.02)
    mlx.reset_peak_memory()
    list(trainer.run(lambda: False))
    assert found.peak_mb == pytest.approx(mlx.peak_memory_mb() - others, rel=0.15)


def test_a_folder_without_weights_is_enough(tiny_gemma: Path, tmp_path: Path) -> None:
    """Layers with and without a window are measured, and both heads: tied here, and of its own."""
    mlx, config, rows = load_backend("mlx"), TrainingConfig(), examples(4, 40)
    whole = mlx.footprint(tiny_gemma, METHODS["sft"], config, rows, rows, 8 * GB)
    shutil.copytree(tiny_gemma, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    bare = mlx.footprint(tmp_path / "bare", METHODS["sft"], config, rows, rows, 8 * GB)
    assert (bare.parameters, bare.trainable, bare.layers) == (whole.parameters, whole.trainable, 4)
    assert bare.peak_mb == pytest.approx(whole.peak_mb, rel=0.1)
    with pytest.raises(UserError, match=r"4 of its 4 layers alone take 0.0 GB, and 0.0 GB are free"):
        mlx.footprint(tmp_path / "bare", METHODS["sft"], config, rows, rows, available=1000)


def test_dry_run_says_what_the_run_would_take_and_writes_nothing(data: Path, tiny_model: Path) -> None:
    before = sorted(data.rglob("*"))
    done = run(data, "train.py", "--model", tiny_model, "--quick-test", "--dry-run", COLUMNS="200")
    text = done.stdout
    assert "--iters              100" in text and "quick mode" in text
    assert "54 to train on, 3 to validate" in text
    assert "100 of 2 rows = 3.7 epochs (27 steps each)" in text
    assert "parameters in 2 layers" in text and "it fits" in text
    assert "2 validations" in text
    assert "too short to judge a model by" in text
    once = run(data, "train.py", "--model", tiny_model, "--iters", 10, "--dry-run", COLUMNS="200").stdout
    assert "1 validation\n" in once
    assert sorted(data.rglob("*")) == before


def test_the_smallest_change_that_fits_is_named(data: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlx = load_backend("mlx")
    monkeypatch.setattr(planning, "_PROCESS_MB", 0)

    def made(available_mb: float, **settings: Any) -> planning.Plan:
        monkeypatch.setattr(machine, "memory_bytes", lambda: (8 * GB, int(available_mb * 1e6)))
        config = TrainingConfig(data_dir=data / "data", model=str(tiny_model), batch_size=8, **settings)
        plan = planning.make(config, METHODS["sft"], mlx)
        assert plan
        return plan

    roomy = made(8000)
    assert roomy.fits and roomy.remedy is None
    tight = made(0.9 * roomy.needed_mb)
    assert not tight.fits and tight.remedy
    assert tight.remedy.change in [f"--batch-size {n} --grad-accumulation {8 // n}" for n in (1, 2, 4)]
    assert tight.remedy.needed_mb <= tight.available_mb
    hopeless = made(1.2 * roomy.footprint.weights_mb)
    assert hopeless.remedy is None or "4 bits" in hopeless.remedy.change


def test_validate_needs_no_model_and_finds_changed_rows(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "data", tmp_path / "data")
    done = run(tmp_path, "train.py", "--validate", "--model", "no/such-model", "--epochs", 50)
    assert "54 to train on, 3 to validate" in done.stdout and "50.0 epochs" in done.stdout
    assert "learned by heart" in done.stderr
    with (tmp_path / "data" / "train.jsonl").open("a") as file:
        file.write("{}\n")
    assert "changed since dataset.py checked it" in refused(tmp_path, "train.py", "--validate")
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    "model, size",
    [
        ("mistralai/Mistral-7B-Instruct-v0.3", 7e9),
        ("google/gemma-3-270m-it", 270e6),
        ("SmolLM2-1.7B-Instruct.Q4_1.gguf", 1.7e9),
        ("models/qwen3-0.6b", 600e6),
        ("builtin", 135e6),
    ],
)
def test_a_profile_takes_the_size_of_the_model_from_its_name(model: str, size: float) -> None:
    assert profiles.parameters(model) == size


def test_every_profile_holds_flags_and_reasons() -> None:
    names = set(TrainingConfig.__dataclass_fields__)
    for name, path in profiles.PROFILES.items():
        for model in ("builtin", None, "a-1b", "a-7b", "a-70b"):
            _, values = profiles.read(name, model)
            assert set(values) <= names and "learning_rate" in values
        assert path.read_text().count("#") > 2
    assert (
        profiles.read("code", "mistralai/Mistral-7B-Instruct-v0.3")[1].items()
        >= {
            "lora_rank": 16,
            "lora_scale": 16,
            "lora_dropout": 0,
            "batch_size": 2,
            "iters": 600,
            "learning_rate": 1e-5,
        }.items()
    )


def test_flags_stand_above_profiles_and_profiles_above_modes(data: Path, tiny_model: Path) -> None:
    out = run(
        data, "train.py", "--model", tiny_model, "--conservative", "--profile", "code", "--patience", 2, "--dry-run"
    ).stdout
    origins = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line.startswith("--")}
    assert origins["--patience"] == "2 flag"
    assert origins["--learning-rate"].endswith("code profile, 135M")
    assert origins["--iters"] == "800 conservative mode"
    assert origins["--seed"] == "42 default"
    assert json.dumps(origins)
