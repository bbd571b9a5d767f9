"""Two processes on one machine, started as a person would start them on two."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import OFFLINE, command, run

ALONE = command("train.py")
LAUNCH = [str(Path(sys.executable).parent / "mlx.launch"), "-n", "2", *ALONE]
ENVIRONMENT = os.environ | OFFLINE
pytestmark = pytest.mark.scripts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    run(folder, "dataset.py", "--dataset-name", "builtin", "--sample-size", "30")
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
    for name, launch in (("one", ALONE), ("two", LAUNCH)):
        done = subprocess.run(
            [*launch, *arguments(tiny_model, name, 9)], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert losses(folder / "two") == pytest.approx(losses(folder / "one"), rel=1e-4)
    assert losses(folder / "one")[-1] < losses(folder / "one")[0] - 1


def two_processes(folder: Path, alone: list[str]) -> list[subprocess.Popen[str]]:
    """Both processes without the launcher, which would end the second before it can say anything."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        hosts = [["{}:{}".format(*held.getsockname())] for held in (first, second)]
    (folder / "hosts.json").write_text(json.dumps(hosts))
    return [
        subprocess.Popen(
            alone,
            cwd=folder,
            env=ENVIRONMENT | {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(folder / "hosts.json")},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def wait_for_another_state(folder: Path, known: set[str]) -> None:
    while not (folder.exists() and {path.name for path in folder.iterdir()} - known):
        time.sleep(0.1)


@pytest.mark.faults
def test_a_process_that_dies_ends_the_run_which_goes_on_later(folder: Path, tiny_model: Path) -> None:
    given = arguments(tiny_model, "died", 100_000)
    leader, other = two_processes(folder, [*ALONE, *given])
    states = folder / "died" / "state"
    wait_for_another_state(states, set())
    other.kill()
    _, said = leader.communicate(timeout=60)
    assert leader.returncode == 1 and "another process of this run is gone" in said and "Traceback" not in said, said
    # a terminal sends Ctrl-C to the whole group
    again = subprocess.Popen(
        [*LAUNCH, *given, "--resume"], cwd=folder, env=ENVIRONMENT, start_new_session=True, stderr=subprocess.PIPE
    )
    wait_for_another_state(states, {path.name for path in states.iterdir()})
    os.killpg(again.pid, signal.SIGINT)
    again.communicate(timeout=60)
    result = json.loads((folder / "died" / "run.json").read_text())["result"]
    assert f"{result['steps']:07d}-0000" in {path.name for path in states.iterdir()}
