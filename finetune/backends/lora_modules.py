"""--lora-modules: the modules of a model's layers that its names and patterns stand for. Knows names alone, of any backend."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import NamedTuple

from finetune.errors import UserError, shortened
from finetune.settings.config import TrainingConfig

ALL = "all"
_RANGE = re.compile(r"(\d+)-(\d+)")


class Place(NamedTuple):
    """A module that can be adapted."""

    layer: int
    name: str  # within the layer: self_attn.q_proj
    path: str  # in the network: model.layers.3.self_attn.q_proj

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def layers(self) -> str:
        """What the list of layers is called: layers, h, blocks."""
        return self.path.removesuffix(f".{self.layer}.{self.name}").rpartition(".")[2]


def choose(
    config: TrainingConfig, places: Sequence[Place], depth: int, barred: Mapping[str, str] | None = None
) -> list[Place]:
    """The places that the settings choose of a model with ``depth`` layers, in their order.

    ``barred``: modules that cannot be adapted, by their names within a layer, and why, as a clause about the module. UserError
    if the model has no such layers, or a name or pattern stands for nothing.
    """
    count = depth if config.lora_layers is None else config.lora_layers
    if count > depth:
        raise UserError(f"--lora-layers: the model has {depth} layers, not {count}")
    barred = barred or {}
    there = [place for place in places if place.layer >= depth - count]
    free = [place for place in there if place.name not in barred]
    if config.lora_modules == ALL:
        return free
    chosen: set[Place] = set()
    for pattern in patterns(config):
        _demand_range(pattern, places, depth)
        found = matching(pattern, there)
        if not set(found) & set(free):
            if not found and (elsewhere := matching(pattern, places)):
                where = spans(place.layer for place in elsewhere)
                raise UserError(
                    f"--lora-modules: {shortened(pattern)!r} is in layer {where} of 0-{depth - 1}, and --lora-layers {count}"
                    f" adapts the last {count} only (omit --lora-layers)"
                )
            raise UserError(f"--lora-modules: {_why_none(pattern, found, free, barred)}")
        if any(place.name == pattern and place.name in barred for place in found):
            raise UserError(f"--lora-modules: {pattern} cannot be adapted: {barred[pattern]}")
        chosen |= set(found) & set(free)
    return [place for place in free if place in chosen]


def patterns(config: TrainingConfig) -> list[str]:
    return [name.strip() for name in config.lora_modules.split(",")]


def matching(pattern: str, places: Sequence[Place]) -> list[Place]:
    """Where a name or pattern points: q_proj, self_attn.q_proj, self_attn, *.q_proj, self_attn.*, layers.8-15.*; with the
    name of the whole module, to that alone."""
    if "." in pattern and (exact := [place for place in places if pattern in (place.name, place.path)]):
        return exact
    if not pattern:
        return []
    numbers, part = _divided(pattern, places)
    forms = [form for one in (part, f"*.{part}") for form in (one, f"{one}.*")] if part else ["*"]
    return [
        place
        for place in places
        if _is_number(place.layer, numbers) and any(fnmatchcase(f".{place.name}", form) for form in forms)
    ]


def _divided(pattern: str, places: Sequence[Place]) -> tuple[str, str]:
    """Of layers.8-15.mlp.up_proj: 8-15 and mlp.up_proj; "*" or "" for a part that it does not have."""
    lists = {"layers", *(place.layers for place in places[:1])}
    found = re.fullmatch(rf"(?:[^*?\[]*\.)?(?:{'|'.join(map(re.escape, lists))})\.([\d*?\[\]!-]+)(?:\.(.*))?", pattern)
    return (found[1], found[2] or "") if found else ("*", pattern)


def _is_number(layer: int, numbers: str) -> bool:
    if of_range := _RANGE.fullmatch(numbers):
        return int(of_range[1]) <= layer <= int(of_range[2])
    return fnmatchcase(str(layer), numbers)


def _demand_range(pattern: str, places: Sequence[Place], depth: int) -> None:
    """UserError for layers that the model does not have."""
    numbers, _ = _divided(pattern, places)
    first, _, last = numbers.partition("-") if _RANGE.fullmatch(numbers) else (numbers, "", numbers)
    if not last.isdecimal():
        return
    if len(last) > 9 or int(last) >= depth:
        raise UserError(f"--lora-modules: {shortened(pattern)!r}: the model has the layers 0 to {depth - 1}")
    if len(first) > 9 or int(first) > int(last):
        raise UserError(f"--lora-modules: {shortened(pattern)!r}: {first} is above {last} (write {last}-{first})")


def _why_none(pattern: str, found: Sequence[Place], free: Sequence[Place], barred: Mapping[str, str]) -> str:
    shown = shortened(pattern)
    if found:
        name = found[0].name
        return f"{name if shown in name else f'{shown!r} ({name})'} cannot be adapted: {barred[name]}"
    names = {place.name if "." in pattern else place.last for place in free}
    return f"the model has no module {shown!r} (choose from {shortened(', '.join(sorted(names)), 600)})"


def notes(config: TrainingConfig, places: Sequence[Place], barred: Mapping[str, str]) -> list[str]:
    """What is not adapted although the settings mean it, and why, a clause each."""
    meant = places
    if config.lora_modules != ALL:
        meant = [place for pattern in patterns(config) for place in matching(pattern, places)]
    names = sorted({place.name for place in meant} & barred.keys())
    return [
        f"not adapted: {shortened(', '.join(name for name in names if barred[name] == reason), 200)}: {reason}"
        for reason in sorted({barred[name] for name in names})
    ]


def spans(numbers: Iterator[int] | Sequence[int]) -> str:
    """0-3, 5, 7-9"""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def without(names: Sequence[Place], excluded: Sequence[Place]) -> str:
    """A value of --lora-modules for ``names`` that matches none of the ``excluded``; empty if there are none."""
    lasts = {place.last for place in excluded}
    parts = {place.name if place.last in lasts else place.last for place in names}
    return ",".join(sorted(parts))


def for_first_layers(config: TrainingConfig, places: Sequence[Place], depth: int) -> TrainingConfig:
    """The settings for a model cut to its first ``depth`` layers, whose modules are ``places``: the same names, of whatever
    layers they were meant, as far as they are in these."""
    if config.lora_modules == ALL or config.fine_tune_type == "full" or not places:
        return config
    anywhere = (_divided(pattern, places)[1] or "*" for pattern in patterns(config))
    found = {pattern: matching(pattern, places) for pattern in anywhere}
    found = {pattern: of_it for pattern, of_it in found.items() if of_it}
    if not found:
        return replace(config, lora_modules=ALL)
    reached = depth - min(max(place.layer for place in of_it) for of_it in found.values())
    layers = None if config.lora_layers is None else max(config.lora_layers, reached)
    return replace(config, lora_modules=",".join(found), lora_layers=layers)
