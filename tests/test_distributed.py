"""Two processes on one machine, started as a person would start them on two."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAUNCH = [str(Path(sys.executable).parent / "mlx.launch"), "-n", "2", sys.executable, str(ROOT / "train.py")]
ALONE = [sys.executable, str(ROOT / "train.py")]
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    make = [sys.executable, str(ROOT / "dataset.py"), "--dataset-name", "builtin", "--sample-size", "30"]
    subprocess.run(make, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    return folder


def arguments(model: Path, name: str, iters: int) -> list[str]:
    # 27 rows in batches of 4: a last batch of 3, of which one process has a single row
    options = (
        f"--iters {iters} --batch-size 4 --steps-per-report 1 --steps-per-save 2 --steps-per-eval 5 --lora-dropout 0"
    )
    return ["--model", str(model), "--adapter-path", name, "--learning-rate", "1e-2", *options.split()]


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row.get("loss", row.get("valid_loss")) for row in rows]


def test_two_processes_have_the_losses_of_one(folder: Path, tiny_model: Path) -> None:
    for name, command in (("one", ALONE), ("two", LAUNCH)):
        done = subprocess.run(
            [*command, *arguments(tiny_model, name, 9)], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert losses(folder / "two") == pytest.approx(losses(folder / "one"), rel=1e-4)
    assert losses(folder / "one")[-1] < losses(folder / "one")[0] - 1


def test_a_process_that_dies_ends_the_run_which_goes_on_later(folder: Path, tiny_model: Path) -> None:
    run = [*LAUNCH, *arguments(tiny_model, "died", 100_000)]
    process = subprocess.Popen(
        run, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not (folder / "died" / "state").exists():
        time.sleep(0.1)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert "another process of this run is gone" in said and "Traceback" not in said, said
    # a terminal sends Ctrl-C to the whole group
    again = subprocess.Popen(
        [*run, "--resume"], cwd=folder, env=ENVIRONMENT, start_new_session=True, stderr=subprocess.PIPE
    )
    states = {path.name for path in (folder / "died" / "state").iterdir()}
    while {path.name for path in (folder / "died" / "state").iterdir()} == states:
        time.sleep(0.1)
    os.killpg(again.pid, signal.SIGINT)
    again.communicate(timeout=60)
    result = json.loads((folder / "died" / "run.json").read_text())["result"]
    assert f"{result['steps']:07d}-0000" in {path.name for path in (folder / "died" / "state").iterdir()}
