"""The metadata of a model's architecture in GGUF: what config.json means, by the names that llama.cpp reads.

What GGUF cannot say is refused by name: llama.cpp would load the file and compute something else.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import UserError, shortened
from finetune.models.config_reading import known_config
from finetune.models.gguf_layout import (
    ARCHITECTURES,
    LONG_FACTORS,
    ROPE_FACTORS,
    SHORT_FACTORS,
    Architecture,
    Sizes,
)
from finetune.models.gguf_rope import Llama3

Value = str | int | float | bool | Sequence[str] | Sequence[int] | Sequence[float]
_NAMES = {"mistral": "llama", "gemma3_text": "gemma3"}  # by model_type, where GGUF has another name
_INSTEAD = "use --to model, and a program that reads such a folder"
_PATTERN, _LOCAL = 6, 10_000.0  # of Gemma 3, which llama.cpp takes where a file does not say otherwise


@dataclass(frozen=True)
class Described:
    """A model's architecture: ``keys`` of the metadata, and ``factors``, tensors that config.json has as numbers."""

    name: str
    architecture: Architecture
    sizes: Sizes
    keys: Mapping[str, Value]
    factors: Mapping[str, Sequence[float]]
    context: int  # tokens of prompt and answer that it was made for
    flags: Mapping[str, bool]  # which optional groups of tensors it has


def described(folder: Path, rows: int) -> Described:
    """The architecture of the model in ``folder``, whose embeddings have so many ``rows``.

    UserError if GGUF has no place for something of it.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = str(config.get("model_type"))
    name = _NAMES.get(kind, kind)
    if name not in ARCHITECTURES:
        known = ", ".join(sorted([*ARCHITECTURES, "mistral"]))
        raise UserError(
            f"--to gguf: models of type {shortened(kind)!r} are not supported (supported: {known}; {_INSTEAD})"
        )
    whole = known_config(config)
    if whole is None:
        raise UserError(f"{folder / 'config.json'}: transformers does not understand it ({_INSTEAD})")
    text = whole.get_text_config()
    architecture = ARCHITECTURES[name]
    sizes = _sizes(text, whole, rows)
    problems = [*_problems(text, name, architecture, sizes)]
    rope, factors = _rope(text, architecture, sizes, problems)
    if problems:
        raise UserError(f"{folder}: GGUF cannot say that {'; '.join(problems)} ({_INSTEAD})")
    context = int(text.max_position_embeddings)
    if kind == "mistral" and getattr(
        text, "sliding_window", None
    ):  # llama.cpp attends to all tokens, as within a window
        context = min(context, int(text.sliding_window))
    keys: dict[str, Value] = {
        ".vocab_size": sizes.vocab,
        ".context_length": context,
        ".embedding_length": sizes.hidden,
        ".block_count": sizes.layers,
        ".feed_forward_length": sizes.inner,
        ".attention.head_count": sizes.query_heads,
        ".attention.head_count_kv": sizes.key_heads,
        ".attention.key_length": sizes.head,
        ".attention.value_length": sizes.head,
        ".attention.layer_norm_rms_epsilon": float(text.rms_norm_eps),
        **rope,
        **_of_windows(text, name),
    }
    flags = {flag: bool(getattr(text, flag, False)) for flag in architecture.optional}
    return Described(name, architecture, sizes, {f"{name}{key}": v for key, v in keys.items()}, factors, context, flags)


def _sizes(text: Any, whole: Any, rows: int) -> Sizes:
    heads = int(text.num_attention_heads)
    return Sizes(
        vocab=rows,
        hidden=int(text.hidden_size),
        inner=int(text.intermediate_size),
        head=int(getattr(text, "head_dim", None) or text.hidden_size // heads),
        query_heads=heads,
        key_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        layers=int(text.num_hidden_layers),
        tied=bool(whole.tie_word_embeddings),
    )


def _problems(text: Any, name: str, architecture: Architecture, sizes: Sizes) -> list[str]:
    """What of the model has no place in GGUF, a clause each."""
    found = []
    key, function = architecture.activation
    if (own := getattr(text, key, None)) != function:
        found.append(f"{key} is {shortened(repr(own))}")
    if not architecture.has_own_head_size and sizes.head * sizes.query_heads != sizes.hidden:
        found.append(f"{sizes.query_heads} heads of {sizes.head} numbers make {sizes.hidden}")
    if getattr(text, "use_sliding_window", False):
        found.append("use_sliding_window is true")
    for cap in ("final_logit_softcapping", "attn_logit_softcapping"):
        if getattr(text, cap, None):
            found.append(f"{cap} is {getattr(text, cap)}")
    if getattr(text, "attention_bias", False) and "attention_bias" not in architecture.optional:
        found.append("attention_bias is true")
    if name == "gemma3":
        usual = sizes.hidden // sizes.query_heads if sizes.layers == 62 else sizes.head  # 62 layers: the 27B
        if text.query_pre_attn_scalar != usual:
            found.append(f"query_pre_attn_scalar is {text.query_pre_attn_scalar} instead of {usual}")
        if getattr(text, "use_bidirectional_attention", False):
            found.append("use_bidirectional_attention is true")
        if _pattern(text) is None:
            found.append("layer_types has no period")
    if name == "smollm3":
        usual_layers = [int((layer + 1) % 4 != 0) for layer in range(sizes.layers)]
        if list(text.no_rope_layers) != usual_layers:
            found.append("other layers than every fourth are without RoPE")
    return found


def _pattern(text: Any) -> int | None:
    """After how many layers one attends to all tokens; None if that is not regular."""
    types = list(text.layer_types)
    pattern = next((at for at, kind in enumerate(types, 1) if kind == "full_attention"), len(types) + 1)
    usual = ["full_attention" if at % pattern == 0 else "sliding_attention" for at in range(1, len(types) + 1)]
    return pattern if types == usual else None


def _of_windows(text: Any, name: str) -> dict[str, Value]:
    if name == "phi3":
        return {".attention.sliding_window": int(text.sliding_window or 0)}
    if name != "gemma3":
        return {}
    found: dict[str, Value] = {".attention.sliding_window": int(text.sliding_window)}
    if (pattern := _pattern(text)) not in (None, _PATTERN, len(text.layer_types) + 1):
        found[".attention.sliding_window_pattern"] = int(pattern or 0)
    local = float((text.rope_parameters.get("sliding_attention") or {}).get("rope_theta", _LOCAL))
    if local != _LOCAL:
        found[".rope.freq_base_swa"] = local
    return found


def _rope(
    text: Any, architecture: Architecture, sizes: Sizes, problems: list[str]
) -> tuple[dict[str, Value], dict[str, Sequence[float]]]:
    """The keys and the tensors of RoPE; what has no place is added to ``problems``."""
    rope: Mapping[str, Any] = text.rope_parameters or {}
    rope = rope.get("full_attention", rope)
    theta, kind = float(rope["rope_theta"]), rope.get("rope_type", "default")
    rotated = round(sizes.head * float(rope.get("partial_rotary_factor") or 1.0))
    if rotated != sizes.head and not architecture.rotates_partly:
        problems.append(f"RoPE is on {rotated} of {sizes.head} numbers of a head")
    keys: dict[str, Value] = {".rope.freq_base": theta, ".rope.dimension_count": rotated}
    if kind == "default":
        return keys, {}
    if kind not in architecture.scalings:
        problems.append(f"RoPE is scaled by {shortened(repr(kind))}")
        return keys, {}
    if kind == "llama3":
        numbers = Llama3(*(rope[name] for name in Llama3._fields))
        return keys, {ROPE_FACTORS: numbers.factors(theta, rotated)}
    if kind == "longrope":
        original, longest = int(text.original_max_position_embeddings), int(text.max_position_embeddings)
        scale = longest / original
        factor = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
        keys |= {".rope.scaling.original_context_length": original, ".rope.scaling.attn_factor": factor}
        return keys, {LONG_FACTORS: rope["long_factor"], SHORT_FACTORS: rope["short_factor"]}
    keys |= {".rope.scaling.type": kind, ".rope.scaling.factor": float(rope["factor"])}
    if kind == "yarn":
        keys[".rope.scaling.original_context_length"] = int(rope["original_max_position_embeddings"])
        for name in ("beta_fast", "beta_slow"):
            if rope.get(name) is not None:
                keys[f".rope.scaling.yarn_{name}"] = float(rope[name])
        if rope.get("attention_factor") or rope.get("mscale") or rope.get("mscale_all_dim"):
            problems.append("YaRN has an attention factor of its own")
    return keys, {}
