"""Add the adapters of a run into the weights of its model: one folder, with the tokenizer, for mlx-lm and transformers.

python -m finetune fuse checkpoints --output fused
"""

from dataclasses import dataclass
from pathlib import Path

from finetune.errors import shell_command
from finetune.export.fuse import fuse
from finetune.settings.fields import option
from finetune.terminal import format_bytes, show


@dataclass(frozen=True)
class Config:
    """The command line of ``python -m finetune fuse``."""

    source: Path = option(None, "folder of the adapter", positional=True)
    output: Path = option(None, "folder to write, new or empty", required=True)


def main(config: Config) -> None:
    """Fuse, and print how well the result agrees with the adapters and how to use it."""
    done = fuse(config.source, config.output)
    show(f"{config.output}: {format_bytes(done.size)} of weights, config.json and tokenizer")
    rounding = f", because the weights are {done.rounded}, as those of the model" if done.rounded else ""
    show(
        f"Read again, its logits differ from those of the adapters by {done.difference:.1e} standard deviations{rounding}; the"
        f" adapters change them by {done.effect:.2g}."
    )
    command = shell_command("python", "-m", "mlx_lm", "generate", "--model", config.output, "--prompt", "...")
    show(f"Use it: {command}")
