"""The fields of a configuration dataclass: what each may be, and which of several sources its value comes from."""

import dataclasses
import re
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from finetune.errors import UserError, closest, path_of, shortened

Layer = tuple[str, Mapping[str, object]]  # where values come from ("flag", "quick mode"), and the values by field name
Choices = Mapping[str, Collection[str]]  # registry -> the names that a flag may take


class Given(NamedTuple):
    """A value of a file, and the place that an error about it names: "run.yml:3: batch_size"."""

    value: object
    place: str


def plain(value: object) -> object:
    return value.value if isinstance(value, Given) else value


def option(
    default: Any,
    help: str,
    *,
    choices: str | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    in_file: bool = True,
    group: str = "",
    required: bool = False,
    positional: bool = False,
    several: bool = False,
    commas: bool = False,
) -> Any:
    """A field of a configuration. ``choices`` names the registry whose keys are allowed; the script hands it to ``run``.

    ``in_file``: whether a file can hold it too. ``group``: the heading in the help, of this field and those that follow.
    ``required``: the command line must give it, and the default is never seen; ``positional``: it is given without a flag.
    ``commas``: a text with several values, and commas between them.
    ``several``: it can be given more than once, or as a list in a file; then the value is a tuple.
    """
    limits = {"choices": choices, "at_least": at_least, "at_most": at_most, "above": above}
    where = {"in_file": in_file, "group": group, "required": required or positional, "positional": positional}
    return dataclasses.field(
        default=default, metadata={"help": help, **limits, **where, "several": several, "commas": commas}
    )


def switch(help: str, *, default: bool = False, in_file: bool = True, group: str = "") -> Any:
    """A field that is true or false: a flag without a value, and its ``--no-`` form."""
    return option(default, help, in_file=in_file, group=group)


def key(name: str) -> str:
    """A field's name in a file. A field that would hide a builtin ends in _, which only Python sees: ``type_``."""
    return name.rstrip("_")


def flag(name: str) -> str:
    return "--" + key(name).replace("_", "-")


def build(config_class: type, layers: Sequence[Layer], choices: Choices) -> Any:
    """The configuration: of each value the strongest layer that has it, else the default.

    The result's ``origins`` field, if the class has one, maps each field to the name of the layer it came from.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for field in flags_of(config_class):
        values[field.name], origins[field.name] = field.default, "default"
        for origin, layer in layers:
            if field.name in layer:
                values[field.name] = check_value(config_class, field.name, layer[field.name], choices)
                origins[field.name] = origin
                break
    if any(field.name == "origins" for field in dataclasses.fields(config_class)):
        values["origins"] = origins
    return config_class(**values)


def flags_of(config_class: type) -> list[dataclasses.Field[Any]]:
    """The fields that are flags, a class's own before those it inherits."""
    flags = [field for field in dataclasses.fields(config_class) if "help" in field.metadata]
    return sorted(flags, key=lambda field: field.name not in config_class.__annotations__)


_WANTED = {int: "a whole number", float: "a number", str: "text", Path: "a path", bool: "true or false"}


# one way to write each number: no 1_000, no 010 (eight, to YAML), no digits of other scripts
_NUMBER = {
    int: re.compile(r"[+-]?(0|[1-9][0-9]*)"),
    float: re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"),
}
_LARGEST = {int: 2**53, float: 1e300}


def kind_of(config_class: type, field: dataclasses.Field[Any]) -> tuple[type, bool]:
    """The field's plain type, and whether it can be None."""
    hint = typing.get_type_hints(config_class)[field.name]
    if isinstance(hint, types.UnionType):
        plain = [part for part in typing.get_args(hint) if part is not types.NoneType]
        return plain[0], True
    return hint, False


def check_value(config_class: type, name: str, raw: object, choices: Choices | None = None) -> object:
    """``raw`` (text from a flag or a file, a value from a mode or a record) as the field's type, within its range and choices.

    Choices whose registry is not given are not checked. UserError names the flag, or the place in the file.
    """
    field = next(field for field in dataclasses.fields(config_class) if field.name == name)
    (kind, optional), limits = kind_of(config_class, field), field.metadata
    place = name.upper() if limits["positional"] else flag(name)
    if isinstance(raw, Given):
        raw, place = raw
    if raw is None and optional:
        return None
    if limits["several"] and isinstance(raw, list | tuple) and raw:
        return _several([converted(kind, one, place) for one in raw], place)
    value = converted(kind, raw, place)
    if isinstance(value, int | float) and kind is not bool:
        _demand_in_range(value, limits, _LARGEST[kind], f"{place}: {shortened(str(raw))}")
    registry = (choices or {}).get(limits["choices"] or "")
    if registry is not None and value not in registry:
        hint = f"did you mean {near}? " if (near := _meant(str(value), registry)) else ""
        raise UserError(f"{place}: unknown value {_shown(raw)} ({hint}choose from {', '.join(registry)})")
    return value


def _meant(value: str, registry: Collection[str]) -> str | None:
    """The choice that has this value as another name, or one like it."""
    entries = registry.items() if isinstance(registry, Mapping) else ()
    named = {other: name for name, entry in entries for other in getattr(entry, "also_called", ())}
    near = closest(value, [*registry, *named])
    return named.get(near, near) if near else None


def _several(values: list[object], place: str) -> object:
    """One value as it is, more of them as a tuple; UserError if one is there twice."""
    if twice := [value for at, value in enumerate(values) if value in values[:at]]:
        raise UserError(f"{place}: {_shown(twice[0])} is given twice (give it once)")
    return values[0] if len(values) == 1 else tuple(values)


def converted(kind: type, raw: object, place: str) -> object:
    """``raw`` as a value of type ``kind``: int, float, str, Path or bool. UserError, which begins with ``place``."""

    def wrong() -> UserError:
        return UserError(f"{place}: {_shown(raw)} is not {_WANTED[kind]}")

    if isinstance(raw, bool) and kind is bool:
        return raw
    if isinstance(raw, bool | list | dict) or kind is bool or raw is None:
        raise wrong()
    if raw == "":
        raise UserError(f"{place}: the value is empty")
    if kind is Path:
        return path_of(str(raw), place)
    if kind not in _NUMBER:
        return kind(raw)
    if isinstance(raw, str) and not _NUMBER[kind].fullmatch(raw):
        raise wrong()
    read = float if kind is int and len(str(raw)) > 400 else kind  # Python reads no more than 4300 digits
    try:
        value = read(raw)
    except (TypeError, ValueError, OverflowError):
        raise wrong() from None
    if value != value or (not isinstance(raw, str) and value != raw):
        raise wrong()
    return value


def _demand_in_range(value: float, limits: Mapping[str, Any], largest: float, place: str) -> None:
    least = limits["at_least"] if limits["above"] is None else limits["above"]
    most = largest if limits["at_most"] is None else limits["at_most"]
    if least is not None and (value < least or (value == least and limits["above"] is not None)):
        bound = "at least" if limits["above"] is None else "more than"
        raise UserError(f"{place} is too small ({bound} {least})")
    if not abs(value) <= most:
        raise UserError(f"{place} is too large (at most {most})")


def _shown(raw: object) -> str:
    if isinstance(raw, (list, dict)):
        return "a list" if isinstance(raw, list) else "a mapping"
    if raw is None or isinstance(raw, bool):
        return {None: "null", True: "true", False: "false"}[raw]
    return shortened(repr(raw))
