"""A quarter of an hour on a Mac (or any GPU) that answers what its source cannot tell. ``make first-mac``.

    python benchmarks/first_mac.py              writes first-mac.json, and first-mac.html to look at and to send back
    python benchmarks/first_mac.py --quick      everything once with a tiny model, in two minutes, on any machine

Every check is a process or several, runs whatever became of the others, and says in one line what it found. Nothing leaves the
machine: builtin rows and model alone, in a folder that is removed. docs/first-mac.md says what each answer decides.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import first_mac_page, gpu, memory_estimate  # noqa: E402
from finetune.records import files, machine  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.fields import option, switch  # noqa: E402

_ENOUGH = 15 * 60  # seconds; what has not begun by then is left out


@dataclass(frozen=True)
class FirstMacConfig:
    quick: bool = switch("a tiny model, few steps and few tests")
    only: str = option("", "names of checks, with commas between (default: all)")
    output: Path = option(Path("first-mac"), "the results, without .json and .html")
    child: str | None = option(None, "internal: what this process measures")


@dataclass
class Answer:
    """What a check found: a line, numbers for the table ``(what, value, unit)``, and whether it is as it should be."""

    line: str = ""
    good: bool | None = None  # None: a number, neither good nor bad
    numbers: list[tuple[str, float, str]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class Bench:
    """Where the checks run, and the scripts that they start."""

    def __init__(self, folder: Path, *, quick: bool):
        self.folder, self.quick = folder, quick
        self.model = memory_estimate.tiny(folder) if quick else "builtin"
        self.steps = 6 if quick else 40

    def run(self, *arguments: str, code: int | None = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
        """The ended process of python; RuntimeError with the last line of stderr if it failed."""
        variables = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100", **environment}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=900
        )
        if code is not None and done.returncode != code:
            raise RuntimeError(f"exit code {done.returncode}: {_last(done.stderr or done.stdout)}")
        return done

    def data(self) -> str:
        """Prepared builtin rows."""
        folder = self.folder / "data"
        if not folder.exists():
            rows = "120" if self.quick else "600"
            self.run(
                "dataset.py",
                "--type",
                "sql",
                "--dataset-name",
                "builtin",
                "--sample-size",
                rows,
                "--output-dir",
                str(folder),
            )
        return str(folder)

    def training(self, name: str, *flags: str) -> list[str]:
        """The arguments of a training run that writes to a folder of this name."""
        where = ["--data-dir", self.data(), "--adapter-path", str(self.folder / name), "--model", self.model]
        steps = ["--iters", str(self.steps), "--batch-size", "4", "--warmup", "2", "--steps-per-eval", "1000"]
        return ["train.py", *where, *steps, "--steps-per-report", "1", "--steps-per-save", "2", *flags]

    def trained(self, name: str, *flags: str, **environment: str) -> dict[str, float]:
        """Seconds of a step and the peak of a run."""
        self.run(*self.training(name, *flags), code=0, **environment)
        return self.figures(name)

    def figures(self, name: str) -> dict[str, float]:
        lines = [json.loads(line) for line in (self.folder / name / files.METRICS).read_text().splitlines()]
        steps = [line for line in lines if "rows_per_second" in line]
        later = sorted(4 / line["rows_per_second"] for line in steps[len(steps) // 2 :])
        return {"ms": 1e3 * later[len(later) // 2], "peak": max(line["peak_memory_mb"] for line in steps)}

    def hash(self, name: str) -> str:
        return sha256((self.folder / name / files.ADAPTERS).read_bytes()).hexdigest()[:16]

    def child(self, what: str) -> dict[str, Any]:
        return dict(
            json.loads(self.run("benchmarks/first_mac.py", "--child", what, *(["--quick"] * self.quick)).stdout)
        )


def main(config: FirstMacConfig) -> None:
    if config.child:
        print(json.dumps(_CHILDREN[config.child]("tiny" if config.quick else "builtin")))
        return
    started = time.monotonic()
    found: dict[str, Answer] = {}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), quick=config.quick)
        for title, check in CHECKS.items():
            if config.only and title not in config.only.split(","):
                continue
            begun = time.monotonic()
            if begun - started > _ENOUGH:
                found[title] = Answer("left out: the quarter of an hour is over")
            else:
                found[title] = _asked(check, bench)
            found[title].seconds = time.monotonic() - begun
            mark = {True: "ok  ", False: "NO  ", None: "    "}[found[title].good]
            print(f"{mark}{title:<24}{found[title].line}  ({found[title].seconds:.0f} s)", flush=True)
    about = {"machine": asdict(machine.describe()), "macos": platform.mac_ver()[0], "quick": config.quick}
    record = {
        **about,
        "date": time.strftime("%Y-%m-%d"),
        "checks": {title: asdict(one) for title, one in found.items()},
    }
    files.write_json(config.output.with_suffix(".json"), record)
    config.output.with_suffix(".html").write_text(first_mac_page.page(record), encoding="utf-8")
    print(
        f"\n{config.output}.json and {config.output}.html, after {time.monotonic() - started:.0f} s. Please send both back."
    )


def _asked(check: Callable[[Bench], Answer], bench: Bench) -> Answer:
    try:
        return check(bench)
    except (RuntimeError, OSError, subprocess.SubprocessError, LookupError, ValueError) as error:
        return Answer(f"failed: {_last(str(error))}", good=False)


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no output")[:200]


def _device(bench: Bench) -> Answer:
    found = bench.child("device")
    numbers = [(f"matrix product, {name}", value, "TFLOP/s") for name, value in found["rates"].items()]
    exact = found["float32_error"] < 1e-5
    line = f"{found['describe']}; float32 products are {'exact' if exact else 'rounded (TF32)'}"
    return Answer(line, None, [*numbers, ("float32 product, error", found["float32_error"], "of the largest")], found)


def _doctor(bench: Bench) -> Answer:
    checks = json.loads(bench.run("-m", "finetune", "doctor", "--json", code=None).stdout)
    failed = [f"{one['name']}: {one['found']}" for one in checks if one["status"] == "fail"]
    return Answer("; ".join(failed) or f"{len(checks)} checks, none fails", not failed, more={"findings": checks})


def _paths(bench: Bench) -> Answer:
    """Which fast paths prove themselves: shared prompts, the compiled step, recomputed activations."""
    found = bench.child("paths")
    return Answer("; ".join(found["notes"]) or "all fast paths are used", not found["notes"], more=found)


def _same_bits(bench: Bench) -> Answer:
    bench.trained("one")
    bench.trained("two")
    same = bench.hash("one") == bench.hash("two")
    return Answer("the same adapters twice, to the last bit" if same else "two runs differ in their last bits", same)


def _killed(bench: Bench) -> Answer:
    if not (bench.folder / "one").exists():
        bench.trained("one")
    command = [sys.executable, *bench.training("killed")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics, end = bench.folder / "killed" / files.METRICS, time.monotonic() + 300
    while process.poll() is None and time.monotonic() < end:
        if metrics.exists() and len(metrics.read_text().splitlines()) > bench.steps // 2:
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    bench.run(*bench.training("killed", "--resume"))
    same = bench.hash("one") == bench.hash("killed")
    return Answer("killed and resumed to the same bits" if same else "resumed, but to other last bits", same)


def _memory(bench: Bench) -> Answer:
    numbers = []
    for length in (150, 300) if bench.quick else (150, 1500):
        case = {"model": bench.model, "length": length, "batch": 2, "settings": {"lora_rank": 16}}
        guess, real = (memory_estimate.child({**case, "whole": whole}) for whole in (False, True))
        numbers += [
            (f"{length} tokens a row, estimated", guess["peak"], "MB"),
            (f"{length} tokens a row, measured", real["peak"], "MB"),
        ]
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    apart = [guess[1] / real[1] - 1 for guess, real in pairs]
    line = "the estimate is off by " + " and ".join(f"{share:+.0%}" for share in apart)
    return Answer(line, max(map(abs, apart)) < 0.15, numbers)


def _compared(bench: Bench, name: str, first: dict[str, str], second: dict[str, str], words: tuple[str, str]) -> Answer:
    found = [bench.trained(f"{name} {at}", **variables) for at, variables in enumerate((first, second))]
    numbers = [(f"{word}, step", one["ms"], "ms") for word, one in zip(words, found, strict=True)]
    numbers += [(f"{word}, peak", one["peak"], "MB") for word, one in zip(words, found, strict=True)]
    one, other = found
    line = f"{words[0]} {one['ms']:.0f} ms a step and {one['peak']:.0f} MB,"
    line += f" {words[1]} {other['ms']:.0f} ms and {other['peak']:.0f} MB"
    return Answer(line, None, numbers)


def _compiled(bench: Bench) -> Answer:
    if bench.child("device")["cpu"]:  # there it would start a C++ compiler
        return Answer("the step is not compiled on the CPU")
    on, off = {"FINETUNE_GPU_STEP": "1"}, {"FINETUNE_GPU_STEP": "0"}
    return _compared(bench, "step", on, off, ("compiled", "plain"))


def _width(bench: Bench) -> Answer:
    wide, narrow = {"MLX_BFS_MAX_WIDTH": "400"}, {"MLX_BFS_MAX_WIDTH": "20"}
    return _compared(bench, "width", wide, narrow, ("width 400", "width 20"))


def _against(work: str) -> Callable[[Bench], Answer]:
    def check(bench: Bench) -> Answer:
        settings = gpu.GpuConfig(seconds=15, batch_size=4, prompts=64, max_tokens=64, dry_run=bench.quick)
        shape = "tiny" if bench.quick else "smollm2-135m"
        ours, peer = (gpu.child(each, shape, settings) for each in (work, f"{work}, mlx-lm"))
        if problem := ours.get("error") or peer.get("error"):
            return Answer(f"failed: {problem}", good=False, more={"ours": ours, "mlx-lm": peer})
        speeds = [one["tokens_per_second"] for one in (ours, peer)]
        numbers = [("ours", speeds[0], "tokens/s"), ("mlx-lm", speeds[1], "tokens/s")]
        numbers += [("ours, peak", 1e3 * ours["peak_gb"], "MB"), ("mlx-lm, peak", 1e3 * peer["peak_gb"], "MB")]
        line = f"{speeds[0]:,.0f} tokens/s, {speeds[0] / speeds[1]:.2f} times mlx-lm's"
        return Answer(
            line, None if bench.quick else speeds[0] >= 0.95 * speeds[1], numbers, {"ours": ours, "mlx-lm": peer}
        )

    return check


def _tests(*arguments: str, **environment: str) -> Callable[[Bench], Answer]:
    def check(bench: Bench) -> Answer:
        some = ("-k", "device or gradients") if bench.quick else ()
        done = bench.run("-m", "pytest", "-q", "-x", *arguments, *some, code=None, **environment)
        return Answer(_last(done.stdout).strip("= "), done.returncode in (0, 5), more={"end": done.stdout[-3000:]})

    return check


def _child_device(model: str) -> dict[str, Any]:
    from finetune.backends.mlx.matmul_rate import matmul_rate_of
    from finetune.backends.mlx.runtime import ON_CPU, describe, mx

    about: Any = mx.device_info()
    size = 256 if model == "tiny" else 1024 if ON_CPU else 4096
    rates = {
        str(kind).removeprefix("mlx.core."): matmul_rate_of(kind, size, 0.3) / 1e3
        for kind in (mx.bfloat16, mx.float16, mx.float32)
    }
    a = mx.random.normal((512, 512), key=mx.random.key(0))
    found = a @ a
    mx.eval(found)
    with mx.stream(mx.cpu):
        wanted = a @ a
        error: Any = (mx.abs(found - wanted).max() / mx.abs(wanted).max()).item()
    return {"describe": describe(), "cpu": ON_CPU, "rates": rates, "float32_error": error, "about": dict(about)}


def _child_paths(model: str) -> dict[str, Any]:
    from finetune.backends import mlx
    from finetune.backends.mlx import adapters
    from finetune.backends.mlx.fast_paths import FastPaths
    from finetune.methods import METHODS, RowSource
    from finetune.models.encoder import ChatEncoder
    from finetune.models.examples import as_rows
    from finetune.models.find import find_model
    from finetune.models.loss_mask import Example
    from finetune.settings.config import TrainingConfig

    with tempfile.TemporaryDirectory() as scratch:
        name = memory_estimate.tiny(Path(scratch)) if model == "tiny" else model
        folder = find_model(name, lambda line: None).path
        config = TrainingConfig(lora_rank=16)
        network = mlx.load(folder, ChatEncoder(folder)).network
        adapters.attach(network, adapters.settings(network, config))
        notes = FastPaths(network, 1.0, checkpoints=False, shares_prompts=True).notes
        rows = as_rows([Example([1, 2, 3, 4], [False, False, True, True])])
        for checkpoints in (False, True):
            settings = TrainingConfig(lora_rank=16, grad_checkpoint=checkpoints)
            loaded: Any = mlx.load(folder, ChatEncoder(folder))
            source = RowSource(METHODS["sft"], rows, settings)
            notes = [*notes, *mlx.Trainer(loaded, METHODS["sft"], source, settings, 1, "").notes]
    return {"notes": list(dict.fromkeys(notes))}


_CHILDREN: dict[str, Callable[[str], dict[str, Any]]] = {"device": _child_device, "paths": _child_paths}
CHECKS: dict[str, Callable[[Bench], Answer]] = {
    "device": _device,
    "doctor": _doctor,
    "fast paths": _paths,
    "same bits": _same_bits,
    "killed and resumed": _killed,
    "memory estimate": _memory,
    "compiled step": _compiled,
    "graph width": _width,
    "training and mlx-lm": _against("train"),
    "answers and mlx-lm": _against("answers"),
    "tests on this device": _tests(
        "-m", "gpu", "tests/backends/test_gpu.py", FINETUNE_DEVICE=os.environ.get("FINETUNE_DEVICE", "gpu")
    ),
    "tests on the CPU": _tests("tests/backends/test_mlx.py", "tests/backends/test_compiled.py", FINETUNE_DEVICE="cpu"),
}

if __name__ == "__main__":
    command_line.run(main, FirstMacConfig)
