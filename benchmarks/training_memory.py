"""Peak memory of one training step above the weights, against the length of the rows and their number in a batch.

    python benchmarks/training_memory.py [--model gemma.gguf] [--grad-checkpoint] [--json FILE]

The rows are random tokens, and a fifth of each is learned, as in text-to-SQL. Three more lines show what the memory should
not depend on: rows that are learned whole, a dataset a hundred times larger, and a plain full-logits loss to compare with.
Each number comes from a process of its own.
"""

import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from finetune.records import files  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.config import TrainingConfig  # noqa: E402
from finetune.settings.fields import option  # noqa: E402

_LENGTHS, _BATCHES = (128, 256, 512, 1024, 2048), (1, 2, 4, 8)


@dataclass(frozen=True)
class MemoryConfig:
    model: str = option("builtin", "builtin, a model folder or a .gguf file")
    grad_checkpoint: bool = option(False, "compute each block again on the way back")
    most_tokens: int = option(4096, "leave out steps of more tokens than this", at_least=128)
    json: Path | None = option(None, "write the result to this file")
    child: str | None = option(None, "internal: length, batch size, learned tokens and rows of this process")


def main(config: MemoryConfig) -> None:
    if config.child:
        print(_peak_mb(config, *map(int, config.child.split())))
        return
    grid = {
        length: {batch: _measured(config, length, batch) for batch in _BATCHES if length * batch <= config.most_tokens}
        for length in _LENGTHS
    }
    title = f"{config.model}{', --grad-checkpoint' if config.grad_checkpoint else ''}"
    print(f"\n{title}: peak above the weights in MB")
    print(f"{'row tokens':<12}" + "".join(f"{f'batch {batch}':>10}" for batch in _BATCHES))
    for length, row in grid.items():
        print(f"{length:<12}" + "".join(f"{row[batch]:>10.0f}" if batch in row else f"{'-':>10}" for batch in _BATCHES))
    others = {
        "2048 tokens, 400 of them learned": _measured(config, 2048, 1),
        "2048 tokens, 2000 of them learned": _measured(config, 2048, 1, learned=2000),
        "512 tokens, batch 4, 40 rows": _measured(config, 512, 4, rows=40),
        "512 tokens, batch 4, 4000 rows": _measured(config, 512, 4, rows=4000),
    }
    for name, peak in others.items():
        print(f"{name:<36}{peak:>10.0f}")
    if config.json:
        files.write_json(config.json, {"title": title, "grid": grid, "others": others})


def _measured(config: MemoryConfig, length: int, batch: int, learned: int | None = None, rows: int = 0) -> float:
    child = f"{length} {batch} {learned or length // 5} {rows or batch}"
    command = [sys.executable, __file__, "--model", config.model, "--child", child]
    command += ["--grad-checkpoint"] * config.grad_checkpoint
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    print(f"{child}: {done.stdout.strip()} MB", file=sys.stderr, flush=True)
    return float(done.stdout)


def _peak_mb(config: MemoryConfig, length: int, batch: int, learned: int, rows: int) -> float:
    from finetune.backends import mlx
    from finetune.backends.mlx.runtime import mx
    from finetune.methods import METHODS, RowSource
    from finetune.models.encoder import ChatEncoder
    from finetune.models.examples import as_rows
    from finetune.models.find import find_model
    from finetune.models.loss_mask import Example

    folder = find_model(config.model, lambda line: None).path
    model = mlx.load(folder, ChatEncoder(folder))
    draw = random.Random(0)
    examples = [
        Example([draw.randrange(1000, 40000) for _ in range(length)], [at >= length - learned for at in range(length)])
        for _ in range(rows)
    ]
    settings = TrainingConfig(batch_size=batch, grad_checkpoint=config.grad_checkpoint)
    trainer: Any = mlx.Trainer(
        model, METHODS["sft"], RowSource(METHODS["sft"], as_rows(examples), settings), settings, 2, ""
    )
    weights = mx.get_active_memory()
    mx.reset_peak_memory()
    assert all(step.finite for step in trainer.run(lambda: False))
    return (mx.get_peak_memory() - weights) / 1e6


if __name__ == "__main__":
    command_line.run(main, MemoryConfig)
