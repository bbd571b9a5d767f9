"""Our trainer against ``mlx_lm.lora --mask-prompt``: speed, memory, and the loss after equal examples.

    python benchmarks/versus_mlx_lm.py --quick                       builtin model and rows, a few minutes
    python benchmarks/versus_mlx_lm.py --model gemma.gguf --rows ROWS.jsonl --json result.json

Both train the same rows with the same masks, batch size, LoRA layers and learning rate, from float32 weights (on the CPU
the trainer of mlx-lm would run 30 times slower in bfloat16), on the same BLAS with the same settings of malloc. Each runs in
a process of its own, in turn, so that a drift of the machine meets both; the first steps of each are not counted. mlx-lm
compiles its step where a C++ compiler is at hand; ``--peer-compile`` measures it so. Its AdamW has no bias correction unless
its configuration asks for it; without, its first hundred steps are up to three times larger than the learning rate says,
which makes losses incomparable: ``--no-peer-bias-correction`` measures that. Each turn has a seed of its own, for the
first LoRA weights and the order of the rows. The validation loss of both is measured by one and the same function, over all
validation rows: of mlx-lm at the end, of ours also on the way, outside the time, to see when it reaches mlx-lm's last one.
"""

import math
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.turns import start  # noqa: E402
from finetune.records import files, machine  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.fields import option  # noqa: E402


@dataclass(frozen=True)
class VersusConfig:
    model: str = option("builtin", "builtin, a model folder or a .gguf file")
    rows: str = option("builtin", "builtin, or a JSONL file with the fields of the sql task")
    sample_size: int = option(1200, "rows, over all splits", at_least=40)
    steps: int = option(60, "training steps of each turn", at_least=10)
    turns: int = option(2, "turns of each trainer", at_least=1)
    batch_size: int = option(4, "rows per step", at_least=1)
    learning_rate: float = option(2e-4, "the same for both, constant", above=0)
    quick: bool = option(False, "one turn of 24 steps each")
    peer_bias_correction: bool = option(True, "AdamW of mlx-lm with its bias correction, as ours has")
    peer_compile: bool = option(False, "let mlx-lm compile its step (on the CPU this needs g++)")
    json: Path | None = option(None, "write the result to this file")
    seed: int = option(0, "of the first turn; each turn adds one", at_least=0)


def main(config: VersusConfig) -> None:
    if config.quick:
        config = replace(config, steps=24, turns=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(config.model, config.rows, config.sample_size, folder)
        found: dict[str, list[dict[str, Any]]] = {"ours": [], "mlx-lm": []}
        for turn in range(config.turns):
            for trainer, results in found.items():
                results.append(_turn(config, trainer, folder, config.seed + turn))
    record = _compared(config, found)
    _print(record)
    if config.json:
        files.write_json(config.json, record)


def prepare(model: str, rows: str, sample_size: int, folder: Path, *flags: str) -> None:
    """Rows as dataset.py writes them, with more of its flags, and the model in float32."""
    dataset = ["--type", "sql", "--dataset-name", rows, "--sample-size", str(sample_size), *flags]
    command = [sys.executable, str(ROOT / "dataset.py"), *dataset, "--output-dir", str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)

    from finetune.backends.mlx.runtime import mx  # isort: skip
    from finetune.models.find import find_model

    source = find_model(model, print).path
    (folder / "model").mkdir()
    for path in source.iterdir():
        if path.suffix == ".safetensors":
            weights: Any = mx.load(str(path))
            weights = {key: array.astype(mx.float32) for key, array in weights.items()}
            mx.save_safetensors(str(folder / "model" / path.name), weights, metadata={"format": "mlx"})
        else:
            (folder / "model" / path.name).write_bytes(path.read_bytes())


def _turn(config: VersusConfig, trainer: str, folder: Path, seed: int) -> dict[str, Any]:
    flags = ["--peer-compile"] * config.peer_compile
    flags += ["--no-peer-bias-correction"] * (not config.peer_bias_correction)
    return start(config, trainer, folder, seed, *flags)


def _compared(config: VersusConfig, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    middle = {
        side: {key: statistics.median(turn[key] for turn in turns) for key in turns[0] if key != "curve"}
        for side, turns in found.items()
    }
    reached = [_reached(turn["curve"], peer["validation_loss"]) for turn, peer in zip(*found.values(), strict=True)]
    ours, peer = middle["ours"], middle["mlx-lm"]
    return {
        "model": config.model,
        "rows": config.rows,
        "steps": config.steps,
        "batch_size": config.batch_size,
        "examples_per_second_ratio": ours["examples_per_second"] / peer["examples_per_second"],
        "peak_above_weights_ratio": ours["peak_above_weights_mb"] / peer["peak_above_weights_mb"],
        "validation_loss_ours": ours["validation_loss"],
        "validation_loss_mlx_lm": peer["validation_loss"],
        "seconds_to_the_loss_of_mlx_lm": None if None in reached else statistics.median(filter(None, reached)),
        "seconds_of_mlx_lm": peer["seconds"],
        "matmul_rate_share": ours["matmul_rate_share"],
        "ours": ours,
        "mlx_lm": peer,
        "turns": found,
        "machine": asdict(machine.describe()),
    }


def _reached(curve: list[tuple[float, float]], wanted: float) -> float | None:
    """Seconds of training until the validation loss is as low as that, between two points on a straight line; None: never."""
    before = (0.0, math.inf)
    for seconds, loss in curve:
        if loss <= wanted:
            share = 1.0 if math.isinf(before[1]) else (before[1] - wanted) / (before[1] - loss)
            return before[0] + share * (seconds - before[0])
        before = (seconds, loss)
    return None


def _print(record: dict[str, Any]) -> None:
    names = {
        "examples_per_second": "examples/s",
        "completion_tokens_per_second": "completion tokens/s",
        "weights_mb": "weights, MB",
        "peak_above_weights_mb": "peak above the weights, MB",
        "padding": "padding, share of the tokens",
        "seconds": "seconds of training",
        "validation_loss": "validation loss afterwards",
    }
    print(f"\n{record['model']}, {record['rows']}, {record['steps']} steps of {record['batch_size']} rows")
    print(f"{'':<28}{'ours':>10}{'mlx-lm':>10}{'ratio':>8}")
    for key, name in names.items():
        ours, peer = record["ours"][key], record["mlx_lm"][key]
        print(f"{name:<28}{ours:>10.4g}{peer:>10.4g}{ours / peer:>8.2f}")
    for side, turns in record["turns"].items():
        losses = ", ".join(f"{turn['validation_loss']:.3f}" for turn in turns)
        print(f"validation loss of each turn, {side}: {losses}")
    reached = record["seconds_to_the_loss_of_mlx_lm"]
    when = (
        "not within these steps"
        if reached is None
        else f"after {reached:.0f} s, mlx-lm {record['seconds_of_mlx_lm']:.0f} s"
    )
    print(f"mlx-lm's last validation loss: {when}")
    share, rate = record["matmul_rate_share"], record["ours"]["matmul_gflops"]
    print(f"{'share of the matmul rate':<28}{share:>10.0%}   of {rate:.0f} GFLOP/s, measured on 2048 x 2048")


if __name__ == "__main__":
    command_line.run(main, VersusConfig)
