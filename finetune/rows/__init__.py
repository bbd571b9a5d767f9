"""Where rows come from and whether they may be trained on."""

from finetune.rows.dataset import Dataset, prepare
from finetune.rows.kind import RowKind

__all__ = ["Dataset", "RowKind", "prepare"]
