"""YaRN (arXiv 2309.00071) as transformers computes it: how config.json must say it so that mlx-lm computes the same."""

import math
from collections.abc import Mapping
from typing import Any

from finetune.models.config_reading import Form

_ORIGINAL = "original_max_position_embeddings"


def _is_yarn(scaling: Mapping[str, Any]) -> bool:
    return scaling.get("rope_type", scaling.get("type")) == "yarn"


def _grown(factor: float, share: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * share * math.log(factor) + 1.0


def _factor(scaling: Mapping[str, Any], longest: Any) -> float | None:
    """How much longer texts become; ``longest`` are the positions after that, if it is not said. None if it is unknown."""
    factor, original = scaling.get("factor"), scaling.get(_ORIGINAL)
    if factor is None and isinstance(longest, int) and isinstance(original, int) and original > 0:
        return longest / original
    return float(factor) if isinstance(factor, int | float) else None


def attention_factor(scaling: Mapping[str, Any], factor: float) -> float:
    """By which transformers multiplies queries and keys. mscale and mscale_all_dim count together alone."""
    given, one, all_dims = (scaling.get(name) for name in ("attention_factor", "mscale", "mscale_all_dim"))
    if given is not None:
        return float(given)
    return _grown(factor, one) / _grown(factor, all_dims) if one and all_dims else _grown(factor, 1.0)


def like_transformers(scaling: Mapping[str, Any], longest: Any) -> Mapping[str, Any]:
    """``scaling`` of RoPE with the mscale from which mlx-lm computes transformers' attention factor; other kinds as is."""
    found, factor = dict(scaling), _factor(scaling, longest)
    if "type" in found and found.get("rope_type") is not None:  # of two names mlx-lm looks for the other one first
        found["type"] = found["rope_type"]
    if not _is_yarn(scaling) or factor is None:
        return found
    if found.get("factor") is None:
        found["factor"] = factor
    defaults = {"mscale": 1.0, "mscale_all_dim": 0.0, "beta_fast": 32.0, "beta_slow": 1.0}
    found |= {name: value for name, value in defaults.items() if name in found and found[name] is None}
    share, wanted = _grown(factor, found.get("mscale_all_dim", 0.0)), attention_factor(scaling, factor)
    if factor > 1 and not math.isclose(_grown(factor, found.get("mscale", 1.0)) / share, wanted, rel_tol=1e-6):
        found["mscale"] = (wanted * share - 1.0) / (0.1 * math.log(factor))
    return found


def find_unlike_yarn(made: Form, scaling: Mapping[str, Any]) -> None:
    """Add to the problems what mlx-lm's YaRN cannot be told."""
    factor = _factor(scaling, made.values.get("max_position_embeddings"))
    if _is_yarn(scaling) and factor is not None and factor <= 1 and attention_factor(scaling, factor) != 1.0:
        made.problems.append(
            f"attention_factor is {scaling.get('attention_factor')!r} for texts that YaRN does not make longer, which mlx-lm"
            " does not support"
        )
