"""Checks of config.json before a model is built from it: MLX divides by a size of 0 in C++, which ends the process."""

from collections.abc import Iterator, Mapping

_MOST = {"num_hidden_layers": 1000, "hidden_size": 10**6, "num_attention_heads": 10**5, "vocab_size": 10**8}
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
    for name, most in _MOST.items():
        value = text.get(name, 1)
        if type(value) is not int or not 1 <= value <= most:
            yield f"{name} in config.json is {value!r}"
    pattern = text.get("sliding_window_pattern")
    if pattern is not None and (type(pattern) is not int or pattern < 1):
        yield f"sliding_window_pattern in config.json is {pattern!r}"
    quantization = config.get("quantization")
    if quantization is None:
        return
    if not isinstance(quantization, Mapping):
        yield f"quantization in config.json is {quantization!r}"
        return
    if quantization.get("bits") not in _BITS or quantization.get("group_size") not in _GROUPS:
        bits, group = quantization.get("bits"), quantization.get("group_size")
        yield f"quantization in config.json is {bits!r} bits in groups of {group!r}"
