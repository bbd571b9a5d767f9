"""Our engine on MLX and our PyTorch backend against TRL with PEFT as its documentation shows it: speed, memory, loss.

    python benchmarks/versus_trl.py --quick                       builtin model and rows, some minutes
    python benchmarks/versus_trl.py --model gemma.gguf --rows ROWS.jsonl --json result.json

All train the same tokens of the same rows (TRL's are checked against ours) with the same batch size, LoRA layers, AdamW,
weight decay, clipping and constant learning rate, from float32 weights on the CPU, from bfloat16 where the device computes in
it. TRL makes its own batches: it draws rows at random, ours have rows of like length together; its share of padding is shown.
"trl-checkpointing" is TRL by its default, which computes each block twice to save memory; "trl" does not, as ours do not.

Each runs in a process of its own, in turn, so that a drift of the machine meets all; the first steps of each are not counted.
OMP_WAIT_POLICY=PASSIVE, which our backend asks for, is set for all. Each turn has a seed of its own, for the first LoRA
weights and the order of the rows. The validation loss is measured by one and the same function, our PyTorch backend's, which
rounds the scale of Gemma's embeddings as its training did: plain Transformers does not, and so trains a slightly other model.
"""

import os
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.trl_trainers import TRAINERS  # noqa: E402
from benchmarks.turns import start  # noqa: E402
from benchmarks.versus_mlx_lm import prepare  # noqa: E402
from finetune.errors import UserError  # noqa: E402
from finetune.records import files, machine  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.fields import option  # noqa: E402

_PEER = "trl"  # what the ratios are to
_NAMES = {
    "examples_per_second": "examples/s",
    "tokens_per_second": "tokens/s, without padding",
    "completion_tokens_per_second": "completion tokens/s",
    "padding": "padding, share of the tokens",
    "peak_process_mb": "peak of the process, MB",
    "peak_device_mb": "peak on the GPU, MB",
    "validation_loss": "validation loss afterwards",
}


@dataclass(frozen=True)
class VersusConfig:
    model: str = option("builtin", "builtin, a model folder or a .gguf file")
    rows: str = option("builtin", "builtin, or a JSONL file with the fields of the sql task")
    sample_size: int = option(1200, "rows, over all splits", at_least=40)
    trainers: str = option(",".join(TRAINERS), "who is compared, with commas between")
    steps: int = option(60, "training steps of each turn", at_least=10)
    turns: int = option(2, "turns of each trainer", at_least=1)
    batch_size: int = option(4, "rows per step", at_least=1)
    learning_rate: float = option(2e-4, "the same for all, constant", above=0)
    quick: bool = option(False, "one turn of 15 steps each")
    json: Path | None = option(None, "write the result to this file")
    seed: int = option(0, "of the first turn; each turn adds one", at_least=0)


def main(config: VersusConfig) -> None:
    if config.quick:
        config = replace(config, steps=15, turns=1)
    trainers = config.trainers.split(",")
    if unknown := [name for name in trainers if name not in TRAINERS]:
        raise UserError(f"--trainers: there is no {unknown[0]!r} (choose from {', '.join(TRAINERS)})")
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in trainers}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(config.model, config.rows, config.sample_size, folder)
        for turn in range(config.turns):
            for trainer, results in found.items():
                results.append(start(config, trainer, folder, config.seed + turn))
    record = {
        "model": config.model,
        "rows": config.rows,
        "steps": config.steps,
        "batch_size": config.batch_size,
        "medians": {trainer: _medians(turns) for trainer, turns in found.items()},
        "turns": found,
        "machine": asdict(machine.describe()),
    }
    _print(record)
    if config.json:
        files.write_json(config.json, record)


def _medians(turns: list[dict[str, Any]]) -> dict[str, float]:
    return {key: statistics.median(turn[key] for turn in turns) for key in _NAMES if turns[0][key] is not None}


def _print(record: dict[str, Any]) -> None:
    """A column for each trainer, and beside each figure but a share its ratio to plain TRL's."""
    medians = record["medians"]
    print(f"\n{record['model']}, {record['rows']}, {record['steps']} steps of {record['batch_size']} rows")
    print(f"{'':<30}" + "".join(f"{trainer:>20}" for trainer in medians))
    for key, name in _NAMES.items():
        if any(key in figures for figures in medians.values()):
            print(f"{name:<30}" + "".join(_cell(medians, trainer, key) for trainer in medians))
    for trainer, turns in record["turns"].items():
        losses = ", ".join(f"{turn['validation_loss']:.3f}" for turn in turns)
        print(f"{trainer}: validation loss of each turn {losses}; {turns[0]['device']}")


def _cell(medians: dict[str, dict[str, float]], trainer: str, key: str) -> str:
    value, peer = medians[trainer].get(key), medians.get(_PEER, {}).get(key)
    if value is None:
        return f"{'-':>20}"
    ratio = f"{value / peer:.2f} x" if peer and trainer != _PEER and key != "padding" else ""
    return f"{value:>12.4g}{ratio:>8}"


if __name__ == "__main__":
    command_line.run(main, VersusConfig)
