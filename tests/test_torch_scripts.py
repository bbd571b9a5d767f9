"""The scripts with ``--backend torch``, run as a person would: train, kill, go on, compare, measure."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

import scripts
from finetune.records import files

pytest.importorskip("trl", reason="PyTorch, PEFT and TRL are not installed (run: make setup-torch)")

pytestmark = pytest.mark.scripts
OPTIONS = "--iters 40 --batch-size 2 --steps-per-eval 20 --steps-per-save 5 --learning-rate 1e-2 --lora-dropout 0.1"


def run(folder: Path, script: str, *options: object, code: int = 0) -> str:
    done = scripts.run(folder, script, *options, code=code, OMP_NUM_THREADS="1")
    return f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in ``whole``."""
    folder = tmp_path_factory.mktemp("torch")
    run(folder, "dataset.py", "--dataset-name", "builtin", "--sample-size", "40")
    said = run(folder, "train.py", *train(tiny_model, "whole"))
    assert "PyTorch" in said and "step 40: validation loss" in said and "40 steps in " in said
    return folder


def train(model: Path, name: str) -> list[str]:
    return ["--backend", "torch", "--model", str(model), "--adapter-path", name, *OPTIONS.split()]


def test_a_killed_run_ends_with_the_same_adapters(folder: Path, tiny_model: Path) -> None:
    killed = scripts.start(folder, "train.py", *train(tiny_model, "killed"), OMP_NUM_THREADS="1")
    states = folder / "killed" / "state"
    scripts.wait_until(killed, lambda: any(path.name >= "0000010" for path in states.glob("*")))
    killed.kill()
    killed.communicate()
    refused = run(folder, "train.py", "--resume", "--adapter-path", "killed", "--backend", "mlx", code=3)
    assert "--backend was torch, is now mlx" in refused
    assert "Resuming after step" in run(folder, "train.py", "--resume", "--adapter-path", "killed")
    whole, again = (load_file(folder / name / files.PEFT_ADAPTERS) for name in ("whole", "killed"))
    assert whole.keys() == again.keys() and all((whole[name] == again[name]).all() for name in whole)
    losses = [
        [(row["step"], row.get("loss"), row.get("valid_loss")) for row in map(json.loads, lines)]
        for lines in ((folder / name / files.METRICS).read_text().splitlines() for name in ("whole", "killed"))
    ]
    assert losses[0] == losses[1] and {40} == {row[0] for row in losses[0][-2:]}


def test_the_later_stages_take_the_backend_from_the_record(folder: Path) -> None:
    options = "--adapter-path whole --num-samples 2 --max-tokens 8".split()
    said = run(folder, "test_finetuned.py", *options, "--no-general")
    assert "PyTorch" in said and "Verdict" in said
    record = json.loads((folder / "results" / files.EVALUATION).read_text())
    assert record["tuned"]["loss_per_token"] < record["base"]["loss_per_token"] - 1
    run(folder, "benchmark.py", *options, "--compare", "--quick")
    benchmark = json.loads((folder / "results" / files.BENCHMARK).read_text())
    assert set(benchmark["speed"]) == {"base", "tuned", "fused"} and "PyTorch" in benchmark["device"]
    assert (folder / "results" / files.REPORT).stat().st_size > 10_000


def test_what_torch_does_not_have_is_refused_before_a_model_is_loaded(folder: Path) -> None:
    for flags in (["--optimizer", "lion"], ["--fine-tune-type", "full"]):
        said = run(folder, "train.py", "--backend", "torch", "--model", "nowhere", *flags, code=2)
        assert f"{' '.join(flags)}: not supported by --backend torch" in said


def test_reinforcement_and_own_pairs(folder: Path, tiny_model: Path) -> None:
    """From the adapters of the run, with a reward of the user's."""
    (folder / "vowels.py").write_text("def reward(row, answer):\n    return sum(c in 'aeiou' for c in answer) / 10\n")
    options = "--method grpo --from-adapter whole --adapter-path rl --iters 4 --batch-size 2 --grpo-group-size 4"
    options += " --grpo-max-tokens 6 --steps-per-eval 2 --grpo-task-weight 0 --grpo-reward vowels.py --grpo-probe 4"
    flags = ["--backend", "torch", *options.split()]
    said = run(folder, "train.py", *flags, "--dry-run")
    assert "Reward" in said and "Memory" in said
    said = run(folder, "train.py", *flags)
    assert "PyTorch" in said and "step 4: validation reward" in said and "% sampling" in said
    record = json.loads((folder / "rl" / files.RUN_RECORD).read_text())
    assert record["config"]["method"] == "grpo" and record["result"]["steps"] == 4
    # answers of a model this small never end, and of those no pairs are made
    options = "--type preference --from-adapter whole --answers 3 --max-tokens 6 --output-dir pairs"
    said = run(folder, "dataset.py", *options.split(), code=2)
    assert "PyTorch" in said and "x every answer is cut off" in said
