"""What training changed of a model's weights, read from an adapter's folder into numpy: of FineTune, mlx-lm or PEFT."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from finetune.backends import peft_settings
from finetune.backends.adapter_fit import demand_base
from finetune.errors import UserError, shortened
from finetune.export import weights
from finetune.export.adapters.adapter import Part
from finetune.export.weights import Stored
from finetune.records import files
from finetune.terminal import counted

if TYPE_CHECKING:
    import numpy as np

_PREFIX = "base_model.model."
_LEAVES = re.compile(r"(.+)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector(?:\.weight)?)")
_KINDS = ("lora", "dora", "full")


class Rows(NamedTuple):
    """The trained rows of an embedding: from ``first`` on ``values``; with them it has ``total`` rows."""

    first: int
    values: "np.ndarray"  # [rows, size]
    total: int


@dataclass(frozen=True)
class Trained:
    """All that was trained: ``parts`` by the name of their module, ``whole`` arrays by their own name, and ``rows`` of
    embeddings by the name of their module. ``path`` is the file, for errors."""

    path: Path
    parts: Mapping[str, Part] = field(default_factory=dict)
    whole: Mapping[str, Stored] = field(default_factory=dict)
    rows: Mapping[str, Rows] = field(default_factory=dict)

    def __str__(self) -> str:
        found = []
        if self.parts:
            ranks = sorted({part.a.shape[1] for part in self.parts.values()})
            dora = any(part.m is not None for part in self.parts.values())
            rank = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
            found.append(f"{'DoRA' if dora else 'LoRA'} rank {rank}, {counted(len(self.parts), 'module')}")
        if self.whole:
            found.append(f"{counted(len(self.whole), 'array')} trained in full")
        if self.rows:
            found.append(f"{counted(sum(len(one.values) for one in self.rows.values()), 'row')} of embeddings")
        return ", ".join(found)


def read_mlx(folder: Path, settings: Mapping[str, Any], base: str) -> Trained:
    """The adapter of mlx-lm's kind in a folder. ``base`` is the fingerprint of the model's weights.

    UserError (exit 3) if it is damaged, incomplete or of another model.
    """
    path = folder / files.ADAPTERS
    arrays, metadata = weights.of_adapter(path)
    demand_base(path, metadata, base)
    about = folder / files.ADAPTER_CONFIG
    kind = settings.get("fine_tune_type", "lora")
    if kind not in _KINDS:
        raise UserError(f"{about}: fine_tune_type is {shortened(repr(kind))} (known: {', '.join(_KINDS)})", exit_code=3)
    parameters = settings.get("lora_parameters") or {}
    scale = parameters.get("scale") if isinstance(parameters, Mapping) else None
    if kind != "full" and (type(scale) not in (int, float) or not abs(float(str(scale))) < 1e6):
        raise UserError(f"{about}: lora_parameters has no scale that is a number", exit_code=3)
    found: dict[str, dict[str, np.ndarray]] = {}
    whole, rows = {}, {}
    for name, array in arrays.items():
        module, _, leaf = name.rpartition(".")
        if leaf in ("lora_a", "lora_b", "m"):
            found.setdefault(module, {})[leaf] = array.whole()
        elif leaf == "rows":
            rows[module] = _rows(about, settings, array)
        else:
            whole[name] = array
    if kind == "lora" and any("m" in one for one in found.values()):
        raise UserError(f"{path}: magnitudes of DoRA, but fine_tune_type is lora in {about.name}", exit_code=3)
    parts = {name: _part(path, name, one, float(scale or 0), dora=kind == "dora") for name, one in found.items()}
    return _some(Trained(path, parts, whole, rows))


def _rows(about: Path, settings: Mapping[str, Any], array: Stored) -> Rows:
    shape = settings.get("embeddings")
    first, total = (shape.get("first"), shape.get("vocabulary")) if isinstance(shape, Mapping) else (None, None)
    if type(first) is not int or type(total) is not int or not 0 <= first <= first + array.shape[0] <= total < 1 << 24:
        raise UserError(f"{about}: embeddings is not what train.py writes", exit_code=3)
    return Rows(first, array.whole(), total)


def _part(path: Path, name: str, one: "Mapping[str, np.ndarray]", scale: float, *, dora: bool) -> Part:
    wanted = {"lora_a", "lora_b", *(["m"] if dora else [])}
    if missing := sorted(wanted - one.keys()):
        raise UserError(f"{path}: {shortened(name)}.{missing[0]} is missing", exit_code=3)
    part = Part(one["lora_a"], one["lora_b"], one.get("m"), scale)
    if part.a.ndim == 2 and (part.b.ndim != 2 or part.a.shape[1] != part.b.shape[0]):
        raise UserError(f"{path}: {shortened(name)}: lora_a and lora_b do not fit each other", exit_code=3)
    return part


def read_peft(folder: Path, settings: Mapping[str, Any], base: str) -> Trained:
    """The adapter of PEFT's kind in a folder: LoRA, DoRA, the scale of rsLoRA, and ranks and scales by module.

    UserError (exit 2) for what of PEFT is not supported, and as ``read_mlx``.
    """
    path, about = folder / files.PEFT_ADAPTERS, folder / files.ADAPTER_CONFIG
    arrays, metadata = weights.of_adapter(path)
    demand_base(path, metadata, base)
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        match = _LEAVES.fullmatch(name)
        if not match or not name.startswith(_PREFIX):
            raise UserError(
                f"{path}: {shortened(name)} is not supported (supported: LoRA and DoRA of linear modules; merge it with"
                " merge_and_unload of PEFT)"
            )
        leaf = {"A": "lora_a", "B": "lora_b", "m": "m"}[match[2].removeprefix("lora_")[0]]
        values = array.whole()
        found.setdefault(match[1].removeprefix(_PREFIX), {})[leaf] = values if leaf == "m" else values.T
    dora = bool(settings.get("use_dora"))
    if not dora and any("m" in one for one in found.values()):
        raise UserError(f"{path}: magnitudes of DoRA, but use_dora is not set in {about.name}", exit_code=3)
    try:
        peft_settings.check_patterns(settings, list(found))
    except ValueError as error:
        raise UserError(f"{about}: {error}") from None
    parts = {}
    for name, one in found.items():
        part = _part(path, name, one, 0.0, dora=dora)
        parts[name] = part._replace(scale=_scale(settings, name, part.a.shape[1]))
    return _some(Trained(path, parts))


def _scale(settings: Mapping[str, Any], name: str, rank: int) -> float:
    """As PEFT computes it: alpha / rank, or with rsLoRA (arXiv 2312.03732) alpha / √rank; alpha can differ by module."""
    alpha = float(settings.get("lora_alpha") or 8)
    for pattern, own in (settings.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            alpha = float(own)
            break
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _some(trained: Trained) -> Trained:
    if not (trained.parts or trained.whole or trained.rows):
        raise UserError(f"{trained.path}: the file is empty", exit_code=3)
    return trained
