"""What of a config.json a class of mlx-lm leaves out though it changes what is computed: a problem, or a note."""

import re
from collections.abc import Mapping
from typing import Any

from finetune.errors import shortened
from finetune.models.config_reading import Form, Reader, usual_of, value_of

# where classes of mlx-lm look for a value of RoPE
THETA = ("rope_theta", "rotary_emb_base")
LOCAL_THETA = ("rope_local_base_freq", "rope_local_theta", "swa_rope_theta")
PARTIAL = ("partial_rotary_factor", "rotary_pct")
PLAIN = ("default", "mrope", None)  # one position of a text counts the same in all sections of mRoPE

# What changes the logits though no weight shows it, by the end of its name.
_NUMERIC = re.compile(
    r".*?(hidden_act|hidden_activation|activation_function|activation|_eps|epsilon|softcapping|multiplier|multipliers"
    r"|logit_scale|logits_scaling|routed_scaling_factor|route_scale|attn_scalar|qk_norm|qk_layernorm|clip_qkv|norm_topk_prob"
    r"|scoring_func|topk_method|topk_group|n_group|experts_per_tok|experts_top_k|parallel_residual|parallel_attn|alibi"
    r"|bidirectional_attention|attention_chunk_size|swiglu_alpha|swiglu_limit|scale_attn_weights|inverse_layer_idx"
    r"|no_rope_layers|rope_interleave|layer_norm_bias|scale_emb|scale_depth)"
)
_ACTIVATION = re.compile(r".*?(hidden_act|hidden_activation|activation_function|activation)")
_GELU = re.compile(r"gelu.*|quick_gelu")  # its forms differ by 1e-3
_SEVERAL = re.compile(r"(top_k|experts_per_tok) > 1")  # weights are normalised for several experts alone
_THETA_OF_A_PART = re.compile(r"""(\[|\.get\()["']rope_theta["']""")  # of a part of config.json
_HALF = re.compile(r"head_dim \/\/ 2")  # RoPE on half of a head, whatever config.json says


def find_unread_rope(
    made: Form, known: Any | None, reader: Reader, full: Mapping[str, Any], local: Mapping[str, Any] | None
) -> None:
    """Add to the problems what of RoPE, for all layers or ``local`` ones with a window, the class would compute otherwise."""
    usual = getattr(usual_of(known), "rope_parameters", None) or {}
    usual = usual.get("full_attention") or usual
    unread = f"mlx-lm's {reader.name} does not read it"
    kind = full.get("rope_type", full.get("type"))
    if kind not in PLAIN and not (reader.reads("rope_scaling") and _knows(reader, str(kind))):
        made.problems.append(f"RoPE is scaled ({kind!r}), and mlx-lm's {reader.name} does not support that")
    theta, partial = full.get("rope_theta"), full.get("partial_rotary_factor")
    reads_theta = bool(_THETA_OF_A_PART.search(reader.source)) or reader.reads(*THETA, "rope_embedding_base")
    if theta is not None and not reads_theta and theta != usual.get("rope_theta"):
        made.problems.append(f"rope_theta is {theta!r}, and {unread}")
    if partial not in (None, 1.0) and not (reader.reads(*PARTIAL, "rotary_dim") or _HALF.search(reader.source)):
        made.problems.append(f"partial_rotary_factor is {partial!r}, and {unread}")
    if local and local.get("rope_type", "default") not in PLAIN:
        made.problems.append(f"RoPE of the layers with a window is scaled, and {unread}")
    if local and local.get("rope_theta") != theta and not reader.reads(*LOCAL_THETA):
        made.problems.append(f"rope_theta of the layers with a window is {local.get('rope_theta')!r}, and {unread}")


def _knows(reader: Reader, kind: str) -> bool:
    """Whether the class's module knows a kind of scaled RoPE: by mlx-lm's function for all of them, or by itself."""
    if "initialize_rope" in reader.source:
        return True  # it refuses other kinds itself
    own = {"longrope": ("longrope", "SuScaledRoPE"), "yarn": ("yarn", "Yarn"), "dynamic": ("DynamicNTK",)}
    return any(word in reader.source for word in own.get(kind, (f'"{kind}"',)))


def find_unread(made: Form, known: Any, reader: Reader) -> None:
    """What transformers computes with, mlx-lm's class does not read, and is not what such models usually have."""
    usual = usual_of(known)
    aliases = dict(getattr(known, "attribute_map", {}))
    for name, value in vars(known).items():
        names = {name, *(alias for alias, own in aliases.items() if own == name)}
        if value is None or reader.reads(*names) or not _NUMERIC.fullmatch(name):
            continue
        if usual is None or name not in vars(usual):  # transformers does not read it either
            continue
        default = value_of(usual, name)
        if (
            isinstance(value, list) and isinstance(default, list) and value == default[: len(value)]
        ):  # one for each layer
            continue
        if name.endswith("attn_scalar") and value == value_of(
            known, "head_dim"
        ):  # what every class has that reads none
            continue
        if value == default or (_ACTIVATION.fullmatch(name) and _same_activation(value, default)):
            continue
        made.problems.append(
            f"{name} is {shortened(repr(value), 40)}, and mlx-lm's {reader.name} does not read it"
            f" (such models have {shortened(repr(default), 40)})"
        )
    if 1 in (value_of(known, "num_experts_per_tok"), value_of(known, "num_experts_per_token")):
        normalises = all(value_of(known, name) is not False for name in ("norm_topk_prob", "route_norm"))
        if normalises and _SEVERAL.search(reader.sources):
            made.problems.append(f"num_experts_per_tok is 1, and mlx-lm's {reader.name} does not normalise its weight")
    window = value_of(known, "sliding_window")
    types = value_of(known, "layer_types")
    has_windows = "sliding_attention" in types if isinstance(types, list) else window is not None
    gives = reader.reads("sliding_window", "sliding_window_size")
    if not isinstance(types, list) and "layer_types" in reader.fields:  # none by itself
        gives = "sliding_attention" in (made.values.get("layer_types") or ())
    longest = value_of(known, "max_position_embeddings")
    matters = isinstance(window, int) and (not isinstance(longest, int) or window < longest)
    if matters and has_windows and not gives:
        made.notes.append(
            f"mlx-lm's {reader.name} has no sliding window: beyond {window} tokens it computes something else"
        )


def _same_activation(one: Any, other: Any) -> bool:
    return all(isinstance(each, str) and _GELU.fullmatch(each) for each in (one, other))
