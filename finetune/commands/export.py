"""Turn the adapters of a run into a model that other programs load, and prove that it computes the same.

python -m finetune export checkpoints --to model --output fused
python -m finetune export checkpoints --to gguf --type f16,q8_0 --output exported
"""

from dataclasses import dataclass
from pathlib import Path

from finetune.settings.fields import option
from finetune.terminal import say, show

TARGETS = {"model": "a folder for mlx-lm and transformers", "gguf": "files for llama.cpp, Ollama and LM Studio"}
CHECKS = {"quick": "by running it", "none": "not at all"}
CHOICES = {"targets": TARGETS, "checks": CHECKS}


@dataclass(frozen=True)
class Config:
    """The command line of ``python -m finetune export``."""

    source: Path = option(None, "folder of the adapters", positional=True)
    to: str = option(None, "what to write", choices="targets", required=True)
    output: Path = option(None, "folder to write, new or empty", required=True)
    type_: str | None = option(
        None,
        "types of the weights: f32, f16, bf16; for gguf also q8_0, q5_1, q5_0, q4_1, q4_0, several with commas (default:"
        " as the model; gguf: q8_0)",
        commas=True,
    )
    check: str = option("quick", "whether GGUF files are tried in llama.cpp", choices="checks")
    name: str | None = option(None, "name of the GGUF files (default: that of the model)")
    model: str | None = option(
        None, "base model, for adapters that FineTune did not make (default: the one that they name)"
    )


def main(config: Config) -> None:
    """Export, and print what was written, how well it agrees with the adapters, and how to use it."""
    from finetune.export import command

    show(*command.export(command.Wanted(**vars(config)), say))
