"""Fast fp32 replacements, for the CPU only, of the functions on which MLX spends half of a training step there.

On the CPU, MLX adds and multiplies with SIMD but takes exp one value at a time from libm. Here exp is a polynomial made of
multiplications and additions (relative error below 2e-7, from Cephes' expf: range reduction by ln 2 in two parts), and
SwiGLU, GELU and the softmax of the attention are built on it, with their own gradients. ``install()`` checks each against
the original before it takes its place.
"""

import math
from collections.abc import Callable
from typing import Any

from finetune.backends.mlx.runtime import ON_CPU, mx

_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693359375, -2.12194440e-4
_POLYNOMIAL = (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_ROUND = 12582912.0  # 1.5 * 2**23: added to a small float, it leaves the nearest whole number in the low bits


def exp(x: Any) -> Any:
    """e**x elementwise for x <= 88; on the CPU float32 only, and below -87 it stays at e**-87 (1e-38)."""
    if not ON_CPU:
        return mx.exp(x)
    x = mx.maximum(x, -87.0)
    shifted = x * _LOG2E + _ROUND
    n = shifted - _ROUND
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = r * 1.9875691500e-4 + _POLYNOMIAL[0]
    for coefficient in _POLYNOMIAL[1:]:
        p = p * r + coefficient
    p = p * (r * r) + r + 1.0
    return (p.view(mx.int32) + (shifted.view(mx.int32) << 23)).view(mx.float32)


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + exp(mx.minimum(-x, 87.0)))


@mx.custom_function
def _swiglu(gate: Any, up: Any) -> tuple[Any, Any]:
    s = sigmoid(gate)
    return gate * s * up, s


@_swiglu.vjp
def _swiglu_vjp(primals: Any, cotangents: Any, outputs: Any) -> tuple[Any, Any]:
    (gate, up), s, d = primals, outputs[1], cotangents[0]
    ds = d * s
    return ds * up * (1.0 + gate * (1.0 - s)), ds * gate


def swiglu(gate: Any, up: Any) -> Any:
    """silu(gate) * up."""
    outputs: Any = _swiglu(gate, up)
    return outputs[0]


_GELU_SLOPE, _GELU_CUBE = math.sqrt(8 / math.pi), 0.044715


@mx.custom_function
def _gelu_approx(x: Any) -> tuple[Any, Any]:
    s = sigmoid(_GELU_SLOPE * x * (1.0 + _GELU_CUBE * (x * x)))  # (1 + tanh(z)) / 2 = sigmoid(2 z)
    return x * s, s


@_gelu_approx.vjp
def _gelu_approx_vjp(x: Any, cotangents: Any, outputs: Any) -> Any:
    s = outputs[1]
    slope = _GELU_SLOPE * (1.0 + (3 * _GELU_CUBE) * (x * x))
    return cotangents[0] * (s + x * s * (1.0 - s) * slope)


def gelu_approx(x: Any) -> Any:
    """GELU with the tanh approximation (arXiv 1606.08415, section 2)."""
    outputs: Any = _gelu_approx(x)
    return outputs[0]


@mx.custom_function
def softmax(scores: Any) -> Any:
    """Over the last axis."""
    e = exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@softmax.vjp
def _softmax_vjp(scores: Any, d: Any, p: Any) -> Any:
    dp = d * p
    return dp - p * dp.sum(axis=-1, keepdims=True)


def attention(queries: Any, keys: Any, values: Any, cache: Any, scale: float, mask: Any, sinks: Any = None) -> Any:
    """Scaled dot-product attention with grouped keys, as mlx_lm's models call it.

    queries [rows, heads, length, size]; keys and values [rows, key heads, context, size]; mask "causal", None, or an array
    (boolean, or added to the scores) that broadcasts against [rows, heads, length, context].
    """
    rows, heads, length, size = queries.shape
    key_heads, context = keys.shape[1], keys.shape[2]
    grouped = (queries * scale).reshape(rows, key_heads, heads // key_heads * length, size)
    scores = (grouped @ keys.swapaxes(-1, -2)).reshape(rows, heads, length, context)
    if isinstance(mask, str):
        mask = mx.arange(context - length, context)[:, None] >= mx.arange(context)
    if mask is not None:
        scores = mx.where(mask, scores, -1e30) if mask.dtype == mx.bool_ else scores + mask
    weights: Any = softmax(scores)
    mixed = weights.reshape(rows, key_heads, heads // key_heads * length, context) @ values
    return mixed.reshape(rows, heads, length, size)


def install() -> None:
    """Put the replacements into mlx_lm's Llama and Gemma 3 models, on the CPU only and only where they prove equal."""
    if not ON_CPU:
        return
    import mlx.nn as nn
    from mlx_lm.models import activations, base, gemma3_text, llama

    x = mx.random.normal((2, 4, 8, 16), key=mx.random.key(0)) * 4
    y = mx.random.normal((2, 4, 8, 16), key=mx.random.key(1))
    if _equal(swiglu, activations.swiglu, x, y):
        llama.swiglu = swiglu
    if _equal(gelu_approx, nn.gelu_approx, x):
        gemma3_text.nn.gelu_approx = gelu_approx

    def with_mask(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda q, k: f(q, k[:, :2], k[:, 2:], cache=None, scale=0.25, mask="causal")

    if _equal(with_mask(attention), with_mask(base.scaled_dot_product_attention), x, y):
        llama.scaled_dot_product_attention = attention
        gemma3_text.scaled_dot_product_attention = attention


def _equal(ours: Callable[..., Any], original: Callable[..., Any], *inputs: Any) -> bool:
    """Values and gradients agree to float32 tolerance."""
    for f, g in (
        (ours, original),
        *((_gradient(ours, i), _gradient(original, i)) for i in range(len(inputs))),
    ):
        if not mx.allclose(f(*inputs), g(*inputs), rtol=1e-4, atol=1e-5).item():
            return False
    return True


def _gradient(f: Callable[..., Any], argument: int) -> Callable[..., Any]:
    return mx.grad(lambda *inputs: (f(*inputs) ** 2).sum(), argnums=argument)
