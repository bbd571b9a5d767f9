"""What the doctor estimates that training takes, against steps on layers of models of these shapes, of which nothing is loaded.

    python benchmarks/doctor_sizes.py [--shapes 0.4B,1B,3B] [--kinds "whole,LoRA,4-bit LoRA"]

The steps are those of ``train.py --dry-run``: on a few layers, from which those of all are concluded. "small" is no step of the
ladder: a Llama 512 wide. Quantised weights take minutes on a CPU.
"""

import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from finetune.commands.doctor import capacity  # noqa: E402
from finetune.commands.doctor.capacity import KINDS, LADDER, RANK, ROWS, TOKENS, Shape  # noqa: E402
from finetune.records import machine  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.config import TrainingConfig  # noqa: E402
from finetune.settings.fields import option  # noqa: E402

_SHAPES = {"small": Shape(512, 8, 8, 2, 64, 1536, 32000, True), **LADDER}


@dataclass(frozen=True)
class SizesConfig:
    shapes: str = option("small,0.4B,1B", "shapes of the ladder, or small, with commas between")
    kinds: str = option("whole,LoRA", "ways to train, with commas between")


def main(config: SizesConfig) -> None:
    from finetune.backends import mlx
    from finetune.methods import METHODS
    from finetune.models.encoder import Example
    from finetune.models.examples import as_rows

    device, draw = capacity.of_mlx(), random.Random(0)
    rows = [
        Example([draw.randrange(1000, 30000) for _ in range(TOKENS + 1)], [at > TOKENS / 2 for at in range(TOKENS + 1)])
        for _ in range(ROWS)
    ]
    print(f"{'':<22}{'peak in MB':>18}{'':>8}{'above what is held':>20}, layers alone")
    print(f"{'':<22}{'estimate':>9}{'measured':>9}")
    for size in config.shapes.split(","):
        for kind in config.kinds.split(","):
            how, shape = KINDS[kind], _SHAPES[size]
            settings = TrainingConfig(fine_tune_type=how.fine_tune_type, lora_rank=RANK, batch_size=ROWS)
            guess = capacity.footprint(device, shape, kind)
            with tempfile.TemporaryDirectory() as folder:
                shape.write(Path(folder), how.bits)
                free = machine.memory_bytes()[1]
                real = mlx.estimate_memory(Path(folder), METHODS["sft"], settings, as_rows(rows), as_rows(rows), free)
            assert guess.static_mb == real.static_mb
            layers = guess.layers_mb / real.layers_mb - 1
            above = (guess.peak_mb - guess.static_mb) / (real.peak_mb - real.static_mb) - 1
            print(
                f"{size:<6}{kind:<16}{guess.peak_mb:>9.0f}{real.peak_mb:>9.0f}"
                f"{guess.peak_mb / real.peak_mb - 1:>+8.1%}{above:>+12.1%}{layers:>+8.1%}",
                flush=True,
            )


if __name__ == "__main__":
    command_line.run(main, SizesConfig)
