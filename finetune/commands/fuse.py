"""Add the adapters of a run into the weights of its model: another name of export --to model.

python -m finetune fuse checkpoints --output fused
"""

from dataclasses import dataclass
from pathlib import Path

from finetune.commands import export
from finetune.settings.fields import option


@dataclass(frozen=True)
class Config:
    """The command line of ``python -m finetune fuse``."""

    source: Path = option(None, "folder of the adapters", positional=True)
    output: Path = option(None, "folder to write, new or empty", required=True)
    model: str | None = option(
        None, "base model, for adapters that FineTune did not make (default: the one that they name)"
    )


def main(config: Config) -> None:
    """Export the model as a folder."""
    export.main(export.Config(source=config.source, to="model", output=config.output, model=config.model))
