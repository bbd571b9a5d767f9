"""What may happen to a training run: kills at any moment, damaged states, full disks, changed inputs. ``make test-faults``."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import scripts

KILLS = 50
pytestmark = pytest.mark.faults
# two batches a step, dropout, validations and states at intervals that do not divide each other
RUN = "--iters 60 --batch-size 2 --grad-accumulation 2 --lora-dropout 0.1 --steps-per-eval 7 --steps-per-save 3"


class Runs:
    """Training runs of one small model on the same rows, each in a folder of its own."""

    def __init__(self, folder: Path, model: Path):
        self.folder, self.model = folder, model
        scripts.run(folder, "dataset.py", "--type", "sql", "--dataset-name", "builtin", "--sample-size", "80")

    def command(self, name: str, *more: object, options: str = RUN) -> list[str]:
        arguments = ["--model", self.model, "--adapter-path", name, *options.split(), *more]
        return scripts.command("train.py", *scripts.overridden(arguments))

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | scripts.OFFLINE

    def train(self, name: str, *more: object, options: str = RUN, **how: object) -> subprocess.CompletedProcess[str]:
        command = self.command(name, *more, options=options)
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, **how)

    def start(self, name: str, *more: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(name, *more), cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, text=True
        )

    def hashes(self, name: str) -> tuple[str, str]:
        """Of the best adapters and of the last ones."""
        folder = self.folder / name
        files = (folder / "adapters.safetensors", sorted(folder.glob("[0-9]*_adapters.safetensors"))[-1])
        return tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)

    def metrics(self, name: str) -> list[tuple]:
        rows = [json.loads(line) for line in (self.folder / name / "metrics.jsonl").read_text().splitlines()]
        return [(row["step"], row.get("loss"), row.get("valid_loss")) for row in rows]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Runs:
    return Runs(tmp_path_factory.mktemp("faults"), tiny_model)


@pytest.fixture(scope="module")
def whole(runs: Runs) -> tuple[str, str]:
    done = runs.train("whole")
    assert done.returncode == 0, done.stderr
    return runs.hashes("whole")


def show(what: str, found: str) -> None:
    print(f"\n  {what:<48} {found}", end="")


def test_kill_at_random_moments(runs: Runs, whole: tuple[str, str]) -> None:
    """The same final adapters and metrics, however often and wherever the run was killed."""
    draw = random.Random(0)
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    kills = rounds = refused = 0
    steps: set[str] = set()
    while kills < KILLS:
        name = f"killed{rounds}"
        rounds += 1
        process = runs.start(name)
        while True:
            try:
                _, said = process.communicate(timeout=draw.uniform(1.0, 6.0))
                assert process.returncode == 0, said
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
            states = runs.folder / name / "state"
            steps |= {f"{name} {path.name}" for path in states.glob("[0-9]*")} if states.exists() else set()
            resume = [] if not states.exists() or not any(states.glob("[0-9]*")) else ["--resume"]
            process = runs.start(name, *resume)
        assert runs.hashes(name) == whole
        assert runs.metrics(name) == runs.metrics("whole")
    assert refused == 0
    show(
        f"{kills} kill -9 over {rounds} runs, {time.monotonic() - started:.0f} s",
        f"{rounds} of {rounds} end with the same bits",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_run_goes_on(runs: Runs, whole: tuple[str, str], number: int) -> None:
    name = f"signal{number}"
    process = runs.start(name)
    metrics = runs.folder / name / "metrics.jsonl"
    while not metrics.exists():
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number and "Traceback" not in said, said
    done = runs.train(name, "--resume")
    assert done.returncode == 0 and runs.hashes(name) == whole, done.stderr
    show(f"signal {number}, then --resume", f"exit {128 + number}, then the same bits")


def test_the_second_interrupt_leaves_at_once(runs: Runs, whole: tuple[str, str]) -> None:
    process = runs.start("twice")
    while not (runs.folder / "twice" / "metrics.jsonl").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode in (-signal.SIGINT, 130)
    done = runs.train("twice", "--resume")
    assert done.returncode == 0 and runs.hashes("twice") == whole, done.stderr
    show("two interrupts, then --resume", "the same bits")


def stopped(runs: Runs, name: str) -> Path:
    """The state folder of a run that was stopped on its way, copied from one that was."""
    template = runs.folder / "stopped"
    if not template.exists():
        process = runs.start("stopped")
        while not list(template.glob("state/00000[12]*")):
            time.sleep(0.02)
        process.terminate()
        process.communicate()
        assert len(list(template.glob("state/0*"))) == 2
    shutil.copytree(template, runs.folder / name)
    return runs.folder / name / "state"


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "missing"])
@pytest.mark.parametrize("file", ["adapters.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"])
def test_a_damaged_state_is_passed_over(runs: Runs, whole: tuple[str, str], file: str, damage: str) -> None:
    name = f"{damage}-{file}"
    path = sorted(stopped(runs, name).glob("0*"))[-1] / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
        path.write_bytes({"truncated": content[:half], "empty": b"", "flipped": flipped}[damage])
    done = runs.train(name, "--resume")
    if (file, damage) == ("state.json", "missing"):  # whose it is, only its record tells
        assert done.returncode == 2 and "without its state.json (move it away)" in done.stderr
        path.parent.rename(runs.folder / "moved")
        done = runs.train(name, "--resume")
    else:
        assert "is damaged and skipped" in done.stderr
    assert done.returncode == 0 and runs.hashes(name) == whole
    show(f"{file} {damage}", "refused, the state before used, the same bits")


def test_another_run_is_not_gone_on_with(runs: Runs, tiny_gemma: Path) -> None:
    stopped(runs, "other")
    changed = {
        "--learning-rate": ("--learning-rate", 1e-5),
        "--lora-rank": ("--lora-rank", 3),
        "--seed": ("--seed", 7),
        "weights of the model": ("--model", tiny_gemma),
    }
    for what, option in changed.items():
        done = runs.train("other", "--resume", *option)
        assert done.returncode == 3 and what in done.stderr and "Traceback" not in done.stderr, done.stderr
    both = runs.train("other", "--resume", "--lora-rank", 3, "--learning-rate", 1e-5).stderr
    assert "--lora-rank" in both and "--learning-rate" in both
    rows = runs.folder / "more"
    scripts.run(runs.folder, "dataset.py", "--dataset-name", "builtin", "--sample-size", "90", "--output-dir", rows)
    done = runs.train("other", "--resume", "--data-dir", rows)
    assert done.returncode == 3 and "rows in train.jsonl" in done.stderr
    show("other rate, rank, seed, model, rows", "exit 3, each difference named")


def test_two_runs_on_one_folder(runs: Runs) -> None:
    first = runs.start("shared")
    while not (runs.folder / "shared" / "run.json").exists():
        time.sleep(0.02)
    second = runs.train("shared")
    first.terminate()
    first.communicate()
    assert second.returncode == 2 and "another run is writing here" in second.stderr
    show("a second run on the folder", "exit 2")


@pytest.mark.parametrize("kilobytes", [1, 20, 60])
def test_a_full_disk(runs: Runs, whole: tuple[str, str], kilobytes: int) -> None:
    """A limit on the size of files stands for the disk: writes fail in the middle of a file."""
    name = f"full{kilobytes}"

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))

    done = runs.train(name, preexec_fn=limit)
    assert done.returncode == 4 and "Traceback" not in done.stderr, done.stderr
    assert "cannot be written" in done.stderr
    leftover = [path for path in (runs.folder / name).rglob("*.tmp*") if path.is_file()]
    assert not [path for path in leftover if path.parent.name != "state"]
    done = runs.train(name)
    assert done.returncode == 0 and runs.hashes(name) == whole, done.stderr
    show(f"disk full after {kilobytes} kB of a file", "exit 4; afterwards the same bits")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """disk(kilobytes): the folder of a real file system of its own with that much room; again for more or less of it."""
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")

    def leave(kilobytes: int) -> Path:
        (tmp_path / "filler").unlink(missing_ok=True)
        (tmp_path / "filler").write_bytes(bytes(shutil.disk_usage(tmp_path).free - (kilobytes << 10)))
        return tmp_path

    yield leave
    subprocess.run(["umount", str(tmp_path)], check=True)


def full(done: subprocess.CompletedProcess[str]) -> None:
    """The script must have ended with one line about the full disk."""
    assert done.returncode == 4 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ") and "cannot be" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("kilobytes", [0, 12, 300, 1200])
def test_a_really_full_disk(runs: Runs, whole: tuple[str, str], disk: Callable[[int], Path], kilobytes: int) -> None:
    folder = disk(kilobytes) / "run"
    full(runs.train(str(folder)))
    (folder.parent / "filler").unlink()
    resume = ["--resume"] if list(folder.glob("state/[0-9]*")) else []
    done = runs.train(str(folder), *resume)
    assert done.returncode == 0 and runs.hashes(str(folder)) == whole, done.stderr
    show(f"disk full after {kilobytes} kB", f"exit 4; afterwards {'resumed' if resume else 'anew'}, the same bits")


def test_earlier_results_survive_a_full_disk(runs: Runs, whole: tuple[str, str], disk: Callable[[int], Path]) -> None:
    rows, results = disk(4000) / "rows", disk(4000) / "results"
    prepare = ["--type", "sql", "--dataset-name", "builtin", "--sample-size", "80", "--output-dir", rows]
    evaluate = ["--adapter-path", "whole", "--results-dir", results, "--max-tokens", "4"]
    stages = {"dataset.py": prepare, "test_finetuned.py": evaluate, "benchmark.py": evaluate}
    for script, options in stages.items():
        scripts.run(runs.folder, script, *options)
    before = {path: path.read_bytes() for folder in (rows, results) for path in folder.rglob("*.json*")}
    for script, options in stages.items():
        for kilobytes in (0, 4, 16):
            disk(kilobytes)
            full(scripts.run(runs.folder, script, *options, "--seed", 5, code=4))
            assert {path: path.read_bytes() for path in before} == before
        disk(4000)
        scripts.run(runs.folder, script, *options)
        before |= {path: path.read_bytes() for folder in (rows, results) for path in folder.rglob("*.json*")}
        show(f"{script} on a full disk", "exit 4, earlier results intact")


def test_an_output_that_cannot_be_written(runs: Runs) -> None:
    (runs.folder / "file").write_text("")
    started = time.monotonic()
    done = runs.train("file/inside")
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert "training rows" not in done.stderr  # before the model is loaded
    show("output cannot be written", f"exit 4 after {time.monotonic() - started:.1f} s, no model loaded")


def test_corner_cases(runs: Runs) -> None:
    def cornered(what: str, rows: list[str], valid: str | None, *options: str, code: int, words: str) -> None:
        folder = runs.folder / f"corner {what}"
        folder.mkdir()
        lines = [
            json.dumps({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": "yes"}]})
            for q in rows
        ]
        hashes = {}
        for split, content in (
            ("train", "\n".join(lines) + "\n"),
            ("valid", valid or lines[0] + "\n"),
            ("test", lines[0] + "\n"),
        ):
            content = "" if split == "valid" and valid == "" else content
            (folder / f"{split}.jsonl").write_text(content)
            hashes[f"{split}.jsonl"] = hashlib.sha256(content.encode()).hexdigest()
        record = {"type": "chat", "source": {"source": "test"}, "files": hashes}
        (folder / "dataset.json").write_text(json.dumps(record))
        done = runs.train(f"corner {what} out", "--data-dir", folder, "--iters", 3, *options, options="--batch-size 4")
        assert done.returncode == code and words in done.stderr and "Traceback" not in done.stderr, done.stderr
        show(f"corner: {what}", f"exit {code}")

    cornered("rows < batch", ["a", "b"], None, code=0, words="Done")
    cornered("one row", ["a"], None, code=0, words="Done")
    cornered("empty validation file", ["a", "b"], "", code=0, words="Done")
    cornered("a row over the limit", ["a", "b " * 500], None, "--max-seq-length", "64", code=0, words="1 of 2 rows")
    cornered("all rows over the limit", ["b " * 500], None, "--max-seq-length", "64", code=2, words="--max-seq-length")
    for rate in ("nan", "inf", "0", "-1"):
        cornered(f"learning rate {rate}", ["a"], None, f"--learning-rate={rate}", code=2, words="--learning-rate")
    cornered("rank 0", ["a"], None, "--lora-rank", "0", code=2, words="--lora-rank")
    cornered("more layers than the model", ["a"], None, "--lora-layers", "9", code=2, words="--lora-layers")
