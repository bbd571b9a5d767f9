"""``kill -9`` at random moments of everything that writes files, apart from training: nothing half, nothing of others gone."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import scripts
from finetune.errors import UserError
from finetune.models.conversion import RECORD, WORK_PREFIX
from finetune.records import files
from finetune.records.benchmark import BenchmarkRecord
from finetune.records.dataset import read_dataset_record, read_split
from finetune.records.evaluation import EvaluationRecord

KILLS = 50
OTHERS = ("notes.md", "mine/model.safetensors", "history/mine.json", "previous/mine.txt", ".hidden", "report.html.bak")
pytestmark = pytest.mark.faults


def show(what: str, found: str) -> None:
    print(f"\n  {what:<48} {found}", end="")


def listing(folder: Path) -> list[tuple[str, float]]:
    """What lies there, and when it was written."""
    found = []
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with suppress(FileNotFoundError):  # renamed meanwhile
                found.append((str(path), path.stat().st_mtime))
    return sorted(found)


def result(folder: Path) -> list[tuple[str, float]]:
    """benchmark.json, which is written just before the report."""
    return [one for one in listing(folder) if one[0].endswith(f"/{files.BENCHMARK}")]


@dataclass(frozen=True)
class Work:
    """A command that fills a folder; ``check`` raises if what lies there is not whole. ``watched`` changes when it writes."""

    command: str
    check: Callable[[Path], object]
    watched: Callable[[Path], object] = listing


def check_rows(folder: Path) -> None:
    """Each file is whole, and the next stage takes either rows for which their record vouches or none."""
    if not (folder / files.DATASET_RECORD).exists():
        return
    record = read_dataset_record(folder)
    for split in files.SPLITS:
        files.read_jsonl(files.split_file(folder, split))
        try:
            read_split(folder, split, record)
        except UserError:
            assert (folder / ".unfinished.json").exists()  # killed while one file after the other was replaced


def check_model(models: Path) -> None:
    for folder in models.glob("models/[!.]*"):
        sizes = files.read_json(folder / RECORD, "")["files"]
        assert sizes == {path.name: path.stat().st_size for path in folder.iterdir() if path.name != RECORD}


def check_evaluation(folder: Path) -> None:
    if (folder / files.EVALUATION).exists():
        EvaluationRecord.read(folder / files.EVALUATION)


def check_benchmark(folder: Path) -> None:
    for path in [folder / files.BENCHMARK, *(folder / files.HISTORY).glob("benchmark-*.json")]:
        if path.exists():
            BenchmarkRecord.read(path)
    page = folder / files.REPORT
    if page.exists():
        assert page.read_text().rstrip().endswith("</html>")


RESULTS = "--num-samples 3 --max-tokens 4 --results-dir out"
BENCHMARK = f"benchmark.py --quick --history {RESULTS}"
WORK = {
    "rows": Work("dataset.py --type sql --dataset-name builtin --sample-size 1500 --output-dir out", check_rows),
    "conversion": Work(
        "dataset.py --dataset-name builtin --sample-size 20 --model builtin --output-dir none", check_model
    ),
    "evaluation": Work(f"test_finetuned.py {RESULTS}", check_evaluation),
    "benchmark": Work(BENCHMARK, check_benchmark),
    "report": Work(BENCHMARK, check_benchmark, result),
}


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Rows and adapters."""
    folder = tmp_path_factory.mktemp("road")
    scripts.run(folder, "dataset.py", "--type", "sql", "--dataset-name", "builtin", "--sample-size", "80")
    scripts.run(folder, "train.py", "--model", tiny_model, "--iters", 2)
    return folder


@pytest.mark.parametrize("name", WORK)
def test_kill_at_random_moments(road: Path, tmp_path: Path, name: str) -> None:
    work, out, draw = WORK[name], tmp_path / "out", random.Random(0)
    for place in ("data", "checkpoints"):
        shutil.copytree(road / place, tmp_path / place)
    for other in OTHERS:
        (out / other).parent.mkdir(parents=True, exist_ok=True)
        (out / other).write_text(other)

    def start() -> "subprocess.Popen[str]":
        if name == "conversion":  # what is there is not converted again
            shutil.rmtree(out / "models", ignore_errors=True)
        script, *arguments = work.command.split()
        return scripts.start(
            tmp_path, script, *arguments, **({"FINETUNE_CACHE": str(out)} if name == "conversion" else {})
        )

    def check() -> None:
        assert [(out / other).read_text() for other in OTHERS] == list(OTHERS)
        work.check(out)

    def finish() -> float:
        began, process = time.monotonic(), start()
        _, said = process.communicate()
        assert process.returncode == 0, said
        check()
        return time.monotonic() - began

    began, whole, kills = time.time(), finish(), 0
    while kills < KILLS:
        process = start()
        if kills % 2:  # while it writes
            before = work.watched(out)
            while process.poll() is None and work.watched(out) == before:
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.1))
        else:
            time.sleep(draw.uniform(0, whole))
        process.kill()
        _, said = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), said
        kills += process.returncode != 0
        check()
    rests = [path for path in out.rglob("*") if ".tmp" in path.name]
    for rest in rests:  # they are removed when nobody has written to them for a minute
        os.utime(rest, (began, began - 120))
    finish()
    assert not [path for path in out.rglob("*") if path.name.startswith((WORK_PREFIX, ".unfinished")) or path in rests]
    show(f"{kills} kill -9 in {name}, {time.time() - began:.0f} s", "nothing half, nothing of others gone")
