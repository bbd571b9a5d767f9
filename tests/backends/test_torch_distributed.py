"""Two processes of ``accelerate launch`` on one machine, started as a person would start them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="PyTorch, PEFT and TRL are not installed (run: make setup-torch)")

ROOT = Path(__file__).parents[2]
# --multi_gpu starts two processes on CPUs too; --cpu starts one, whatever the number asked for
LAUNCH = [str(Path(sys.executable).parent / "accelerate"), "launch", "--multi_gpu", "--num_processes", "2"]
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1"}


def metrics(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row.get("loss", row.get("valid_loss")) for row in rows]


def test_two_processes_have_the_losses_of_one(tiny_model: Path, tmp_path: Path) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stderr

    script = str(ROOT / "train.py")
    run(sys.executable, str(ROOT / "dataset.py"), "--dataset-name", "builtin", "--sample-size", "30")
    # 27 rows in batches of 4: a last batch of 3; two batches a step, the last step of an epoch has one
    options = (
        f"--backend torch --model {tiny_model} --iters 14 --batch-size 4 --grad-accumulation 2 --steps-per-report 1"
    )
    # a factor of the gradients changes nothing under AdamW, so plain SGD, whose steps no clipping shortens
    options += " --steps-per-eval 5 --optimizer sgd --learning-rate 1 --max-grad-norm 10 --schedule constant"
    run(sys.executable, script, *options.split(), "--adapter-path", "one")
    said = run(*LAUNCH, script, *options.split(), "--adapter-path", "two")
    assert "2 processes" in said and said.count("Done in") == 1
    assert metrics(tmp_path / "two") == pytest.approx(metrics(tmp_path / "one"), rel=1e-4)
    assert min(metrics(tmp_path / "one")) < metrics(tmp_path / "one")[0] - 1


def test_one_row_for_two_processes(tiny_model: Path, tmp_path: Path) -> None:
    """A process without a row waits for the other, and adds nothing."""
    rows = [
        {"messages": [{"role": "user", "content": "x" * i}, {"role": "assistant", "content": str(i)}]}
        for i in range(1, 6)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    make = [
        sys.executable,
        str(ROOT / "dataset.py"),
        "--type",
        "chat",
        "--dataset-name",
        "rows.jsonl",
        "--valid-fraction",
        "0",
    ]
    subprocess.run([*make, "--test-fraction", "0"], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    options = f"--backend torch --model {tiny_model} --iters 5 --batch-size 1 --steps-per-report 1 --learning-rate 1e-2"
    for name, command in (("one", [sys.executable]), ("two", LAUNCH)):
        whole = [*command, str(ROOT / "train.py"), *options.split(), "--adapter-path", name]
        done = subprocess.run(whole, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "two") == pytest.approx(metrics(tmp_path / "one"), rel=1e-4)
