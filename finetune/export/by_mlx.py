"""Fusing by mlx-lm itself, for models whose files name or order their weights otherwise than mlx-lm does: GPT-2, experts.

The whole network is in memory, in float32.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.export.source import Source
from finetune.records.plain_path import plain_path


def write(source: Source, folder: Path) -> tuple[Mapping[str, Mapping[str, object]], int | None]:
    """Write the weights of the fused model. Returns the values of config.json that mlx-lm got otherwise than they stand
    there, by the part of config.json, and the rows of the embeddings if they grew.

    OSError if the disk is full.
    """
    from finetune.backends.mlx import loading
    from finetune.export.reference import reference

    from mlx.utils import tree_flatten, tree_unflatten  # isort: skip  after the runtime
    from mlx_lm.utils import save_model  # isort: skip

    plain = loading.load(source.model, quiet=True)
    kinds = {name: array.dtype for name, array in dict(tree_flatten(plain.network.parameters())).items()}
    tuned = reference(source)
    network = tuned.fused()
    arrays = dict(tree_flatten(network.parameters()))
    grown = [len(array) for name, array in arrays.items() if name in kinds and "embed" in name]
    stored = [(name, array.astype(_kind(name, kinds, array))) for name, array in arrays.items()]
    network.update(tree_unflatten(stored))
    with plain_path(folder) as written:
        try:
            save_model(written, network)
        except RuntimeError as error:  # how MLX says that the disk is full
            raise OSError(str(error)) from None
    return plain.lifted, max(grown, default=None)


def _kind(name: str, kinds: Mapping[str, Any], array: Any) -> Any:
    """The type of a weight; of one that was quantised, that of its scales."""
    scales = kinds.get(f"{name.removesuffix('.weight')}.scales")
    return scales or kinds.get(name, array.dtype)
