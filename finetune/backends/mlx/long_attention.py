"""Attention of long rows in blocks of queries, for training on a GPU.

MLX computes attention without its fused kernel where it needs gradients, and keeps the weights of every layer for them: memory
that grows with the square of a row's length. In blocks (``cpu_attention``) they are computed again in the backward pass, and
those of one block are in memory at a time.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from finetune.backends.mlx import cpu_attention

_ONE_PIECE = 1024  # tokens up to which the weights are kept
_NAME, _MODULES = "scaled_dot_product_attention", "mlx_lm.models."
_replaced: dict[str, Any] = {}  # module -> its own function


@contextmanager
def short_pieces() -> Iterator[None]:
    """For a proof with a few tokens: more than three are computed in blocks."""
    global _ONE_PIECE
    before, _ONE_PIECE = _ONE_PIECE, 3
    try:
        with cpu_attention.short_pieces():
            yield
    finally:
        _ONE_PIECE = before


def install() -> None:
    """Let the models of mlx_lm that are loaded compute long rows without a cache in blocks."""
    for name, module in list(sys.modules.items()):
        original = getattr(module, _NAME, None)
        if name.startswith(_MODULES) and original is not None and name not in _replaced:
            _replaced[name] = original
            setattr(module, _NAME, _in_blocks_if_long(original))


def remove() -> None:
    """Undo ``install``."""
    for name, original in _replaced.items():
        setattr(sys.modules[name], _NAME, original)
    _replaced.clear()


def _in_blocks_if_long(original: Callable[..., Any]) -> Callable[..., Any]:
    def attention(
        queries: Any, keys: Any, values: Any, cache: Any, scale: float, mask: Any, *more: Any, **named: Any
    ) -> Any:
        plain = cache is None and not more and all(each is None for each in named.values())
        if plain and queries.shape[-2] > _ONE_PIECE:
            return cpu_attention.attention(queries, keys, values, cache, scale, mask)
        return original(queries, keys, values, cache, scale, mask, *more, **named)

    return attention
