"""config.json in the form that mlx-lm reads: transformers 5 writes some values elsewhere, and mlx-lm would take its defaults.

Both libraries read config.json, and what one of them does not find becomes its default without a word. What transformers
understands of the file is what the model was trained with, so each value that a class of mlx-lm reads is compared with it.
What it would miss is lifted to where it looks. What it cannot take, and changes what is computed, is a problem.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from finetune.errors import shortened
from finetune.models.config_otherwise import find_otherwise
from finetune.models.config_reading import REQUIRED, Form, Reader, value_of
from finetune.models.config_unread import LOCAL_THETA, PARTIAL, PLAIN, THETA, find_unread, find_unread_rope
from finetune.models.config_yarn import find_unlike_yarn, like_transformers

_ORIGINAL = "original_max_position_embeddings"
_LAYER_TYPES = ("full_attention", "sliding_attention")
# what all models of a type have, so that transformers writes it no more
_FIXED: dict[str, dict[str, object]] = {"apertus": {"mlp_bias": False, "post_norm": False, "qk_norm": True}}
_DERIVED = ("head_dim", "n_inner")  # null in config.json where transformers computes them
# Never lifted by its name: RoPE, parts of the config, what the weights themselves say, and how they are stored.
_KEPT = {
    *("model_type", "rope_scaling", "tie_word_embeddings", "text_config", "vision_config"),
    *("quantization", "quantization_config"),
}
# how a class takes all of RoPE, its scaling too, from rope_parameters
_WHOLE_ROPE = re.compile(
    r"rope_scaling = self\.rope_parameters|(scaling_config=(self\.)?|\n +)args\.rope_parameters,|scaling_config=rope_params"
    r"|dict\(params\)|in rope_params\.items"
)
_UNSAID = ("max_position_embeddings",)  # of no weight for what is computed


def form(config: Mapping[str, Any], known: Any | None, reader: Reader) -> Form:
    """What the class gets of ``config``, of which ``known`` is transformers' understanding, if it has one."""
    made = Form(dict(config))
    if "text_config" not in reader.fields:  # what stands beside it may be of the part that sees
        _lift_rope(made, known, reader)
    _lift_windows(made, known, reader)
    _lift_layer_types(made, known, reader)
    if known is not None:
        _lift_missing(made, known, reader)
        if "text_config" not in reader.fields:
            find_unread(made, known, reader)
            find_otherwise(made, known, reader)
    return made


def _lift(made: Form, reader: Reader, name: str, value: Any) -> None:
    """Set a value that the class reads, if it would have another one."""
    if name not in reader.fields:
        return
    found = made.values.get(name, reader.fields[name])
    if found is REQUIRED or not _equal(found, value):
        made.lifted[name], made.alone[name] = value, found
        made.values[name] = value


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other) and (isinstance(one, bool) == isinstance(other, bool))


def _lift_rope(made: Form, known: Any | None, reader: Reader) -> None:
    """RoPE as ``rope_parameters`` has it: for all layers, or for each type of layer."""
    parameters = getattr(known, "rope_parameters", None) if known is not None else made.values.get("rope_parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        return
    by_type = {name: value for name, value in parameters.items() if isinstance(value, Mapping)}
    by_type = by_type if any(name in by_type for name in _LAYER_TYPES) else {}
    full = by_type.get("full_attention") or by_type.get("sliding_attention") or parameters
    if by_type:  # transformers looks for it beside the types alone
        full = {name: value for name, value in full.items() if name != "truncate"}
    local = by_type.get("sliding_attention")
    is_new = bool(made.values.get("rope_parameters"))
    longest = value_of(known, "max_position_embeddings")
    scaling = _scaling(full, longest)

    own = reader.reads("rope_parameters")  # it takes from there what it needs, but for scaling in some cases
    whole = own and _WHOLE_ROPE.search(reader.source) is not None
    usual = reader.fields.get("rope_parameters")
    if own and not is_new and isinstance(usual, Mapping) and usual:  # it would take these, whatever stands beside them
        _lift(made, reader, "rope_parameters", {**usual, **parameters})

    def lift(names: tuple[str, ...], value: Any) -> None:
        for name in names:
            if own and reader.fields.get(name) is not REQUIRED:
                continue
            if value is not None and (is_new or made.values.get(name) is None):
                _lift(made, reader, name, value)

    lift(THETA, full.get("rope_theta"))
    lift(PARTIAL, full.get("partial_rotary_factor"))
    if local:
        lift(LOCAL_THETA, local.get("rope_theta"))
    if is_new or not made.values.get("rope_scaling"):
        if (scaling is not None and not whole) or reader.fields.get("rope_scaling") is REQUIRED:
            _lift(made, reader, "rope_scaling", scaling)
    elif scaling is not None and isinstance(made.values["rope_scaling"], Mapping):
        _complete(made, scaling, reader, longest)
    if whole:
        _lift_yarn_of(made, reader, longest)
    else:
        find_unread_rope(made, known, reader, full, local)
    find_unlike_yarn(made, full)


def _lift_yarn_of(made: Form, reader: Reader, longest: Any) -> None:
    """What a class takes of ``rope_parameters`` itself, for all layers or for each type of layer."""
    given = made.values.get("rope_parameters")
    if not isinstance(given, Mapping):
        return
    parts = {
        name: like_transformers(value, longest) if isinstance(value, Mapping) else value
        for name, value in given.items()
    }
    wanted = like_transformers(parts, longest)
    if wanted != given:
        _lift(made, reader, "rope_parameters", wanted)


def _scaling(parameters: Mapping[str, Any], longest: Any) -> Mapping[str, Any] | None:
    """``rope_scaling`` as it was before transformers 5; None without scaling. Its kind has two names: mlx-lm looks for both."""
    kind = parameters.get("rope_type", parameters.get("type"))
    if kind in PLAIN:
        return None
    rest = {name: value for name, value in parameters.items() if name not in ("rope_theta", "partial_rotary_factor")}
    return like_transformers({**rest, "rope_type": kind, "type": kind}, longest)


def _complete(made: Form, scaling: Mapping[str, Any], reader: Reader, longest: Any) -> None:
    """Add what an older form of ``rope_scaling`` leaves to defaults, which differ: mlx-lm's are those of one model."""
    own = made.values["rope_scaling"]
    kind = own.get("rope_type", own.get("type"))
    added = {"type": kind, "rope_type": kind}
    if _ORIGINAL in scaling:
        added[_ORIGINAL] = scaling[_ORIGINAL]
    if kind is None or "rope_scaling" not in reader.fields:
        return
    full = like_transformers({**added, **own, "type": kind, "rope_type": kind}, longest)
    unlike = full.keys() - own.keys() | {name for name in own if own[name] != full[name]}
    if unlike:
        made.values["rope_scaling"] = full
        if (
            (_ORIGINAL in unlike and kind in ("yarn", "llama3"))
            or unlike & {"mscale", "factor"}
            or "type" in unlike & own.keys()
        ):
            made.lifted["rope_scaling"], made.alone["rope_scaling"] = made.values["rope_scaling"], own


def _lift_windows(made: Form, known: Any | None, reader: Reader) -> None:
    """Which layers have a window: ``layer_types`` today, before that a number, "each sixth has none", or letters as "LLLG"."""
    if "sliding_window_pattern" not in reader.fields or reader.reads("layer_types"):
        return
    types = made.values.get("layer_types") or getattr(known, "layer_types", None)
    if not isinstance(types, list) or not types or not set(types) <= set(_LAYER_TYPES):
        return
    pattern = made.values.get("sliding_window_pattern", reader.fields["sliding_window_pattern"])
    letters = "".join("L" if one == "sliding_attention" else "G" for one in types)
    if "sliding_window_pattern[" in reader.source or "pattern[" in reader.source:  # it takes letters
        repeated = pattern * len(letters) if isinstance(pattern, str) else ""
        if not repeated.startswith(letters):
            without_rope = value_of(known, "sliding_window") is not None  # as layers that see all are then
            value = letters if "L" in letters or without_rope else None
            _lift(made, reader, "sliding_window_pattern", value)
        return
    wanted = (period for period in (pattern, letters.find("G") + 1 or len(letters) + 1) if isinstance(period, int))
    found = next((period for period in wanted if period > 0 and letters == _letters(period, len(letters))), None)
    if found is not None:
        _lift(made, reader, "sliding_window_pattern", found)
    else:
        made.problems.append(
            f"layer_types is {letters} (L: with a window), and mlx-lm's {reader.name} knows one period"
        )


def _lift_layer_types(made: Form, known: Any | None, reader: Reader) -> None:
    """Which layers have attention: transformers 5 names each; of some types mlx-lm has other names, or knows their interval."""
    types = made.values.get("layer_types") or value_of(known, "layer_types")
    if not isinstance(types, list) or "linear_attention" not in types:
        return
    if "full_attention_interval" in reader.fields and not reader.reads("layer_types"):
        interval = types.index("full_attention") + 1 if "full_attention" in types else len(types) + 1
        wanted = ["linear_attention" if (at + 1) % interval else "full_attention" for at in range(len(types))]
        if types == wanted:
            _lift(made, reader, "full_attention_interval", interval)
        else:
            made.problems.append(f"layer_types has no one interval, and mlx-lm's {reader.name} knows one")
    elif "linear_attention" not in reader.source and '"mamba"' in reader.source:
        names = {"linear_attention": "mamba", "full_attention": "attention"}
        _lift(made, reader, "layer_types", [names.get(one, one) for one in types])


def _letters(period: int, count: int) -> str:
    """L for each layer with a window, G for each without: every so many layers."""
    return "".join("LG"[(at + 1) % period == 0] for at in range(count))


def _lift_missing(made: Form, known: Any, reader: Reader) -> None:
    """Values that config.json leaves out because they are transformers' defaults, if mlx-lm's are others."""
    for name, default in reader.fields.items():
        if name in made.values or name in _KEPT or (default is None and name != "layer_types"):
            continue  # of None mlx-lm makes what follows from the other values, as transformers does
        value = value_of(known, name)
        if value is None and "text_config" in reader.fields:  # of the whole and of its part, such as vocab_size
            value = value_of(getattr(known, "text_config", None), name)
        if name == "rope_parameters" and (default is not REQUIRED and reader.reads(*THETA)):
            continue
        if name == "layer_types" and default is None and "sliding_attention" not in (value or ()):
            continue
        if value is not None and not hasattr(value, "model_type") and not callable(value):
            _lift(made, reader, name, value)
    for name, default in reader.fields.items():
        own = name == "head_dim" and default is not None and name not in type(known).__dataclass_fields__
        is_open = name not in made.values or (name in _DERIVED and made.values[name] is None)
        if is_open and (default is REQUIRED or own) and (value := _derived(name, made.values, known)) is not None:
            _lift(made, reader, name, value)


def _derived(name: str, values: Mapping[str, Any], known: Any) -> Any:
    """What transformers computes from other values where mlx-lm wants it written; None if it is not known."""
    size, heads = values.get("hidden_size"), values.get("num_attention_heads")
    if name == "head_dim" and isinstance(size, int) and isinstance(heads, int):
        return size // heads
    if name == "n_inner" and isinstance(values.get("n_embd"), int):
        return 4 * values["n_embd"]
    if name == "intermediate_size" and isinstance(size, int) and value_of(known, "expand") is not None:
        return int(known.expand * size)
    if name == "is_moe_layer" and isinstance(kinds := value_of(known, "mlp_layer_types"), list):
        return [kind == "sparse" for kind in kinds]
    if name in (fixed := _FIXED.get(known.model_type, {})):
        return fixed[name]
    same = {"n_ctx": "max_position_embeddings", "block_dim": "hidden_size"}
    return 1.0 if name == "partial_rotary_factor" else value_of(known, same.get(name, name))


def differences(made: Form) -> Iterator[str]:
    """One clause for each lifted value: what mlx-lm would take by itself, and what is right."""
    for name, value in made.lifted.items():
        if name in _UNSAID:
            continue
        alone = made.alone[name]
        was = "missing" if alone is REQUIRED or alone is None else shortened(repr(alone), 40)
        yield f"{name} {was} instead of {shortened(repr(value), 60)}"
