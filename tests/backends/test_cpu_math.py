"""The CPU replacements against MLX's own functions: values and gradients."""

import numpy as np
import pytest

from finetune.backends import load_backend

load_backend("mlx")

import mlx.nn as nn  # noqa: E402

from finetune.backends.mlx import cpu_attention, cpu_math  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402


def normal(*shape: int, seed: int = 0):
    return 5 * mx.random.normal(shape, key=mx.random.key(seed))


def assert_equal(ours, original, *inputs) -> None:
    """To 2e-5 of the largest value: each is about 5e-6 away from the float64 result where scores are large."""
    pairs = [(ours(*inputs), original(*inputs))]
    for argument in range(len(inputs)):
        pairs.append(
            tuple(mx.grad(lambda *x, f=f: (f(*x) ** 2).sum(), argnums=argument)(*inputs) for f in (ours, original))
        )
    for ours_value, wanted in pairs:
        assert mx.abs(ours_value - wanted).max() <= 2e-5 * mx.abs(wanted).max()


def test_exp_over_its_whole_range() -> None:
    x = mx.linspace(-86, 87, 100_001)
    exact = np.exp(np.array(x).astype(np.float64))
    # x * log2(e) is rounded before it is raised
    bound = 2e-7 + 1e-7 * np.abs(np.array(x))
    assert (np.abs(np.array(cpu_math.exp(x)) / exact - 1) < bound).all()
    assert cpu_math.exp(mx.array([-1e30, -200.0])).max() < 1e-37


def test_activations() -> None:
    assert_equal(cpu_math.swiglu, lambda gate, up: nn.silu(gate) * up, normal(7, 33), normal(7, 33, seed=1))
    assert_equal(cpu_math.gelu_approx, nn.gelu_approx, normal(7, 33))
    extreme = mx.array([-1e4, -100.0, 100.0, 1e4])
    assert mx.allclose(cpu_math.swiglu(extreme, mx.ones_like(extreme)), mx.array([0.0, 0.0, 100.0, 1e4]))


@pytest.mark.parametrize("length", [40, 300], ids=["one piece", "blocks"])
def test_masked_keys_leave_no_denormals(length: int) -> None:
    """Which are slow on many processors. Where one token is learned, the gradients of those after it are next to nothing."""

    def loss(x):
        for _ in range(3):
            x = x + cpu_attention.attention(x, x, x, None, 0.3, "causal")
        return x[:, :, 3].sum()

    gradient = np.abs(np.array(mx.grad(loss)(normal(1, 2, length, 8) / 5)))
    assert gradient[:, :, :4].min() > 1e-6 > 1e-10 > gradient[:, :, 4:].max()
    assert not ((gradient > 0) & (gradient < np.finfo(np.float32).tiny)).any()


@pytest.mark.parametrize("length", [5, 300], ids=["one piece", "blocks"])
@pytest.mark.parametrize("mask", ["causal", None, "boolean", "additive"])
def test_attention_with_grouped_keys(mask: str | None, length: int) -> None:
    context = length + 4
    q, k, v = normal(2, 6, length, 8), normal(2, 3, context, 8, seed=1), normal(2, 3, context, 8, seed=2)
    allowed = mx.random.uniform(shape=(2, 1, length, context), key=mx.random.key(3)) < 0.7
    allowed[..., 0] = True
    chosen = {"boolean": allowed, "additive": mx.where(allowed, 0.0, -1e9)}.get(mask, mask)
    assert_equal(
        lambda q, k, v: cpu_attention.attention(q, k, v, None, 0.3, chosen),
        lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, scale=0.3, mask=chosen),
        q, k, v,
    )  # fmt: skip


def test_install_reaches_the_models() -> None:
    from mlx_lm.models import gemma3_text, llama
    from mlx_lm.tuner.lora import LoRALinear

    cpu_math.install()
    assert LoRALinear.__call__ is cpu_math.lora and nn.RoPE.__call__ is cpu_math.rope
    assert gemma3_text.nn.gelu_approx is cpu_math.gelu_approx
    assert llama.swiglu is cpu_math.swiglu
    assert llama.scaled_dot_product_attention is gemma3_text.scaled_dot_product_attention is cpu_attention.attention
