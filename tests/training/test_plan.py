"""train.py --dry-run and --validate: what a run would take, before it is begun."""

import gc
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.backends import load_backend
from finetune.errors import UserError
from finetune.methods import METHODS, RowSource
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import TrainingRow, as_rows
from finetune.models.loss_mask import Example
from finetune.records import machine
from finetune.settings import profiles
from finetune.settings.config import TrainingConfig
from finetune.training import plan as planning
from finetune.training import plan_view
from scripts import refused, run

GB = 1_000_000_000


@pytest.fixture
def one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model this small the peak is the heads of both streams, which meet in one step and not in the next."""
    monkeypatch.setattr("finetune.backends.mlx.runtime.cores", lambda: 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    run(folder, "dataset.py", "--type", "sql", "--dataset-name", "builtin", "--sample-size", 60)
    return folder


def examples(count: int, length: int) -> list[TrainingRow]:
    draw = random.Random(0)
    learned = [at > length * 3 // 4 for at in range(length)]
    return as_rows(Example([draw.randrange(1000, 40000) for _ in range(length)], learned) for _ in range(count))


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
    found = mlx.estimate_memory(builtin_model, METHODS["sft"], config, rows[:2], rows[:2], 8 * GB)
    assert len(found.measured_layers) == 2 and found.layers == 30
    model, source = mlx.load(builtin_model, ChatEncoder(builtin_model)), RowSource(METHODS["sft"], rows, config)
    trainer = mlx.Trainer(model, METHODS["sft"], source, config, 2, "")
    assert found.trainable == trainer.trainable_parameters
    assert found.static_mb == pytest.approx(mlx.memory_mb()["active"] - others, rel=0.02)
    mlx.reset_peak_memory()
    list(trainer.run(lambda: False))
    assert found.peak_mb == pytest.approx(mlx.peak_memory_mb() - others, rel=0.15)


def test_a_folder_without_weights_is_enough(one_stream: None, tiny_gemma: Path, tmp_path: Path) -> None:
    """Layers with and without a window are measured, and both heads: tied here, and of its own."""
    mlx, config, rows = load_backend("mlx"), TrainingConfig(lora_rank=24), examples(4, 40)
    whole = mlx.estimate_memory(tiny_gemma, METHODS["sft"], config, rows, rows, 8 * GB)
    assert whole.thinnest == 16  # one head of keys, whatever the rank
    shutil.copytree(tiny_gemma, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    bare = mlx.estimate_memory(tmp_path / "bare", METHODS["sft"], config, rows, rows, 8 * GB)
    assert (bare.parameters, bare.trainable, bare.layers) == (whole.parameters, whole.trainable, 4)
    assert bare.peak_mb == pytest.approx(whole.peak_mb, rel=0.05)
    with pytest.raises(UserError, match=r"4 of its 4 layers alone take 0.0 GB, but only 0.0 GB are free"):
        mlx.estimate_memory(tmp_path / "bare", METHODS["sft"], config, rows, rows, available=1000)
    with pytest.raises(UserError, match=r"alone take 0.2 GB"):  # adapters and optimizer count
        mlx.estimate_memory(tiny_gemma, METHODS["sft"], TrainingConfig(lora_rank=4096), rows, rows, available=GB / 10)


def copied(folder: Path, to: Path, weights: bool = False, **changes: Any) -> Path:
    """A model folder with other values in config.json."""
    shutil.copytree(folder, to, ignore=None if weights else shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text()) | changes
    (to / "config.json").write_text(json.dumps(config))
    return to


def planned(data: Path, model: Path, **settings: Any) -> planning.Plan:
    config = TrainingConfig(data_dir=data / "data", model=str(model), **settings)
    plan = planning.make(config, METHODS["sft"], load_backend("mlx"))
    assert plan
    return plan


def test_fewer_trained_layers_than_kinds_of_layer(one_stream: None, tiny_gemma: Path) -> None:
    mlx, config, rows = load_backend("mlx"), TrainingConfig(lora_layers=1), examples(4, 40)
    few = mlx.estimate_memory(tiny_gemma, METHODS["sft"], config, rows, rows, 8 * GB)
    whole = mlx.estimate_memory(tiny_gemma, METHODS["sft"], config, rows, rows, 8 * GB, whole=True)
    assert few.measured_layers == (2, 4) and few.trainable == whole.trainable
    assert few.peak_mb == pytest.approx(whole.peak_mb, rel=0.05)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"intermediate_size": 0}, "intermediate_size in config.json is 0"),
        ({"num_attention_heads": 1}, "MLX cannot load this model: .reshape."),
        ({"layer_types": ["full_attention"]}, "layer_types in config.json has 1 entries for 2 layers"),
        ({"quantization": {"group_size": 64, "bits": 4, "mode": "x"}}, "MLX cannot quantise this model: Invalid"),
        ({"vocab_size": 100}, "token id [0-9]+, vocabulary size 100"),
    ],
    ids=str,
)
def test_a_config_that_makes_no_sense_is_refused(
    data: Path, tiny_model: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    folder = copied(tiny_model, tmp_path / "model", **changes)
    with pytest.raises(UserError, match=words) as caught:
        planned(data, folder)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_weights_of_another_size_are_refused_and_half_of_them_are_none(
    data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="Expected shape"):
        planned(data, copied(tiny_model, tmp_path / "other", weights=True, intermediate_size=256))
    quantised = {"quantization": {"group_size": 32, "bits": 4}, "layer_types": None}
    bare = planned(data, copied(tiny_model, tmp_path / "bare", **quantised)).memory
    half = copied(tiny_model, tmp_path / "half", weights=True, **quantised)
    (half / "model.safetensors").rename(half / "model-00001-of-00002.safetensors")
    files = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (half / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    assert planned(data, half).memory.weights_mb == bare.weights_mb


def test_a_system_that_does_not_say_what_memory_it_has(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 8000 kB\n")
    with pytest.raises(OSError, match="does not report"):
        machine.memory_bytes(tmp_path)
    monkeypatch.setattr(machine, "memory_bytes", lambda real=machine.memory_bytes: real(tmp_path))
    plan_view.show(planned(data, tiny_model))
    assert "a margin; free memory unknown on this system" in " ".join(capsys.readouterr().out.split())


def test_dry_run_says_what_the_run_would_take_and_writes_nothing(data: Path, tiny_model: Path) -> None:
    before = sorted(data.rglob("*"))
    done = run(data, "train.py", "--model", tiny_model, "--quick-test", "--dry-run", COLUMNS="200")
    text = done.stdout
    assert "--iters              100" in text and "quick mode" in text
    assert "54 to train on, 3 to validate" in text
    assert "100 of 2 rows = 3.7 epochs (27 steps each)" in text
    assert "parameters in 2 layers" in text and "it fits" in text
    assert "2 validations" in text
    assert "too short to judge a model" in text
    once = run(data, "train.py", "--model", tiny_model, "--iters", 10, "--dry-run", COLUMNS="200").stdout
    assert "1 validation\n" in once
    assert sorted(data.rglob("*")) == before


def test_the_smallest_change_that_fits_is_named(data: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlx = load_backend("mlx")
    monkeypatch.setattr(planning, "_PROCESS_MB", 0)

    def made(available_mb: float, **settings: Any) -> planning.Plan:
        monkeypatch.setattr(machine, "memory_bytes", lambda: (8 * GB, int(available_mb * 1e6)))
        config = TrainingConfig(data_dir=data / "data", model=str(tiny_model), batch_size=4, **settings)
        plan = planning.make(config, METHODS["sft"], mlx)
        assert plan
        return plan

    roomy = made(8000)
    assert roomy.fits and roomy.remedy is None
    tight = made(0.75 * roomy.needed_mb)
    assert not tight.fits and tight.remedy
    assert tight.remedy.change.startswith("--batch-size") or "--grad-checkpoint" in tight.remedy.change
    assert tight.remedy.needed_mb <= tight.available_mb
    hopeless = made(1.2 * roomy.memory.weights_mb)
    assert hopeless.remedy is None or "4 bits" in hopeless.remedy.change


def test_a_step_takes_no_longer_than_its_rows(data: Path, tiny_model: Path) -> None:
    plan = planned(data, tiny_model, batch_size=2, grad_accumulation=1000, iters=3)
    assert plan.seconds_per_step < plan.memory.seconds / 20  # 27 batches are there
    assert plan.seconds == pytest.approx(3 * plan.seconds_per_step, rel=0.2)
    done = run(data, "train.py", "--validate", "--grad-accumulation", 1000)
    assert "a step should take 4000 rows, but there are 54" in done.stderr


def test_validate_needs_no_model_and_finds_changed_rows(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "data", tmp_path / "data")
    done = run(tmp_path, "train.py", "--validate", "--model", "no/such-model", "--epochs", 50)
    assert "54 to train on, 3 to validate" in done.stdout and "50.0 epochs" in done.stdout
    assert "the model will overfit" in done.stderr
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
        ("0b", 270e6),
        ("9" * 400 + "b", 270e6),
        ("x" * 5000, 270e6),
        ("~nobody-of-this-name/model", 270e6),
        ("a\0b", 270e6),
        ([], 270e6),
    ],
    ids=lambda part: str(part)[:40].replace("\0", "NUL"),
)
def test_a_profile_takes_the_size_of_the_model_from_its_name(model: Any, size: float) -> None:
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


@pytest.mark.parametrize("value", ["[a]", "{a: 1}", "3"])
def test_a_profile_in_a_file_may_be_nonsense(tmp_path: Path, value: str) -> None:
    (tmp_path / "run.yml").write_text(f"profile: {value}\n")
    assert "run.yml:1: profile: " in refused(tmp_path, "train.py", "--config", "run.yml", "--validate")


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
