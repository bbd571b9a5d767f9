"""Checks of config.json before a model is built from it: MLX divides by a size of 0 in C++, which ends the process."""

import math
import re
from collections.abc import Iterator, Mapping

from finetune.errors import shortened

# What most models have, each from 1. Those that may vary are null if they follow from others, or a list with one a layer.
MOST = {
    "num_hidden_layers": 1000,
    "num_attention_heads": 10**5,
    "num_key_value_heads": 10**5,
    "hidden_size": 10**6,
    "head_dim": 10**5,
    "intermediate_size": 10**7,
    "vocab_size": 10**8,
}
_MAY_VARY = ("num_key_value_heads", "head_dim", "intermediate_size")
# By the end of the name, what only some architectures have. 0 and -1 can mean that the model has no such part.
_MOST_OF_SOME = {"layers?": 1000, "heads?|experts?|groups?": 10**5, "size|dim|rank|embd|inner|kernel|positions": 10**8}
_POSITIVE = ("rope_theta", "rope_local_base_freq", "query_pre_attn_scalar")
_BITS = (1, 2, 3, 4, 5, 6, 8)
_GROUPS = (16, 32, 64, 128)


def problems(config: Mapping[str, object]) -> Iterator[str]:
    """One clause for each value that no model can have. What is wrong for one architecture only is left to its loader."""
    if not isinstance(config.get("model_type"), str):
        yield "config.json has no model_type"
    text = config.get("text_config") or config
    if not isinstance(text, Mapping):
        yield "text_config in config.json is not a mapping"
        return
    for name, value in text.items():
        if not _is_possible(name, value):
            yield f"{shortened(name)} in config.json is {shortened(repr(value))}"
    yield from _of_rope(text.get("rope_parameters"))
    pattern = text.get("sliding_window_pattern")
    without = text.get("sliding_window") is None and pattern == 0  # how transformers writes that no layer has a window
    if isinstance(pattern, int) and pattern < 1 and not without:
        yield f"sliding_window_pattern in config.json is {pattern!r}"
    quantization = config.get("quantization")
    if quantization is None:
        return
    if not isinstance(quantization, Mapping):
        yield f"quantization in config.json is {shortened(repr(quantization))}"
        return
    layers = {f" of {shortened(name)}": value for name, value in quantization.items() if isinstance(value, Mapping)}
    for place, value in {"": quantization, **layers}.items():
        bits, group = value.get("bits"), value.get("group_size")
        if bits not in _BITS or group not in _GROUPS:
            yield f"quantization{place} in config.json is {shortened(repr(bits))} bits in groups of {shortened(repr(group))}"


def _of_rope(parameters: object) -> Iterator[str]:
    """Of RoPE for all layers, or for each type of layer."""
    if parameters is not None and not isinstance(parameters, Mapping):
        yield f"rope_parameters in config.json is {shortened(repr(parameters))}"
        return
    inner = [value for value in (parameters or {}).values() if isinstance(value, Mapping)]
    for theta in (one.get("rope_theta") for one in [parameters or {}, *inner]):
        if not _is_possible("rope_theta", theta):
            yield f"rope_theta of rope_parameters in config.json is {shortened(repr(theta))}"


def _is_possible(name: str, value: object) -> bool:
    if name in MOST:
        if name in _MAY_VARY and (value is None or isinstance(value, list)):
            return all(_is_possible(name, each) for each in value or ())
        return type(value) is int and 1 <= value <= MOST[name]
    if name in _POSITIVE:
        each = value if isinstance(value, list) else [value]  # some types have one for each layer
        return all(
            one is None or (isinstance(one, (int, float)) and one is not True and 0 < one < math.inf) for one in each
        )
    most = next((most for ending, most in _MOST_OF_SOME.items() if re.fullmatch(f".*({ending})", name)), None)
    return most is None or type(value) is not int or -1 <= value <= most
