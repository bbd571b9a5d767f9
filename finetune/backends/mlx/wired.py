"""Memory that macOS may not compress while a GPU computes on it: a model near the limit would answer forty times slower."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from finetune.backends.mlx.runtime import ON_CPU, mx

_LIMIT = "max_recommended_working_set_size"  # of mx.device_info(), on Metal alone: what macOS leaves to a GPU


@contextmanager
def wired(more: float = 0) -> Iterator[Callable[[float], None]]:
    """Within the block, keep in memory what MLX holds and ``more`` bytes, as far as macOS recommends; as before afterwards.

    Not all that is recommended: what a small model does not need, other programs do. Yields a function that says anew how many
    bytes are needed. Nothing happens where memory cannot be wired.
    """
    most = None if ON_CPU else mx.device_info().get(_LIMIT)
    if not most:
        yield lambda needed: None
        return

    def keep(needed: float) -> None:
        mx.synchronize()  # the limit must not change while something is computed
        mx.set_wired_limit(min(int(most), int(needed)))

    before = mx.set_wired_limit(0)
    keep(mx.get_active_memory() + more)
    try:
        yield keep
    finally:
        mx.synchronize()
        mx.set_wired_limit(before)
