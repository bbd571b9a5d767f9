"""The settings of an adapter of PEFT, adapter_config.json: checked before PEFT takes them, since it takes nearly anything.

``python -m finetune.backends.peft_settings`` is the child process that tries regular expressions: one can take for ever.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from finetune.errors import shortened
from finetune.models import child

_SECONDS, _MEMORY = 10, 500_000_000
_MOST_RANK, _MOST_ALPHA = 1 << 16, 1e6
# settings that change what LoRA computes or train more than the adapter; megatron_config has a module imported by its name
WITHOUT_COUNTERPART = (
    "modules_to_save lora_bias trainable_token_indices target_parameters layer_replication alora_invocation_tokens"
    " use_qalora use_bdlora arrow_config kasa_config velora_config monteclora_config megatron_config"
).split()


def check(settings: Mapping[str, Any]) -> None:
    """ValueError for the first setting that has a wrong type or a value that no adapter has."""
    if (kind := settings.get("peft_type")) != "LORA":
        raise ValueError(f"peft_type {shortened(repr(kind))} (supported: LORA)")
    for name, is_right in _RIGHT.items():
        if name in settings and settings[name] is not None and not is_right(settings[name]):
            raise ValueError(f"{name} is {shortened(repr(settings[name]))}")
    if not settings.get("target_modules"):
        raise ValueError("target_modules is missing")


def check_patterns(settings: Mapping[str, Any], modules: Iterable[str]) -> None:
    """ValueError if a regular expression of the settings is none, or takes too long on these names of modules."""
    layers = settings.get("layers_pattern")
    patterns = [one for name in ("target_modules", "exclude_modules") if isinstance(one := settings.get(name), str)]
    patterns += [layers] if isinstance(layers, str) else layers or []
    patterns += [*(settings.get("rank_pattern") or {}), *(settings.get("alpha_pattern") or {})]
    if all(re.fullmatch(r"[\w.-]*", pattern) for pattern in patterns):
        return
    try:
        problem = child.run(__name__, [patterns, list(modules)], seconds=_SECONDS, memory=_MEMORY)
    except child.Ended as ended:
        problem = f"a regular expression for modules {ended}"
    if problem:
        raise ValueError(problem)


def _try(request: tuple[list[str], list[str]]) -> str:
    """Match as PEFT does."""
    for pattern in request[0]:
        try:
            forms = [re.compile(form) for form in (pattern, rf"(.*\.)?({pattern})$", rf".*\.{pattern}\.(\d+)\.")]
        except (re.error, RecursionError, OverflowError) as error:
            return f"{shortened(pattern)!r} is not a regular expression: {error}"
        for name in request[1]:
            for form in forms:
                form.fullmatch(name)
                form.match(name)
    return ""


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_rank(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MOST_RANK


def _is_alpha(value: Any) -> bool:
    return _is_number(value) and abs(value) < _MOST_ALPHA


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10_000


_RIGHT = {
    "r": _is_rank,
    "lora_alpha": _is_alpha,
    "lora_dropout": lambda value: _is_number(value) and 0 <= value < 1,
    **dict.fromkeys(
        ("target_modules", "exclude_modules", "layers_pattern"),
        lambda value: isinstance(value, str) or _is_texts(value),
    ),
    "layers_to_transform": lambda value: all(map(_is_count, value if isinstance(value, list) else [value])),
    "rank_pattern": lambda value: isinstance(value, dict) and all(map(_is_rank, value.values())),
    "alpha_pattern": lambda value: isinstance(value, dict) and all(map(_is_alpha, value.values())),
    **dict.fromkeys(("base_model_name_or_path", "task_type", "revision"), lambda value: isinstance(value, str)),
    **dict.fromkeys(
        ("use_rslora", "use_dora", "fan_in_fan_out", "inference_mode"), lambda value: isinstance(value, bool)
    ),
}

if __name__ == "__main__":
    child.answer(_try)
