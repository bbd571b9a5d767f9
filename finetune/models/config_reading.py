"""What transformers and mlx-lm make of a config.json: transformers' object, and what a class of mlx-lm reads."""

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

REQUIRED = object()  # the default of a field that has none


@dataclass(frozen=True)
class Reader:
    """A class of mlx-lm that is made from config.json: its fields with their defaults, and those that its code uses.

    ``source`` is the text of its module, which names the kinds of RoPE that it knows; ``sources`` with those that it imports.
    """

    name: str
    fields: Mapping[str, object]
    used: frozenset[str]
    source: str = ""
    sources: str = ""

    def reads(self, *names: str) -> bool:
        return any(name in self.used for name in names)


@dataclass
class Form:
    """``values`` are for the class. ``lifted`` are those that it would not have found, ``alone`` what it would have had.

    ``problems`` and ``notes`` are clauses about what it cannot take: it computes something else, or only in some cases.
    ``theirs`` are clauses about what transformers does not read of config.json, and it does."""

    values: dict[str, Any]
    lifted: dict[str, Any] = field(default_factory=dict)
    alone: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    theirs: list[str] = field(default_factory=list)


def known_config(config: Mapping[str, Any]) -> Any | None:
    """The config object that transformers makes of a config.json; None for a type, or values, that it does not know.

    No code that comes with the model is run.
    """
    return _understood(config)[0]


def why_not_known(config: Mapping[str, Any]) -> str:
    """Why transformers does not understand a config.json of a type that it has; "" if it does, or has no such type."""
    return _understood(config)[1]


def _understood(config: Mapping[str, Any]) -> tuple[Any | None, str]:
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        return None, ""
    try:
        with _silent():
            return CONFIG_MAPPING[kind].from_dict(_without_types(config)), ""
    except (
        StrictDataclassError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        ImportError,
    ) as error:
        return None, " ".join(str(error.__cause__ or error).split()) or type(error).__name__


@contextmanager
def _silent() -> Iterator[None]:
    """Without what transformers says of values, such as token ids beyond the vocabulary."""
    import transformers

    loudness = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(loudness)


def _without_types(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without the types of numbers, for which transformers would import PyTorch, and with infinity as a number."""
    types = ("dtype", "torch_dtype")
    return {name: _plain(value) for name, value in config.items() if name not in types}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return float(value["__float__"]) if value.keys() == {"__float__"} else _without_types(value)
    return [_plain(each) for each in value] if isinstance(value, list) else deepcopy(value)


def value_of(known: Any, name: str) -> Any:
    """A value of transformers' config under one of its names; None if it has none."""
    try:
        return getattr(known, name, None)
    except (ValueError, RuntimeError, TypeError):  # what a property of a config may raise
        return None


def usual_of(known: Any | None) -> Any | None:
    """A config of the same type with its usual values; None if there are none."""
    try:
        with _silent():
            return None if known is None else type(known)()
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def used_names(source: str) -> Iterator[str]:
    """Names of attributes that a module reads: anywhere outside its classes of settings, or to make another one there."""
    for node in ast.parse(source).body:
        is_settings = isinstance(node, ast.ClassDef) and any(isinstance(each, ast.AnnAssign) for each in node.body)
        statements = (each for each in ast.walk(node) if isinstance(each, ast.Assign | ast.AugAssign | ast.Return))
        for part in statements if is_settings else (node,):
            for each in ast.walk(part):
                if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Load):
                    yield each.attr
                elif isinstance(each, ast.Constant) and isinstance(each.value, str):  # getattr(args, "name", None)
                    yield each.value
