"""Attention from few operations: short rows in one piece, long rows in blocks of queries. For the CPU, and in training for long
rows on a GPU (``long_attention``): weights are float32 there too, and the products in the precision of the values.

The weights of a row are as many as the square of its length. In one piece they are kept for the backward pass; in blocks they
are computed again there, so that the memory of a row grows with its length alone (arXiv 2205.14135, 2307.08691).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from finetune.backends.mlx.cpu_math import LN2, LOG2E, exp2
from finetune.backends.mlx.runtime import mx, with_gradient

_ONE_PIECE = 256  # tokens up to which computing the weights again costs more than keeping them
_BLOCK = 128  # queries
# 2**_LOWEST is the least weight, that of a masked key too: nothing beside the weights, whose largest is 1, but far from the
# denormals (below 2**-126), also after it has met a second one in the gradients. On an Intel processor that is a hundred times
# as slow with denormals they took two thirds of a training step.
_LOWEST = -50.0


@contextmanager
def short_pieces() -> Iterator[None]:
    """For a proof with a few tokens: more than three are computed in blocks."""
    global _ONE_PIECE, _BLOCK
    before = _ONE_PIECE, _BLOCK
    _ONE_PIECE, _BLOCK = 3, 2
    try:
        yield
    finally:
        _ONE_PIECE, _BLOCK = before


def attention(queries: Any, keys: Any, values: Any, cache: Any, scale: float, mask: Any, sinks: Any = None) -> Any:
    """Scaled dot-product attention with grouped keys, as mlx_lm's models call it.

    queries [rows, heads, length, size]; keys and values [rows, key heads, context, size]; mask "causal", None, or an array
    (boolean, or added to the scores) that broadcasts against [rows, heads, length, context].
    """
    rows, heads, length, size = queries.shape
    key_heads, context = keys.shape[1], keys.shape[2]
    causal = isinstance(mask, str)
    if mask is None:
        mask = mx.zeros((1, 1))
    elif causal:
        mask = mx.arange(context - length, context)[:, None] >= mx.arange(context)
    mask = mx.where(mask, 0.0, -1e30) if mask.dtype == mx.bool_ else mask * LOG2E
    if mask.ndim > 2:
        groups = (1, 1) if mask.shape[-3] == 1 else (key_heads, heads // key_heads)
        mask = mask.reshape(*mask.shape[:-3], *groups, *mask.shape[-2:])
    grouped = (queries * (scale * LOG2E)).reshape(rows, key_heads, heads // key_heads, length, size)
    kind = _in_one_piece if length <= _ONE_PIECE else _in_blocks_causal if causal else _in_blocks
    outputs: Any = kind(grouped, keys, values, mask)
    return outputs[0].reshape(queries.shape)


def _scores(queries: Any, keys: Any, mask: Any) -> Any:
    """[rows, key heads, group, length, context], in base 2, for queries [rows, key heads, group, length, size]."""
    rows, key_heads, group, length, size = queries.shape
    scores = queries.reshape(rows, key_heads, group * length, size) @ keys.swapaxes(-1, -2)
    return scores.reshape(rows, key_heads, group, length, -1) + mask


def _mixed(weights: Any, values: Any) -> Any:
    """weights [rows, key heads, group, length, context] @ values [rows, key heads, context, size]."""
    return (_flat(weights).astype(values.dtype) @ values).reshape(*weights.shape[:-1], -1)


def _flat(x: Any) -> Any:
    """[rows, key heads, group, length, n] -> [rows, key heads, group * length, n]."""
    rows, key_heads, group, length, n = x.shape
    return x.reshape(rows, key_heads, group * length, n)


def _one_piece_backward(primals: Any, cotangents: Any, outputs: Any) -> tuple[Any, Any, Any, Any]:
    """FlashAttention's backward pass (arXiv 2205.14135, appendix B.2), with the weights kept instead of computed again."""
    (queries, keys, values, mask), (mixed, weights, scale) = primals, outputs
    return *_gradients(queries, keys, values, weights, mixed, cotangents[0], scale), mx.zeros_like(mask)


def _gradients(
    queries: Any, keys: Any, values: Any, weights: Any, mixed: Any, d: Any, scale: Any = None
) -> tuple[Any, Any, Any]:
    """Of queries, keys and values, from the weights and the gradient ``d`` of ``mixed``; weights * scale sum to one."""
    d = d if scale is None else d * scale
    along = (d.astype(mx.float32) * mixed).sum(axis=-1, keepdims=True)
    d_weights = (_flat(d) @ values.swapaxes(-1, -2)).reshape(weights.shape)
    d_scores = _flat((d_weights - along) * weights).astype(keys.dtype)
    return (
        ((d_scores @ keys) * LN2).reshape(queries.shape),
        (d_scores.swapaxes(-1, -2) @ _flat(queries)) * LN2,
        _flat(weights).astype(values.dtype).swapaxes(-1, -2) @ _flat(d),
    )


@with_gradient(_one_piece_backward)
def _in_one_piece(queries: Any, keys: Any, values: Any, mask: Any) -> tuple[Any, Any, Any]:
    """Attention in base 2, with a mask that is added to the scores; also the unscaled weights and the scale of each row.

    queries [rows, key heads, group, length, size], times log2(e); keys, values [rows, key heads, context, size]; mask
    broadcasts against [rows, key heads, group, length, context].
    """
    scores = _scores(queries, keys, mask)
    weights = exp2(scores - scores.max(axis=-1, keepdims=True), _LOWEST)
    scale = 1.0 / weights.sum(axis=-1, keepdims=True)
    return _mixed(weights, values) * scale, weights, scale  # the mixed values are fewer than the weights


def _blocks(queries: Any, keys: Any, mask: Any, *, causal: bool) -> Iterator[tuple[slice, int, Any]]:
    """The queries of each block, the end of the keys that they see, and their part of the mask."""
    length, context = queries.shape[-2], keys.shape[-2]
    mask = mx.broadcast_to(mask, (*mask.shape[:-2], length, context))
    for at in range(0, length, _BLOCK):
        end = min(at + _BLOCK, length)
        seen = context - length + end if causal else context
        yield slice(at, end), seen, mask[..., at:end, :seen]


def _blocks_backward(primals: Any, cotangents: Any, outputs: Any, *, causal: bool) -> tuple[Any, Any, Any, Any]:
    (queries, keys, values, mask), (mixed, log_total), d = primals, outputs, cotangents[0]
    d_queries, d_keys, d_values = [], mx.zeros(keys.shape), mx.zeros(values.shape)  # float32, for sums
    for block, seen, part in _blocks(queries, keys, mask, causal=causal):
        # one block after the other, or the weights of all would be in memory together
        q, before = mx.depends([queries[..., block, :], d[..., block, :]], [d_keys, d_values])
        k, v = keys[..., :seen, :], values[..., :seen, :]
        weights = exp2(_scores(q, k, part) - log_total[..., block, :], _LOWEST)
        d_q, d_k, d_v = _gradients(q, k, v, weights, mixed[..., block, :], before)
        d_queries.append(d_q)
        rest = [(0, 0), (0, 0), (0, keys.shape[-2] - seen), (0, 0)]
        d_keys, d_values = d_keys + mx.pad(d_k, rest), d_values + mx.pad(d_v, rest)
    d_keys, d_values = d_keys.astype(keys.dtype), d_values.astype(values.dtype)
    return mx.concatenate(d_queries, axis=-2), d_keys, d_values, mx.zeros_like(mask)


def _blockwise(*, causal: bool) -> Callable[..., Any]:
    @with_gradient(partial(_blocks_backward, causal=causal))
    def run(queries: Any, keys: Any, values: Any, mask: Any) -> tuple[Any, Any]:
        """As ``_in_one_piece``; also the logarithm [rows, key heads, group, length, 1] of the weights' sums."""
        mixed: list[Any] = []
        log_total: list[Any] = []
        for block, seen, part in _blocks(queries, keys, mask, causal=causal):
            q = queries[..., block, :]
            q = mx.depends(q, mixed[-1]) if mixed else q
            scores = _scores(q, keys[..., :seen, :], part)
            highest = scores.max(axis=-1, keepdims=True)
            weights = exp2(scores - highest, _LOWEST)
            total = weights.sum(axis=-1, keepdims=True)
            mixed.append((_mixed(weights, values[..., :seen, :]) / total).astype(values.dtype))
            log_total.append(highest + mx.log2(total))
        return mx.concatenate(mixed, axis=-2), mx.concatenate(log_total, axis=-2)

    return run


_in_blocks, _in_blocks_causal = _blockwise(causal=False), _blockwise(causal=True)
