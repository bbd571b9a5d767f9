"""Two processes of ``accelerate launch`` on one machine, started as a person would start them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import OFFLINE, ROOT, run

pytest.importorskip("trl", reason="PyTorch, PEFT and TRL are not installed (run: make setup-torch)")

# --multi_gpu starts two processes on CPUs too; --cpu starts one, whatever the number asked for
LAUNCH = [str(Path(sys.executable).parent / "accelerate"), "launch", "--multi_gpu", "--num_processes", "2"]
pytestmark = pytest.mark.scripts


def metrics(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row.get("loss", row.get("valid_loss")) for row in rows]


def train(folder: Path, *options: str, launch: list[str]) -> str:
    command = [*launch, str(ROOT / "train.py"), *options]
    done = subprocess.run(command, cwd=folder, env=os.environ | OFFLINE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_two_processes_have_the_losses_of_one(tiny_model: Path, tmp_path: Path) -> None:
    run(tmp_path, "dataset.py", "--dataset-name", "builtin", "--sample-size", "30")
    # 27 rows in batches of 4: a last batch of 3; two batches a step, the last step of an epoch has one
    options = (
        f"--backend torch --model {tiny_model} --iters 14 --batch-size 4 --grad-accumulation 2 --steps-per-report 1"
    )
    # a factor of the gradients changes nothing under AdamW, so plain SGD, whose steps no clipping shortens
    options += " --steps-per-eval 5 --optimizer sgd --learning-rate 1 --max-grad-norm 10 --schedule constant"
    train(tmp_path, *options.split(), "--adapter-path", "one", launch=[sys.executable])
    said = train(tmp_path, *options.split(), "--adapter-path", "two", launch=LAUNCH)
    assert "2 processes" in said and said.count("Done: ") == 1
    assert metrics(tmp_path / "two") == pytest.approx(metrics(tmp_path / "one"), rel=1e-4)
    assert min(metrics(tmp_path / "one")) < metrics(tmp_path / "one")[0] - 1


def test_one_row_for_two_processes(tiny_model: Path, tmp_path: Path) -> None:
    """A process without a row waits for the other, and adds nothing."""
    rows = [
        {"messages": [{"role": "user", "content": "x" * i}, {"role": "assistant", "content": str(i)}]}
        for i in range(1, 6)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits = "--valid-fraction 0 --test-fraction 0"
    run(tmp_path, "dataset.py", "--type", "chat", "--dataset-name", "rows.jsonl", *splits.split())
    options = f"--backend torch --model {tiny_model} --iters 5 --batch-size 1 --steps-per-report 1 --learning-rate 1e-2"
    for name, launch in (("one", [sys.executable]), ("two", LAUNCH)):
        train(tmp_path, *options.split(), "--adapter-path", name, launch=launch)
    assert metrics(tmp_path / "two") == pytest.approx(metrics(tmp_path / "one"), rel=1e-4)
