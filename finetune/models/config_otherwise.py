"""What mlx-lm's classes of single types compute otherwise than transformers, whatever config.json calls it.

Each type is a function that looks at the values: it lifts what makes both the same, or says what stays different.
"""

from collections.abc import Callable
from typing import Any

from finetune.errors import shortened
from finetune.models.config_reading import Form, Reader, value_of

_NO_LIMIT = 1e30  # config.json, which is JSON, has no infinity


def find_otherwise(made: Form, known: Any, reader: Reader) -> None:
    """Lift, or add to the problems and notes, what the class of one type computes otherwise."""
    if find := OTHERWISE.get(reader.name):
        find(made, known)


def _set(made: Form, name: str, value: Any) -> None:
    made.alone[name] = made.alone.get(name, made.values.get(name))
    made.values[name] = made.lifted[name] = value


def _minicpm3(made: Form, known: Any) -> None:
    longest = value_of(known, "max_position_embeddings")
    if not made.values.get("rope_scaling"):  # it takes scaling for granted: one that scales nothing
        plain = {"type": "longrope", "rope_type": "longrope", "short_factor": 1.0, "long_factor": 1.0}
        _set(made, "rope_scaling", {**plain, "original_max_position_embeddings": longest})
    size, base = value_of(known, "hidden_size"), value_of(known, "dim_model_base")
    if value_of(known, "tie_word_embeddings") and size != base:
        made.problems.append("the output head is tied, and mlx-lm's minicpm3 does not scale its logits then")
    if value_of(known, "v_head_dim") != size // value_of(known, "num_attention_heads"):
        made.problems.append(f"v_head_dim is {value_of(known, 'v_head_dim')}, and mlx-lm's minicpm3 does not read it")


def _deepseek_v2(made: Form, known: Any) -> None:
    if not made.values.get("rope_scaling"):  # it takes YaRN for granted: one that scales nothing
        longest = value_of(known, "max_position_embeddings")
        plain = {"type": "yarn", "rope_type": "yarn", "factor": 1.0, "original_max_position_embeddings": longest}
        _set(made, "rope_scaling", plain)


def _dbrx(made: Form, known: Any) -> None:
    attention, experts = dict(made.values.get("attn_config") or {}), made.values.get("ffn_config") or {}
    whole = (made.values.get("rope_parameters") or {}).get("rope_theta")
    understood = (value_of(known, "rope_parameters") or {}).get("rope_theta")
    added: dict[str, object] = {} if attention.get("clip_qkv") is not None else {"clip_qkv": _NO_LIMIT}
    if (own := attention.get("rope_theta")) is None:
        added["rope_theta"] = understood
    elif whole is not None and own != whole:
        made.problems.append(
            f"rope_theta is {own!r} in attn_config, which mlx-lm reads, and {whole!r} in rope_parameters, which"
            " transformers reads"
        )
    elif own != understood:
        made.theirs.append(
            f"transformers computes something else: it takes {understood!r} for rope_theta instead of attn_config's {own!r}"
        )
    if added:
        _set(made, "attn_config", {**attention, **added})
    if experts.get("moe_normalize_expert_weights", 1.0) != 1.0:
        value = experts["moe_normalize_expert_weights"]
        made.problems.append(f"moe_normalize_expert_weights is {value!r}, and mlx-lm's dbrx does not read it")
    if (experts.get("ffn_act_fn") or {"name": "silu"}).get("name", "silu") != "silu":
        made.problems.append(
            f"ffn_act_fn is {shortened(repr(experts['ffn_act_fn']))}, and mlx-lm's dbrx does not read it"
        )


def _jamba(made: Form, known: Any) -> None:
    if any(count > 1 for count in value_of(known, "layers_num_experts") or ()):
        made.problems.append(
            "mlx-lm's jamba makes the weights of the chosen experts sum to 1, which transformers does not"
        )


def _nemotron_h(made: Form, known: Any) -> None:
    least = value_of(known, "time_step_min")  # transformers' lower limit, whatever time_step_limit says
    given, *_ = made.values.get("time_step_limit") or (0.0, _NO_LIMIT)
    if least is not None and given != least:
        _set(made, "time_step_limit", [least, _NO_LIMIT])


def _falcon_h1(made: Form, known: Any) -> None:
    values = {name: value_of(known, name) for name in ("attention_in_multiplier", "time_step_limit", "mamba_n_groups")}
    if values["attention_in_multiplier"] != 1.0:
        made.problems.append(
            f"attention_in_multiplier is {values['attention_in_multiplier']!r}, and mlx-lm's falcon_h1 leaves it out of values"
        )
    if tuple(values["time_step_limit"] or (0.0, float("inf"))) != (0.0, float("inf")):
        made.problems.append(
            f"time_step_limit is {values['time_step_limit']!r}, and mlx-lm's falcon_h1 does not read it"
        )
    if value_of(known, "mamba_rms_norm") and values["mamba_n_groups"] != 1:
        made.problems.append(
            f"mamba_n_groups is {values['mamba_n_groups']}, and mlx-lm's falcon_h1 does not normalise by groups"
        )


def _granitemoehybrid(made: Form, known: Any) -> None:
    if value_of(known, "position_embedding_type") != "rope" and made.values.get("position_embedding_type") != "nope":
        _set(made, "position_embedding_type", "nope")  # mlx-lm's word for none


def _gemma4_text(made: Form, known: Any) -> None:
    """transformers 5 writes what layers without a window have as settings of single layers."""
    layers = made.values.get("per_layer_config")
    full = [at for at, kind in enumerate(value_of(known, "layer_types") or ()) if kind == "full_attention"]
    if not isinstance(layers, dict):
        return
    each = [layers.get(str(at), layers.get(at)) or {} for at in full]
    for name, ours in (("head_dim", "global_head_dim"), ("num_key_value_heads", "num_global_key_value_heads")):
        found = {one.get(name) for one in each}
        if len(found) > 1:
            made.problems.append(
                f"{name} differs between layers without a window, and mlx-lm's gemma4_text has one for all"
            )
        elif (value := next(iter(found), None)) is not None and value != made.values.get(ours):
            _set(made, ours, value)


def _gpt_neox(made: Form, known: Any) -> None:
    inner, size = made.values.get("intermediate_size"), value_of(known, "hidden_size")
    if inner not in (None, 4 * size):
        made.problems.append(
            f"intermediate_size is {inner}, and mlx-lm's gpt_neox has 4 times hidden_size ({4 * size})"
        )


def _phimoe(made: Form, known: Any) -> None:
    if (count := value_of(known, "num_experts_per_tok")) != 2:
        made.problems.append(f"num_experts_per_tok is {count}, and transformers' phimoe takes 2 whatever it says")
    for name in ("attention_bias", "lm_head_bias"):
        if not value_of(known, name):
            made.problems.append(f"{name} is false, and mlx-lm's phimoe always has one")


def _exaone_moe(made: Form, known: Any) -> None:
    window, types = value_of(known, "sliding_window"), value_of(known, "layer_types") or ()
    if window is not None and "sliding_attention" not in types:
        made.problems.append(
            f"sliding_window is {window} and no layer has one: transformers then has no RoPE, and mlx-lm's exaone_moe has it"
        )


def _mellum(made: Form, known: Any) -> None:
    kinds = [one.get("rope_type") for one in (value_of(known, "rope_parameters") or {}).values() if hasattr(one, "get")]
    if "linear" in kinds:
        made.problems.append("RoPE is scaled ('linear'), and mlx-lm's mellum does not support that")


def _llama(made: Form, known: Any) -> None:
    window = made.values.get("sliding_window")
    if "sliding_attention" in (made.values.get("layer_types") or ()) and window is not None:
        made.theirs.append(
            f"some layers see {window} tokens (layer_types), which transformers' llama does not read: beyond them it computes"
            " something else"
        )


OTHERWISE: dict[str, Callable[[Form, Any], None]] = {
    "dbrx": _dbrx,
    "deepseek_v2": _deepseek_v2,
    "exaone_moe": _exaone_moe,
    "falcon_h1": _falcon_h1,
    "gemma4_text": _gemma4_text,
    "gpt_neox": _gpt_neox,
    "granitemoehybrid": _granitemoehybrid,
    "jamba": _jamba,
    "llama": _llama,
    "mellum": _mellum,
    "minicpm3": _minicpm3,
    "nemotron_h": _nemotron_h,
    "phimoe": _phimoe,
}
