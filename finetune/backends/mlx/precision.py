"""The precision of a network's weights."""

from typing import Any

from finetune.backends.mlx.runtime import mx

from mlx.utils import tree_flatten, tree_unflatten  # isort: skip  after the runtime

_OF_QUANTISED = ("scales", "biases")


def cast(network: Any, dtype: Any) -> None:
    """Give the floating weights of a network this type; they are converted when they are first used.

    In half precision the scales and biases of quantised weights keep theirs: in another one a group of weights would be other
    numbers, by up to 0.4 %.
    """

    def kept(name: str) -> bool:
        return dtype != mx.float32 and name.rpartition(".")[2] in _OF_QUANTISED

    arrays = dict(tree_flatten(network.parameters()))
    changed = {
        name: array.astype(dtype)
        for name, array in arrays.items()
        if mx.issubdtype(array.dtype, mx.floating) and not kept(name)
    }
    network.update(tree_unflatten(list(changed.items())))
