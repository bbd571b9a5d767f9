"""Where rows come from and whether they may be trained on."""

from finetune.rows.dataset import Dataset, prepare
from finetune.rows.kind import Checker, RowKind

__all__ = ["Checker", "Dataset", "RowKind", "prepare"]
