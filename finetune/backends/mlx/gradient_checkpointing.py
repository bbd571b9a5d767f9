"""Gradient checkpointing: activations of a block are recomputed in the backward pass instead of being kept.

A block may be given more than hidden states: keys and values of an earlier one, the first block's values, an object that
collects what all blocks have made. MLX gives gradients to the inputs of a recomputed function alone, so all of it is an input.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

from finetune.backends.mlx.runtime import mx

import mlx.nn as nn  # isort: skip  after the runtime

_Built = Callable[[Sequence[Any]], Any]  # what a tree is with these arrays in the places of its own


def checkpoint_gradients(network: Any) -> None:
    """Keep only the inputs of each block, and recompute the block in the backward pass (arXiv 1604.06174): less memory, a third
    more time.
    """
    for layer in network.layers:
        kind = type(layer)
        if not hasattr(kind, "recomputes"):
            content = {"__call__": _recomputed(kind.__call__), "recomputes": kind}
            layer.__class__ = type(f"Recomputed{kind.__name__}", (kind,), content)


def keep_activations(network: Any) -> None:
    """Undo ``checkpoint_gradients``."""
    for layer in network.layers:
        layer.__class__ = getattr(type(layer), "recomputes", type(layer))


def _recomputed(plain: Callable[..., Any]) -> Callable[..., Any]:
    def call(layer: Any, *given: Any, **named: Any) -> Any:
        if not layer.training:
            return plain(layer, *given, **named)
        stream = mx.default_stream(mx.default_device())
        random = random_state() if samples(layer) else None
        inputs: list[Any] = []
        rebuilt = _split([layer, given, named], inputs)
        built: list[_Built] = []

        def run(*arrays: Any) -> list[Any]:
            _, given, named = rebuilt(arrays)
            with mx.stream(stream), random_from(random if built else None):  # both the same the second time
                result = plain(layer, *given, **named)
            outputs: list[Any] = []
            # what a block leaves in an object it was given is one of its outputs
            built.append(_split([result, given, named], outputs))
            return outputs

        outputs = mx.checkpoint(run)(*inputs)
        result, _, _ = built[0](outputs)
        return result

    return call


def samples(layer: Any) -> bool:
    """Whether a module, or one in it, has dropout."""
    return any(getattr(module, "_p_1", 1.0) < 1.0 for module in layer.modules())


def random_state() -> int:
    """The seed that begins where MLX's random numbers are now: a key is the two halves of a seed."""
    key: Any = mx.random.state
    high, low = map(int, key[0].tolist())
    return high << 32 | low


@contextmanager
def random_from(seed: int | None) -> Iterator[None]:
    """Begin with a seed and afterwards go on where the random numbers were, unless it is None."""
    before = None if seed is None else random_state()
    if seed is not None:
        mx.random.seed(seed)
    try:
        yield
    finally:
        if before is not None:
            mx.random.seed(before)


def _split(tree: Any, arrays: list[Any]) -> _Built:
    """Append the floating arrays of a tree to ``arrays``, those of objects in it and the trained ones of modules too."""
    if isinstance(tree, mx.array):
        if not mx.issubdtype(tree.dtype, mx.floating):
            return lambda new: tree
        # the same array twice among the outputs would lose one of its two gradients
        place = next((at for at, array in enumerate(arrays) if array is tree), len(arrays))
        if place == len(arrays):
            arrays.append(tree)
        return lambda new: new[place]
    if isinstance(tree, nn.Module):
        trained = _split(tree.trainable_parameters(), arrays)
        return lambda new: tree.update(trained(new))
    if isinstance(tree, dict):
        named = {key: _split(value, arrays) for key, value in tree.items()}
        return lambda new: {key: part(new) for key, part in named.items()}
    if isinstance(tree, (list, tuple)):
        parts = [_split(value, arrays) for value in tree]
        if hasattr(tree, "_fields"):  # a named tuple
            return lambda new: type(tree)(*(part(new) for part in parts))
        return lambda new: type(tree)(part(new) for part in parts)
    if hasattr(tree, "__dict__") and not isinstance(tree, (type, FunctionType, MethodType)):
        content = _split(vars(tree), arrays)

        def refilled(new: Sequence[Any]) -> Any:
            values = content(new)
            vars(tree).clear()
            vars(tree).update(values)
            return tree

        return refilled
    return lambda new: tree
