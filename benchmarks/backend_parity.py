"""The same training on MLX and on PyTorch: loss and gradients of the first step, fifty steps, and answers that are executed.

    python benchmarks/backend_parity.py --quick                          builtin model, some minutes
    python benchmarks/backend_parity.py --models builtin,gemma.gguf --json result.json
    python benchmarks/backend_parity.py --accuracy 200                   answers after the same train.py as well

First step: the same LoRA weights, none of them zero, and the same rows. Loss and gradients of both are compared with each
other and with PyTorch in float64, norms and rotary positions included: that says what is rounding and how large it is.
Steps: ``Trainer`` of both, as train.py drives it, from the same first LoRA weights, in the same order of rows.
Accuracy: train.py with either ``--backend`` and the same flags, where each draws its own first LoRA weights; then both
answer the same test rows.

On a CPU both compute in float32. On a GPU both take bfloat16, and the differences are those of bfloat16.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import first_step, lora_weights  # noqa: E402
from benchmarks.turns import LORA, examples  # noqa: E402
from benchmarks.versus_mlx_lm import prepare  # noqa: E402
from finetune.records import files, machine  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.config import TrainingConfig  # noqa: E402
from finetune.settings.fields import option  # noqa: E402

_BACKENDS = {"mlx": "MLX", "torch": "PyTorch"}


@dataclass(frozen=True)
class ParityConfig:
    models: str = option("builtin", "builtin, model folders or .gguf files, with commas between")
    template: str = option("model", "chat template, where a model has none of its own")
    rows: str = option("builtin", "builtin, or a JSONL file with the fields of the sql task")
    sample_size: int = option(400, "rows, over all splits", at_least=40)
    steps: int = option(50, "training steps on each backend", at_least=1)
    batch_size: int = option(4, "rows per step", at_least=1)
    learning_rate: float = option(2e-4, "peak learning rate", above=0)
    accuracy: int = option(0, "test rows that both answer after the same train.py (0: none)", at_least=0)
    accuracy_steps: int = option(300, "steps of that train.py", at_least=1)
    accuracy_learning_rate: float = option(1e-3, "its peak learning rate", above=0)
    quick: bool = option(False, "20 steps")
    json: Path | None = option(None, "write the result to this file")
    seed: int = option(0, "for the order of the rows and the LoRA weights", at_least=0)


def main(config: ParityConfig) -> None:
    from finetune.backends import load_backend

    os.environ["OMP_WAIT_POLICY"] = (
        "PASSIVE"  # read when PyTorch is imported, which mlx-lm does before our backend asks for it
    )
    if config.quick:
        config = replace(config, steps=20)
    for name in _BACKENDS:  # MLX first: its BLAS must be in the process before it
        print(load_backend(name).describe(), flush=True)
    records = {}
    for model in config.models.split(","):
        print(f"\n{model}", flush=True)
        with tempfile.TemporaryDirectory() as name:
            records[model] = _compared(config, model, Path(name))
    if config.json:
        files.write_json(config.json, {"models": records, "machine": asdict(machine.describe())})


def _compared(config: ParityConfig, model: str, folder: Path) -> dict[str, Any]:
    from finetune.methods import METHODS, RowSource
    from finetune.models.examples import as_rows

    share = min(0.5, max(0.05, config.accuracy / config.sample_size))
    prepare(model, config.rows, config.sample_size, folder, "--test-fraction", str(share))
    _write_template(folder / "model", config.template)
    encoder, train, valid = examples(folder)
    settings = TrainingConfig(
        iters=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lora_rank=LORA["rank"],
        lora_scale=LORA["scale"],
        seed=config.seed,
    )
    first = next(RowSource(METHODS["sft"], as_rows(train), settings).steps())[0]
    step = first_step.compared(folder / "model", encoder, [train[row] for row in first], settings)
    _print_step(step)
    curves = {name: _curve(name, folder / "model", encoder, train, valid, settings) for name in _BACKENDS}
    steps = curves | _apart(curves)
    _print_steps(steps)
    record = {"first_step": step, "steps": steps}
    return record | ({"accuracy": _accuracy(config, folder)} if config.accuracy else {})


def _write_template(model: Path, name: str) -> None:
    """Give the model a template of ours, for all that load it."""
    from finetune.models.encoder import ChatEncoder
    from finetune.models.templates import find_template

    if template := find_template(name):
        (model / "chat_template.jinja").write_text(ChatEncoder(model, template).template, encoding="utf-8")


def _curve(
    name: str, model: Path, encoder: Any, train: Sequence[Any], valid: Sequence[Any], settings: TrainingConfig
) -> dict[str, Any]:
    """The loss of each step from the first LoRA weights of ``settings.seed``, and the validation loss after the last."""
    from finetune.backends import load_backend
    from finetune.methods import METHODS, RowSource
    from finetune.models.examples import as_rows

    backend = load_backend(name)
    source = RowSource(METHODS["sft"], as_rows(train), settings)
    trainer = backend.Trainer(backend.load(model, encoder), METHODS["sft"], source, settings, settings.iters, "")
    lora_weights.begin(name, trainer, settings.seed)
    losses: list[float] = []

    def after(step: Any) -> bool:
        losses.append(step.loss)
        return True

    trainer.train(lambda: False, after)
    return {"loss": losses, "validation_loss": trainer.validation_loss(as_rows(valid))}


def _apart(curves: dict[str, dict[str, Any]]) -> dict[str, float]:
    ours, theirs = (curves[name]["loss"] for name in _BACKENDS)
    differences = [abs(a - b) / a for a, b in zip(ours, theirs, strict=True)]
    return {"largest_difference": max(differences), "mean_difference": fmean(differences)}


def _print_step(step: dict[str, dict[str, Any]]) -> None:
    print(f"{'first step, relative difference':<34}{'loss':>10}{'gradients':>12}{'worst matrix':>14}")
    for pair, found in step.items():
        print(f"{pair:<34}{found['loss']:>10.1e}{found['gradients']:>12.1e}{found['worst matrix']:>14.1e}", flush=True)


def _print_steps(steps: dict[str, Any]) -> None:
    ours, theirs = (steps[name] for name in _BACKENDS)
    print(f"\n{'loss':<24}{'MLX':>10}{'PyTorch':>10}{'apart':>10}")
    count = len(ours["loss"])
    lines = [
        (f"step {at + 1}", ours["loss"][at], theirs["loss"][at]) for at in range(count) if at == 0 or (at + 1) % 10 == 0
    ]
    lines.append(("validation afterwards", ours["validation_loss"], theirs["validation_loss"]))
    for name, a, b in lines:
        print(f"{name:<24}{a:>10.4f}{b:>10.4f}{abs(a - b) / a:>10.3%}")
    print(
        f"of all {count} steps: {steps['largest_difference']:.3%} apart at most, {steps['mean_difference']:.3%} in the mean"
    )


def _accuracy(config: ParityConfig, folder: Path) -> dict[str, Any]:
    """Right answers of both after train.py with the same flags, and whether their difference is more than chance."""
    from finetune.evaluation import compare, tuned_run
    from finetune.evaluation.verdict import judge, wilson_interval

    flags = ["--model", str(folder / "model"), "--data-dir", str(folder / "data"), "--seed", str(config.seed)]
    flags += ["--iters", str(config.accuracy_steps), "--learning-rate", str(config.accuracy_learning_rate)]
    flags += ["--batch-size", str(config.batch_size), "--steps-per-eval", str(config.accuracy_steps)]
    values = {}
    for name in _BACKENDS:
        command = [
            sys.executable,
            str(ROOT / "train.py"),
            *flags,
            "--backend",
            name,
            "--adapter-path",
            str(folder / name),
        ]
        subprocess.run(command, check=True, capture_output=True)
        run = tuned_run.open_run(folder / name)
        rows = tuned_run.read_rows(run, folder / "data", "test", config.accuracy, config.seed)
        log = folder / f"{name}.answers.jsonl"
        asked = compare.Comparison(run=run, rows=rows, split="test", max_tokens=160, log=log, base=False, general=False)
        values[name] = [row.tuned.value for row in compare.compare(asked).rows]
    judged = [
        pair for pair in zip(*values.values(), strict=True) if None not in pair
    ]  # None: a row that cannot be scored
    right = {name: [pair[side] == 1.0 for pair in judged] for side, name in enumerate(_BACKENDS)}
    verdict = judge(*right.values())
    found = {}
    print()
    for name, title in _BACKENDS.items():
        count, n = sum(right[name]), len(right[name])
        found[name] = {"right": count, "n": n, "interval": wilson_interval(count, n)}
        low, high = found[name]["interval"]
        print(f"{title}: {count} of {n} answers right, {count / n:.1%} (95 % interval {low:.1%} to {high:.1%})")
    print(f"PyTorch against MLX: {verdict.verdict}. {verdict.explanation}.")
    return found | {"verdict": verdict.verdict, "explanation": verdict.explanation, "p": verdict.p}


if __name__ == "__main__":
    command_line.run(main, ParityConfig)
