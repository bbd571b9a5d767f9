"""Weights of experts as transformers saves them, for classes of mlx-lm that know other forms of them."""

import re
from collections.abc import Mapping
from typing import Any

from finetune.backends.mlx.runtime import Arrays, mx

_STACKED = re.compile(r"(.*)\.switch_mlp\.(\w+)\.weight")
_BOTH, _BIAS = ".experts.gate_up_proj", ".experts.gate_up_proj_bias"
_DOWN, _DOWN_BIAS = ".experts.down_proj", ".experts.down_proj_bias"


def as_read(kind: str, weights: Mapping[str, Any]) -> Arrays:
    """Weights of a model of type ``kind`` in a form that mlx-lm reads; those that it reads stay as they are.

    gpt-oss, not quantised: of all experts of a layer in one array [experts, in, out], gates and values by turns. mlx-lm knows
    them quantised, and as one array [experts, out, in] for each.
    """
    if kind != "gpt_oss":
        return dict(weights)
    found: Arrays = {}
    for name, array in weights.items():
        if name.endswith(_BOTH):
            turned = array.swapaxes(-1, -2)
            for at, part in enumerate(("gate_proj", "up_proj")):
                found[name.replace("gate_up_proj", f"{part}.weight")] = mx.contiguous(turned[..., at::2, :])
        elif name.endswith(_BIAS):
            for at, part in enumerate(("gate_proj", "up_proj")):
                found[name.replace("gate_up_proj_bias", f"{part}.bias")] = mx.contiguous(array[..., at::2])
        elif name.endswith(_DOWN):
            found[f"{name}.weight"] = mx.contiguous(array.swapaxes(-1, -2))
        elif name.endswith(_DOWN_BIAS):
            found[name.replace("down_proj_bias", "down_proj.bias")] = array
        else:
            found[name] = array
    return found


def stacked(weights: Mapping[str, Any], wanted: set[str]) -> Arrays:
    """Weights with one array of all experts wherever ``wanted`` has its name and ``weights`` one of each expert."""
    found = dict(weights)
    for name in wanted - weights.keys():
        if parts := _STACKED.fullmatch(name):
            each: list[Any] = []
            while (one := f"{parts[1]}.experts.{len(each)}.{parts[2]}.weight") in found:
                each.append(found.pop(one))
            if each:
                found[name] = mx.stack(each)
    return found
