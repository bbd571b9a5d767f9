"""What a network of mlx-lm leaves out or fixes, set after it is made as transformers computes it.

Only numbers outside the weights are changed, so that weights and adapters stay what mlx-lm reads and writes. mlx-lm alone
computes something else with them: each change is a clause for the user.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from finetune.backends.mlx.runtime import mx

from mlx import nn  # isort: skip  after the runtime


class LongRoPE(nn.Module):
    """LongRoPE (arXiv 2402.13753) with both lists of factors: those for long texts where a text, at its end, has more than
    ``original`` tokens, the others up to there. mlx-lm has those for long texts alone."""

    def __init__(self, rope: Any, short: Any, long: Any, scales: tuple[float, float]):
        super().__init__()
        self.dims, self.original = rope.dim, rope.original_max_position_embeddings
        self._long, self._short = rope._freqs, rope._freqs / mx.array(long) * mx.array(short)
        self._scales = scales
        self.longest: int | None = None  # tokens of the texts that are now computed piece by piece

    def __call__(self, x: Any, offset: Any = 0) -> Any:
        end = offset + x.shape[-2] if self.longest is None else self.longest
        if isinstance(end, int):
            return self._rotated(x, offset, is_long=end > self.original)
        both = [self._rotated(x, offset, is_long=is_long) for is_long in (True, False)]
        return mx.where(mx.expand_dims(end > self.original, tuple(range(end.ndim, x.ndim))), *both)

    def _rotated(self, x: Any, offset: Any, *, is_long: bool) -> Any:
        x = x.at[..., : self.dims].multiply(self._scales[is_long])
        freqs = self._long if is_long else self._short
        return mx.fast.rope(x, self.dims, traditional=False, base=None, scale=1.0, offset=offset, freqs=freqs)


class GroupedNorm(nn.Module):
    """Mamba 2's normalisation after its gate, with a mean of its own for each of ``groups`` (arXiv 2405.21060, section 7)."""

    def __init__(self, norm: Any, groups: int):
        super().__init__()
        self.weight, self.eps, self.groups = norm.weight, norm.eps, groups

    def __call__(self, x: Any, gate: Any = None) -> Any:
        x = x if gate is None else nn.silu(gate) * x
        apart = mx.unflatten(x, axis=-1, shape=(self.groups, -1))
        return self.weight * mx.fast.rms_norm(apart, weight=None, eps=self.eps).flatten(-2)


def mend(network: Any, values: Mapping[str, Any]) -> list[str]:
    """Change what ``values``, config.json as the network's class got it, say otherwise; a clause for each change."""
    kinds = (_long_rope, _exact_yarn, _key_multiplier, _grouped_norm)
    return [clause for kind in kinds for clause in kind(network, values)]


def _long_rope(network: Any, values: Mapping[str, Any]) -> Iterator[str]:
    from mlx_lm.models.rope_utils import SuScaledRoPE

    scaling = values.get("rope_scaling") or values.get("rope_parameters") or {}
    short, long = scaling.get("short_factor"), scaling.get("long_factor")
    short_scale, long_scale = scaling.get("short_mscale"), scaling.get("long_mscale")
    if short is None or (short == long and short_scale == long_scale):
        return
    found = [
        (module, name, rope)
        for module in network.modules()
        for name, rope in module.items()
        if isinstance(rope, SuScaledRoPE)
    ]
    for module, name, rope in found:
        module[name] = LongRoPE(rope, short, long, (short_scale or rope._scale, rope._scale))
    if found:
        length = found[0][2].original_max_position_embeddings
        yield (
            f"mlx-lm alone uses its RoPE factors for long texts for all texts; here, as in transformers, texts of up to"
            f" {length:,} tokens have the others"
        )


def _exact_yarn(network: Any, values: Mapping[str, Any]) -> Iterator[str]:
    """YaRN (arXiv 2309.00071) scales a range of dimensions; mlx-lm rounds the ends of it, whatever ``truncate`` says."""
    scaling = values.get("rope_scaling") or values.get("rope_parameters") or {}
    if scaling.get("truncate") is not False:
        return
    theta = float(scaling.get("rope_theta") or getattr(getattr(network, "args", None), "rope_theta", None) or 0)
    ropes = [module for module in network.modules() if hasattr(module, "mscale") and hasattr(module, "_freqs")]
    for rope in ropes if theta > 0 else ():
        rounded, exact = (_yarn(rope._freqs.size, theta, scaling, rounds=rounds) for rounds in (True, False))
        if not mx.allclose(rope._freqs, rounded, rtol=1e-4):
            yield "mlx-lm rounds the range that YaRN scales, although truncate is false: it computes something else"
            return
        rope._freqs = exact
    if ropes:
        yield "mlx-lm alone rounds the range that YaRN scales; here, as truncate says and as in transformers, it is exact"


def _yarn(pairs: int, theta: float, scaling: Mapping[str, Any], *, rounds: bool) -> Any:
    """Wavelengths [pairs] over 2 pi, as mlx-lm's YarnRoPE computes them."""
    dims, factor = 2 * pairs, scaling["factor"]

    def place(turns: float) -> float:
        positions = scaling.get("original_max_position_embeddings", 4096)
        return dims * math.log(positions / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = place(scaling.get("beta_fast", 32)), place(scaling.get("beta_slow", 1))
    if rounds:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dims - 1)
    share = mx.clip((mx.arange(pairs, dtype=mx.float32) - low) / (high - low or 0.001), 0, 1)
    plain = theta ** (mx.arange(0, dims, 2, dtype=mx.float32) / dims)
    return plain * factor / (factor * (1 - share) + share)


@contextmanager
def whole_texts(network: Any, longest: int) -> Iterator[None]:
    """Within the block, texts of up to ``longest`` tokens are computed piece by piece: their RoPE is that of the whole."""
    ropes = [module for module in network.modules() if isinstance(module, LongRoPE)]
    for rope in ropes:
        rope.longest = longest
    try:
        yield
    finally:
        for rope in ropes:
            rope.longest = None


def has_long_rope(network: Any) -> bool:
    """Whether its RoPE depends on the length of a text."""
    return any(isinstance(module, LongRoPE) for module in network.modules())


def _key_multiplier(network: Any, values: Mapping[str, Any]) -> Iterator[str]:
    """Falcon-H1's keys are multiplied by a number, which mlx-lm looks for under a name that no weight has."""
    factor = values.get("key_multiplier", 1.0)
    if values.get("model_type") != "falcon_h1" or factor == 1.0:
        return
    for layer in network.layers:
        layer.self_attn.scale *= factor
    yield f"mlx-lm alone leaves out key_multiplier, {factor!r}; here attention is scaled by it, as in transformers"


def _grouped_norm(network: Any, values: Mapping[str, Any]) -> Iterator[str]:
    if values.get("model_type") not in ("mamba2", "granitemoehybrid"):
        return
    mixers = [module for module in network.modules() if getattr(module, "n_groups", 1) > 1 and hasattr(module, "norm")]
    for mixer in mixers:
        mixer.norm = GroupedNorm(mixer.norm, mixer.n_groups)
    if mixers:
        count = mixers[0].n_groups
        yield f"mlx-lm alone does not normalise by groups; here, as in transformers, each of {count} has its own mean"
