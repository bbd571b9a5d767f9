"""Fast fp32 replacements, for the CPU only, of the functions on which MLX spends half of a training step there.

On the CPU, MLX adds and multiplies with SIMD but takes exp one value at a time from libm, and each operation costs some
microseconds of its own. Here 2**x is a few multiplications, additions and a division, and SwiGLU, GELU, attention, rotary
positions and LoRA are built to need few operations, with their own gradients. ``install()`` checks each against the
original before it takes its place.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from finetune.backends.mlx.runtime import ON_CPU, mx, with_gradient

LOG2E, LN2 = math.log2(math.e), math.log(2)
_ROUND = 12582912.0  # 1.5 * 2**23: added to a small float, it leaves the nearest whole number in the low bits


def _pow2(x: Any) -> tuple[Any, Any]:
    """2**x for -126 <= x <= 126, as numerator and denominator, elementwise.

    x = n + r with a whole n and abs(r) <= 1/2. For the rest, e**z = (c + z) / (c - z) with c = z * coth(z / 2), of which
    the series up to z**4 is enough: what is left out changes the result by 2e-8. The power 2**n is added to the exponent.
    """
    shifted = x + _ROUND
    r = x - (shifted - _ROUND)
    y = r * r
    c = (y * (-(LN2**3) / 360) + LN2 / 6) * y + 2 / LN2
    return ((c + r).view(mx.int32) + (shifted.view(mx.int32) << 23)).view(mx.float32), c - r


def exp2(x: Any, lowest: float = -126.0) -> Any:
    """2**x elementwise for x <= 126; below ``lowest`` it stays at 2**lowest. float32 only."""
    numerator, denominator = _pow2(mx.maximum(x, lowest))
    return numerator / denominator


def exp(x: Any) -> Any:
    """e**x elementwise for x <= 87; on the CPU float32 only, and below -87 it stays at 1e-38."""
    return exp2(x * LOG2E) if ON_CPU else mx.exp(x)


def sigmoid(x: Any) -> Any:
    numerator, denominator = _pow2(mx.clip(x * -LOG2E, -125.0, 125.0))
    return denominator / (denominator + numerator)


def _swiglu_backward(primals: Any, cotangents: Any, outputs: Any) -> tuple[Any, Any]:
    (_, up), (_, s, silu), d = primals, outputs, cotangents[0]
    return d * up * (s + silu * (1.0 - s)), d * silu


@with_gradient(_swiglu_backward)
def _swiglu(gate: Any, up: Any) -> tuple[Any, Any, Any]:
    s = sigmoid(gate)
    silu = gate * s
    return silu * up, s, silu


def swiglu(gate: Any, up: Any) -> Any:
    """silu(gate) * up."""
    outputs: Any = _swiglu(gate, up)
    return outputs[0]


_GELU_SLOPE, _GELU_CUBE = math.sqrt(8 / math.pi), 0.044715


def _gelu_approx_backward(x: Any, cotangents: Any, outputs: Any) -> Any:
    gelu, s = outputs
    slope = _GELU_SLOPE + (3 * _GELU_SLOPE * _GELU_CUBE) * (x * x)
    return cotangents[0] * (s + gelu * (1.0 - s) * slope)


@with_gradient(_gelu_approx_backward)
def _gelu_approx(x: Any) -> tuple[Any, Any]:
    s = sigmoid(x * (_GELU_SLOPE + (_GELU_SLOPE * _GELU_CUBE) * (x * x)))  # (1 + tanh(z)) / 2 = sigmoid(2 z)
    return x * s, s


def gelu_approx(x: Any) -> Any:
    """GELU with the tanh approximation (arXiv 1606.08415, section 2)."""
    outputs: Any = _gelu_approx(x)
    return outputs[0]


@lru_cache(maxsize=16)
def _angles(length: int, size: int, base: float, scale: float) -> tuple[Any, Any]:
    """cos and sin [length, size] of the rotary positions, the sines of the first half negative."""
    half = size // 2
    frequencies = mx.exp(mx.arange(half) * (-math.log(base) / half))
    angles = (mx.arange(length) * scale)[:, None] * frequencies
    cos, sin = mx.cos(angles), mx.sin(angles)
    cos, sin = mx.concatenate([cos, cos], axis=-1), mx.concatenate([-sin, sin], axis=-1)
    mx.eval(cos, sin)  # other streams will read them
    return cos, sin


def _swap_halves(x: Any) -> Any:
    half = x.shape[-1] // 2
    return mx.concatenate([x[..., half:], x[..., :half]], axis=-1)


def _rotate_backward(primals: Any, d: Any, _: Any) -> tuple[Any, Any, Any]:
    _, cos, sin = primals
    return d * cos - _swap_halves(d) * sin, mx.zeros_like(cos), mx.zeros_like(sin)


@with_gradient(_rotate_backward)
def _rotate(x: Any, cos: Any, sin: Any) -> Any:
    x = mx.contiguous(x)  # the models pass a transposed view; attention would copy it anyway
    return x * cos + _swap_halves(x) * sin


def rope(self: Any, x: Any, offset: Any = 0) -> Any:
    """``nn.RoPE.__call__`` for x [..., length, size] (arXiv 2104.09864); with an offset, MLX's own."""
    if self.traditional or self.dims != x.shape[-1] or not isinstance(offset, int) or offset or x.shape[-2] == 1:
        return mx.fast.rope(x, self.dims, traditional=self.traditional, base=self.base, scale=self.scale, offset=offset)
    return _rotate(x, *_angles(x.shape[-2], self.dims, self.base, self.scale))


def _lora_backward(primals: Any, cotangents: Any, outputs: Any) -> tuple[Any, Any, Any, Any]:
    (x, weight, a, b), low, d = primals, outputs[1], cotangents[0]
    d_low = d @ b.T
    return d @ weight + d_low @ a.T, mx.zeros_like(weight), x.T @ d_low, low.T @ d


@with_gradient(_lora_backward)
def _lora(x: Any, weight: Any, a: Any, b: Any) -> tuple[Any, Any]:
    low = x @ a
    return x @ weight.T + low @ b, low


def lora(self: Any, x: Any) -> Any:
    """``LoRALinear.__call__``: x @ W + scale * dropout(x) @ A @ B, with the scale on B and few operations."""
    linear, dropout = self.linear, self.dropout
    if type(linear).__name__ != "Linear" or "bias" in linear or (dropout.training and dropout._p_1 < 1.0):
        y = linear(x)
        return y + (self.scale * ((dropout(x) @ self.lora_a) @ self.lora_b)).astype(x.dtype)
    outputs: Any = _lora(x.reshape(-1, x.shape[-1]), linear.weight, self.lora_a, self.scale * self.lora_b)
    return outputs[0].reshape(*x.shape[:-1], -1)


_REPLACED: dict[tuple[Any, str], tuple[Any, Any]] = {}  # (owner, name) -> original and ours


def install() -> None:
    """Put the replacements into mlx_lm's Llama and Gemma 3 models, on the CPU only and only if they prove equal."""
    if not ON_CPU:
        return
    if not _REPLACED:
        _REPLACED.update(_proven())
    put_back()


def put_back() -> None:
    """Let the replacements that proved equal take their places."""
    for (owner, name), (_, ours) in _REPLACED.items():
        setattr(owner, name, ours)


def remove() -> None:
    """Give the originals their places again."""
    for (owner, name), (original, _) in _REPLACED.items():
        setattr(owner, name, original)


def replaced() -> bool:
    """Whether functions of MLX and mlx_lm are replaced now."""
    return any(getattr(owner, name) is ours for (owner, name), (_, ours) in _REPLACED.items())


def _proven() -> dict[tuple[Any, str], tuple[Any, Any]]:
    import mlx.nn as nn
    from mlx_lm.models import activations, base, gemma3_text, llama
    from mlx_lm.tuner.lora import LoRALinear

    from finetune.backends.mlx.cpu_attention import attention

    places: list[tuple[Any, str, Any]] = []
    x = mx.random.normal((2, 4, 8, 16), key=mx.random.key(0)) * 4
    y = mx.random.normal((2, 4, 8, 16), key=mx.random.key(1))
    if _equal(swiglu, activations.swiglu, x, y):
        places.append((llama, "swiglu", swiglu))
    if _equal(gelu_approx, nn.gelu_approx, x):
        places.append((gemma3_text.nn, "gelu_approx", gelu_approx))

    def with_mask(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda q, k: f(q, k[:, :2], k[:, 2:], cache=None, scale=0.25, mask="causal")

    if _equal(with_mask(attention), with_mask(base.scaled_dot_product_attention), x, y):
        places += [(module, "scaled_dot_product_attention", attention) for module in (llama, gemma3_text)]
    if _equal(partial(rope, nn.RoPE(16)), nn.RoPE(16), x):
        places.append((nn.RoPE, "__call__", rope))
    layer = LoRALinear.from_base(nn.Linear(16, 8, bias=False), r=4)
    layer.lora_b = y[0, 0, :4, :8]
    if _equal(partial(lora, layer), layer, x):
        places.append((LoRALinear, "__call__", lora))
    return {(owner, name): (getattr(owner, name), ours) for owner, name, ours in places}


def _equal(ours: Callable[..., Any], original: Callable[..., Any], *inputs: Any) -> bool:
    """Values and gradients agree to 1e-5 of the largest."""
    for f, g in (
        (ours, original),
        *((_gradient(ours, i), _gradient(original, i)) for i in range(len(inputs))),
    ):
        wanted = g(*inputs)
        if not (mx.abs(f(*inputs) - wanted).max() <= 1e-5 * mx.abs(wanted).max()).item():
            return False
    return True


def _gradient(f: Callable[..., Any], argument: int) -> Callable[..., Any]:
    return mx.grad(lambda *inputs: (f(*inputs) ** 2).sum(), argnums=argument)
