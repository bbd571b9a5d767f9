"""The cell of ``--backend torch``, in a process without MLX, as the scripts have it."""

from collections.abc import Callable
from pathlib import Path

import train
from finetune.settings.config import TrainingConfig
from model_matrix.cells import CannotBuildError, Cell
from model_matrix.runs import configured, flags_of, judge, quiet


class Case:
    """What transformers saved in the phase before."""

    def __init__(self, kind: str, folder: Path, data: Path):
        self.kind, self.folder, self.data = kind, folder, data

    @property
    def model(self) -> Path:
        if not (self.folder / "saved" / "config.json").exists():
            raise CannotBuildError("transformers saved none")
        return self.folder / "saved"

    def on_torch(self) -> Cell:
        adapters = self.folder / "torch run"
        flags = flags_of(self.model, self.data, adapters, backend="torch", lora_dropout=0.0)
        with quiet():
            train.main(configured(TrainingConfig, **flags))
        return judge(adapters, self.folder / "torch results")


COLUMNS: dict[str, Callable[[Case], Cell]] = {"torch": Case.on_torch}
