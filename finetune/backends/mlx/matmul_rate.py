"""How fast this machine multiplies matrices: most of a training step is that."""

import math
import time
from typing import Any

from finetune.backends.mlx.runtime import DTYPE, ON_CPU, mx, streams

__all__ = ["matmul_rate", "matmul_rate_of"]


def matmul_rate(size: int | None = None, seconds: float = 1.0) -> float:
    """GFLOP/s of the product of two square matrices in ``DTYPE``: the best of those that fit into ``seconds``, at least two.

    ``size``: rows of a matrix; None takes 1024 on the CPU, and 4096 on a GPU, where smaller ones measure how fast it starts.
    """
    return matmul_rate_of(DTYPE, size or (1024 if ON_CPU else 4096), seconds)


def matmul_rate_of(dtype: Any, size: int, seconds: float) -> float:
    """GFLOP/s of the product of two square matrices of this type."""
    streams(1)  # one product has all cores
    a = mx.random.normal((size, size), key=mx.random.key(0)).astype(dtype)
    mx.eval(a @ a)  # the first one starts the threads
    best, end, count = math.inf, time.perf_counter() + seconds, 0
    while count < 2 or time.perf_counter() < end:
        started = time.perf_counter()
        mx.eval(a @ a)
        best = min(best, time.perf_counter() - started)
        count += 1
    return 2 * size**3 / best / 1e9
