"""Training and answers on a GPU (Metal or CUDA), ours against mlx-lm's trainer and batch_generate, in one run.

    python benchmarks/gpu.py                                    the three smallest models: under six minutes on a fast GPU
    python benchmarks/gpu.py --models llama3.1-8b,llama3.1-8b-4bit --json result.json
    python benchmarks/gpu.py --dry-run                          what it would do, and all of it with a tiny model, on any device

Models have the true shapes and random weights in bfloat16 (or 4 bits), made on the device. Training is LoRA of rank 16 on
every matrix, AdamW, rows of 60 to 400 tokens; the answers are 128 prompts at once, each to its last token. Every piece of work
runs in a process of its own, one after the other; what fails is said, and the rest goes on. ``of matmul`` is the share of the
rate that this GPU reaches on a large matrix product: of the products a step needs, attention left out. ``--torch`` adds our
PyTorch backend against TRL (``versus_trl.py --quick``), if they are installed.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.true_shapes import SHAPES  # noqa: E402
from finetune.errors import UserError, closest  # noqa: E402
from finetune.records import files, machine  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.fields import option, switch  # noqa: E402

_WORKS = ("train", "train, mlx-lm", "answers", "answers, mlx-lm")
_MODELS = "smollm2-135m,qwen3-0.6b,llama3.2-1b"
_START = 15  # seconds, about, until a process has a model


@dataclass(frozen=True)
class GpuConfig:
    models: str = option(_MODELS, f"names, with commas between: {', '.join(name for name in SHAPES if name != 'tiny')}")
    works: str = option("all", "train, answers or all")
    seconds: float = option(8.0, "of training in each process", above=0)
    batch_size: int = option(8, "rows per step", at_least=1)
    long: bool = switch("rows of 360 to 2,400 tokens")
    prompts: int = option(128, "to be answered at once", at_least=2)
    max_tokens: int = option(128, "of each answer", at_least=1)
    timeout: int = option(240, "seconds until a process is given up", at_least=10)
    torch: bool = switch("also our PyTorch backend against TRL")
    dry_run: bool = switch("say what would be done, and do it with a tiny model")
    json: Path | None = option(None, "write the result to this file")


def main(config: GpuConfig) -> None:
    models = config.models.split(",")
    for name in models:
        if name not in SHAPES:
            near = closest(name, SHAPES.keys())
            raise UserError(f"--models: no {name!r}{f', but {near}' if near else ''} (choose from {', '.join(SHAPES)})")
    if config.works not in ("all", "train", "answers"):
        raise UserError(f"--works: unknown value {config.works!r} (choose from all, train, answers)")
    works = [work for work in _WORKS if config.works in ("all", work.split(",")[0])]
    if config.dry_run:
        _say_plan(config, models, works)
        models = ["tiny"]
    started = time.monotonic()
    rate = child("rate", models[0], config)
    print(
        rate.get("device", rate.get("error")),
        f"{rate.get('teraflops', 0):.3g} TFLOP/s in a large matrix product",
        sep="\n",
    )
    print(
        f"\n{'':<18}{'':<18}{'tokens/s':>10}{'ratio':>7}{'weights':>9}{'peak, GB':>9}{'step, ms':>9}{'of matmul':>10}"
    )
    found: dict[str, dict[str, Any]] = {}
    for model in models:
        found[model] = {}
        for work in works:
            result = found[model][work] = child(work, model, config)
            peer = found[model].get(work.split(",")[0], {}) if "," in work else {}
            _show(model, work, result, peer, rate.get("teraflops"))
    record = {"rate": rate, "found": found, "torch": _torch(config), "machine": asdict(machine.describe())}
    print(f"\n{time.monotonic() - started:.0f} s in all")
    if config.json:
        files.write_json(config.json, record | {"settings": {k: str(v) for k, v in asdict(config).items()}})


def child(work: str, shape: str, config: GpuConfig, **environment: str) -> dict[str, Any]:
    """What one piece of work reached, or the ``error``."""
    import os

    quick = config.dry_run
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_work.py"), "--work", work, "--shape", shape]
    command += [
        "--seconds",
        str(0.5 if quick else config.seconds),
        "--batch-size",
        str(min(2, config.batch_size) if quick else config.batch_size),
    ]
    command += [
        "--prompts",
        str(4 if quick else config.prompts),
        "--max-tokens",
        str(6 if quick else config.max_tokens),
    ]
    command += ["--long"] if config.long else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=config.timeout, env={**os.environ, **environment}
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not finished after {config.timeout} s"}
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"error": lines[-1] if lines else f"exit code {done.returncode}", "stderr": done.stderr[-2000:]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _say_plan(config: GpuConfig, models: list[str], works: list[str]) -> None:
    for name in models:
        shape = SHAPES[name]
        print(
            f"{name}: {(shape.linear + shape.head) / 1e6:,.0f} million parameters, {shape.weights_gb:.1f} GB of weights,"
        )
        print(f"  {shape.lora(16) / 1e6:.1f} million trained; {'; '.join(works)}")
    processes = 1 + len(models) * len(works)
    about = processes * _START + sum(work.startswith("train") for work in works) * len(models) * config.seconds
    print(f"{processes} processes, about {about / 60:.0f} minutes on a fast GPU\n\nThe same with a tiny model:")


def _show(model: str, work: str, result: dict[str, Any], ours: dict[str, Any], rate: float | None) -> None:
    if "error" in result:
        print(f"{model:<18}{work:<18}failed: {result['error'][:80]}", flush=True)
        return
    speed = result["tokens_per_second"]
    ratio = f"{ours['tokens_per_second'] / speed:.2f}" if "tokens_per_second" in ours else ""
    step = f"{1e3 * result['step_seconds']:.1f}" if "step_seconds" in result else ""
    share = f"{result['teraflops'] / rate:.0%}" if rate and "teraflops" in result else ""
    print(
        f"{model:<18}{work:<18}{speed:>10,.0f}{ratio:>7}{result['weights_gb']:>9.2f}{result['peak_gb']:>9.2f}{step:>9}{share:>10}",
        *(f"  {note}" for note in result.get("notes", ())),
        sep="\n",
        flush=True,
    )


def _torch(config: GpuConfig) -> str | None:
    if not config.torch:
        return None
    if config.dry_run or any(find_spec(package) is None for package in ("torch", "trl", "peft")):
        what = (
            "would run" if config.dry_run else "not run, because torch, trl or peft is not installed (make setup-torch)"
        )
        print(f"\nversus_trl.py --quick: {what}")
        return None
    command = [sys.executable, str(ROOT / "benchmarks" / "versus_trl.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout if not done.returncode else f"versus_trl.py failed: {done.stderr[-500:]}")
    return done.stdout


if __name__ == "__main__":
    command_line.run(main, GpuConfig)
