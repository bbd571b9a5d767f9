"""What every trainer of a comparison is given: the same rows, weights, LoRA layers and settings, in a process of its own."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from finetune.records import files  # noqa: E402
from finetune.settings.config import TrainingConfig  # noqa: E402
from finetune.settings.fields import option  # noqa: E402

WARM = 3  # steps at the start of a turn that are not counted
_MOST_TOKENS = 1024  # of a row
LORA: dict[str, Any] = {"rank": 16, "scale": 2.0, "dropout": 0.0}


@dataclass(frozen=True)
class TurnConfig:
    trainer: str = option("ours", "who trains", choices="trainers")
    folder: Path = option(Path(), "where the rows and the float32 weights are")
    steps: int = option(60, "training steps", at_least=10)
    batch_size: int = option(4, "rows per step", at_least=1)
    learning_rate: float = option(2e-4, "constant", above=0)
    seed: int = option(0, "for the first LoRA weights and the order of the rows", at_least=0)
    peer_bias_correction: bool = option(True, "AdamW of mlx-lm with its bias correction, as ours has")
    peer_compile: bool = option(False, "let mlx-lm compile its step (on the CPU this needs g++)")


def start(config: Any, trainer: str, folder: Path, seed: int, *flags: str) -> dict[str, Any]:
    """What a turn of ``trainer`` reached: ``config`` has steps, batch_size and learning_rate."""
    command = [sys.executable, str(ROOT / "benchmarks" / "one_trainer.py")]
    command += ["--trainer", trainer, "--folder", str(folder)]
    command += ["--steps", str(config.steps), "--batch-size", str(config.batch_size), "--seed", str(seed)]
    command += ["--learning-rate", str(config.learning_rate), *flags]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"{trainer}: {result['examples_per_second']:.2f} examples/s, {time.monotonic() - started:.0f} s", flush=True)
    return dict(result)


def settings(config: TurnConfig) -> TrainingConfig:
    return TrainingConfig(
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        schedule="constant",
        warmup=0,
        lora_rank=LORA["rank"],
        lora_scale=LORA["scale"],
        seed=config.seed,
    )


def examples(folder: Path) -> tuple[Any, list[Any], list[Any]]:
    """The encoder of the folder's model, and its training and validation rows as the model sees them."""
    from finetune.models.encoder import ChatEncoder

    encoder = ChatEncoder(folder / "model")
    return encoder, encoded(folder, "train", encoder)[0], encoded(folder, "valid", encoder)[0]


def encoded(folder: Path, split: str, encoder: Any) -> tuple[list[Any], list[list[dict[str, str]]]]:
    """The rows of a split as the model sees them, but for those that are too long, and their messages."""
    from finetune.models.examples import encode_rows, examples_of

    path = folder / "data" / f"{split}.jsonl"
    rows = files.read_jsonl(path)
    found, _ = encode_rows(encoder, rows, path, _MOST_TOKENS)
    return examples_of(found), [row.fields["messages"] for row in found]
