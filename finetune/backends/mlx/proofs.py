"""Fast paths prove themselves on the very model, before their first use: a few tokens get the same log-probabilities and the
same gradients as on the plain path, which is mlx_lm's own model with its own logits. What does not is not used, and that is
said.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from finetune.backends.mlx.gradient_checkpointing import random_from
from finetune.backends.mlx.runtime import Arrays, mx
from finetune.errors import first_line, is_out_of_memory

import mlx.nn as nn  # isort: skip  after the runtime
from mlx.utils import tree_flatten, tree_unflatten  # isort: skip

Logprobs = Callable[[Any, Any], Any]  # (network, parts of a batch) -> [learned]
_ADAPTED = 0.02  # size of the weights of LoRA's B in a proof: with the zeros that it begins with, A has no gradient
_SMALL = 1e-3  # of the largest gradient: below, differences are rounding
# what code raises that does not suit the model
UNFIT = (TypeError, ValueError, AttributeError, LookupError, RuntimeError)


@dataclass(frozen=True)
class FastPath:
    """A way of computing that can be switched. ``without`` is what its lack means for the run, as a clause."""

    name: str
    on: Callable[[], object]
    off: Callable[[], object]
    without: str


@dataclass(frozen=True)
class Computed:
    """What a path computes on a few tokens: the log-probabilities and, for each trained array, its gradient in short."""

    logprobs: Any
    gradients: Arrays  # the array itself, or the sums of its rows and of its columns: no second copy of a whole model
    norms: Arrays
    half: bool  # whether the model computes in half precision


def keep_proven(network: Any, logprobs: Logprobs, parts: Any, paths: Sequence[FastPath]) -> list[str]:
    """Leave those paths on that change nothing, and the others off; returns a sentence about each of these.

    ``logprobs`` and what it calls follow the switches. All paths are tried at once, and one by one only if that differs.
    """
    with adapted(network):
        for path in paths:
            path.off()
        plain = computed(network, logprobs, parts)
        sound = [plain.logprobs, *plain.norms.values()]
        if not all(mx.isfinite(array).all().item() for array in sound):  # the run will say so
            for path in paths:
                path.on()
            return []
        for path in paths:
            path.on()
        if difference(plain, lambda: computed(network, logprobs, parts)) is None:
            return []
        for path in paths:
            path.off()
        notes = []
        for path in paths:
            path.on()
            if problem := difference(plain, lambda: computed(network, logprobs, parts)):
                path.off()
                notes.append(f"{path.name} not used, because with this model {problem}; {path.without}")
        return notes


def computed(network: Any, logprobs: Logprobs, parts: Any) -> Computed:
    """With dropout as a fixed random state says; the random state stays as it is."""

    def loss(network: Any) -> tuple[Any, Any]:
        found = logprobs(network, parts)
        return (found * mx.cos(mx.arange(found.size))).sum(), found

    with random_from(0):
        (_, found), gradients = nn.value_and_grad(network, loss)(network)
    return in_short(network, found, dict(tree_flatten(gradients)))


def in_short(network: Any, found: Any, gradients: Arrays) -> Computed:
    """What was computed: log-probabilities, and the gradients by their names."""
    arrays = {name: array.astype(mx.float32) for name, array in gradients.items()}
    result = Computed(
        found,
        {name: _in_short(name, array) for name, array in arrays.items()},
        {name: mx.sqrt((array * array).sum()) for name, array in arrays.items()},
        in_half(network),
    )
    del gradients, arrays  # of a model that is trained whole they are as large as it is
    mx.eval(result.logprobs, result.gradients, result.norms)
    return result


def _in_short(name: str, array: Any) -> Any:
    if array.ndim < 2 or "lora_" in name:
        return array
    flat = array.reshape(-1, array.shape[-1])
    return mx.concatenate([flat.sum(axis=0), flat.sum(axis=1)])


def in_half(network: Any) -> bool:
    """Whether some weights of a network have 16 bits."""
    arrays = dict(tree_flatten(network.parameters())).values()
    return any(mx.issubdtype(array.dtype, mx.floating) and array.dtype.size == 2 for array in arrays)


def has_float16(network: Any) -> bool:
    """Whether a network computes in float16, whose largest number is 65,504; scales of quantised weights may always be."""
    return any(
        array.dtype == mx.float16 and not name.endswith((".scales", ".biases"))
        for name, array in dict(tree_flatten(network.parameters())).items()
    )


def largest(array: Any) -> float:
    """The largest absolute value."""
    found: Any = mx.abs(array).max().item()
    return float(found)


def difference(plain: Computed, fast: Callable[[], Computed]) -> str | None:
    """How what ``fast`` computes differs, as a clause; None if it is the same but for rounding."""
    try:
        found = fast()
    except UNFIT as error:
        if is_out_of_memory(error):
            raise
        return f"it fails ({first_line(error)})"
    rounding = 0.1 if plain.half else 5e-3
    apart = largest(found.logprobs - plain.logprobs)
    if not apart <= rounding * max(1.0, largest(plain.logprobs)):
        return f"log-probabilities differ by {apart:.2g}"
    most = max(map(largest, plain.norms.values()), default=0.0)
    worst = 0.0
    apart_in = {name: mx.linalg.norm(found.gradients[name] - array) for name, array in plain.gradients.items()}
    mx.eval(apart_in)
    for name, norm in plain.norms.items():
        scale, wrong = max(largest(norm), _SMALL * most), largest(apart_in[name])
        if not wrong <= rounding * scale:
            worst = max(worst, wrong / scale) if scale else float("inf")
    return f"gradients differ by {worst:.1%}" if worst else None


@contextmanager
def adapted(network: Any) -> Iterator[None]:
    """Adapters that do something, for a while."""
    before = dict(tree_flatten(network.trainable_parameters()))
    before = {name: array for name, array in before.items() if name.rsplit(".", 1)[-1] == "lora_b"}
    keys = mx.random.split(mx.random.key(0), max(1, len(before)))
    some = {
        name: (_ADAPTED * mx.random.normal(array.shape, key=key)).astype(array.dtype)
        for key, (name, array) in zip(keys, before.items(), strict=False)
    }
    network.update(tree_unflatten(list(some.items())) if some else {})
    try:
        yield
    finally:
        network.update(tree_unflatten(list(before.items())) if before else {})
