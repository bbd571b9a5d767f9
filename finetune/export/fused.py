"""The tensors of a model with what was trained added in: W + scale · (a b)ᵀ in float32, tensor by tensor, rounded once."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.errors import UserError, shortened
from finetune.export import weights
from finetune.export.adapters.adapter import Part
from finetune.export.trained import Rows, Trained
from finetune.export.weights import Stored, Tensor

if TYPE_CHECKING:
    import numpy as np

# transformers saves these the other way round than a linear module has them, and mlx-lm turns them: not to be told by shape
_TURNED = {"gpt2", "gpt_bigcode"}
_HEAD = "lm_head.weight"
_QUANTISED = (".scales", ".biases")


class Unmatched(Exception):
    """What was trained cannot be found in the files of the model by its name; the message is a clause."""


@dataclass(frozen=True)
class FusedModel:
    """``tensors`` are those of the fused model; ``vocabulary`` the rows of its embeddings, if they grew. ``dequantised``: so
    many matrices that MLX had quantised are whole again."""

    tensors: list[Tensor]
    vocabulary: int | None
    dequantised: int


def fused_model(folder: Path, trained: Trained, kind: str | None = None) -> FusedModel:
    """The model in ``folder`` with what was ``trained``; ``kind`` is the type of all its tensors, None for that of each.

    Unmatched if that cannot be done by name alone. UserError (exit 3) if something trained does not fit.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config") or config
    if str(text.get("model_type")) in _TURNED:
        raise Unmatched(f"weights of a {text['model_type']} lie the other way round in its files")
    stored = weights.of_folder(folder)
    if _is_tied(config) and _HEAD in stored:
        del stored[_HEAD]  # a copy of the embeddings, which mlx-lm and transformers replace by them
    matrices = _matrices(stored, config.get("quantization") or {})
    changes = _changes(matrices, trained)
    tensors = [matrix.tensor(kind, changes.get(name)) for name, matrix in matrices.items()]
    grown = [one.shape[0] for one in tensors if one.name in changes and one.shape[0] > matrices[one.name].shape[0]]
    dequantised = sum(isinstance(one, _Packed) for one in matrices.values())
    return FusedModel(tensors, max(grown, default=None), dequantised)


def _is_tied(config: Mapping[str, Any]) -> bool:
    from finetune.models.config_reading import known_config

    return bool(getattr(known_config(config), "tie_word_embeddings", config.get("tie_word_embeddings", False)))


@dataclass(frozen=True)
class _Plain:
    """A tensor as it lies in the files."""

    stored: Stored

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    def tensor(self, kind: str | None, change: "_Change | None") -> Tensor:
        own = self.stored
        if not own.is_real:
            if change is not None or own.kind not in weights._OTHERS:
                raise Unmatched(f"{shortened(own.name)} has the type {own.kind}")
            return Tensor(own.name, own.kind, own.shape, own.raw)
        return _tensor(own.name, kind or own.kind, own.shape, own.rows, change)


@dataclass(frozen=True)
class _Packed:
    """A matrix that MLX quantised: ``how`` has group_size, bits and mode; None is what mlx-lm takes for it then."""

    packed: Stored
    scales: Stored
    biases: Stored | None
    how: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        *outer, words = self.packed.shape
        return (*outer, words * 32 // int(self.how.get("bits", 4)))

    def rows(self, start: int, stop: int) -> "np.ndarray":
        import numpy as np

        from finetune.backends.mlx.runtime import mx

        real = self.scales.is_real
        scales = mx.array(self.scales.rows(start, stop) if real else self.scales.raw(start, stop))
        biases = None if self.biases is None else mx.array(self.biases.rows(start, stop))
        how = {"group_size": 64, "bits": 4, "mode": "affine", **self.how}
        with mx.stream(mx.cpu):
            values: Any = mx.dequantize(mx.array(self.packed.raw(start, stop)), scales, biases, **how)
            return np.array(values.astype(mx.float32))

    def tensor(self, kind: str | None, change: "_Change | None") -> Tensor:
        own = self.scales.kind if self.scales.is_real else "BF16"
        return _tensor(self.packed.name, kind or own, self.shape, self.rows, change)


def _matrices(stored: Mapping[str, Stored], quantization: Mapping[str, Any]) -> dict[str, _Plain | _Packed]:
    """The tensors of a folder by name, quantised ones as one each."""
    found: dict[str, _Plain | _Packed] = {}
    every = {name: quantization[name] for name in ("group_size", "bits", "mode") if name in quantization}
    for name, tensor in stored.items():
        module, _, leaf = name.rpartition(".")
        if f".{leaf}" in _QUANTISED and f"{module}.scales" in stored:
            continue
        if leaf == "weight" and (scales := stored.get(f"{module}.scales")):
            own = quantization.get(module)
            how = {**every, **own} if isinstance(own, Mapping) else every
            found[name] = _Packed(tensor, scales, stored.get(f"{module}.biases"), how)
        else:
            found[name] = _Plain(tensor)
    return found


@dataclass(frozen=True)
class _Change:
    """What becomes of one tensor: exactly one of the three."""

    part: Part | None = None
    whole: Stored | None = None
    rows: Rows | None = None


def _changes(matrices: Mapping[str, _Plain | _Packed], trained: Trained) -> dict[str, _Change]:
    """By the name of the tensor in the files."""
    changes: dict[str, _Change] = {}
    for module, part in trained.parts.items():
        name = _place(f"{module}.weight", matrices)
        if part.a.ndim != 2 or len(matrices[name].shape) != 2:
            raise Unmatched(f"{shortened(module)} is an adapter of experts")
        if (part.b.shape[1], part.a.shape[0]) != matrices[name].shape:
            raise Unmatched(f"{shortened(module)} has another shape in the files of the model")
        changes[name] = _Change(part=part)
    for array, whole in trained.whole.items():
        name = _place(array, matrices)
        if whole.shape[1:] != matrices[name].shape[1:]:
            raise Unmatched(f"{shortened(array)} has another shape in the files of the model")
        changes[name] = _Change(whole=whole)
    for module, rows in trained.rows.items():
        name = _place(f"{module}.weight", matrices)
        if rows.values.shape[1:] != matrices[name].shape[1:] or rows.total < matrices[name].shape[0]:
            raise UserError(f"{trained.path}: does not fit the model: {shortened(module)}.rows", exit_code=3)
        changes[name] = _Change(rows=rows)
    if len(changes) < len(trained.parts) + len(trained.whole) + len(trained.rows):
        raise Unmatched("two of its arrays are for the same tensor")
    return changes


def _place(name: str, matrices: Mapping[str, object]) -> str:
    """The name in the files of a tensor that the adapter calls ``name``: the same, or the only one that ends like it."""
    if name in matrices:
        return name
    tail = name[name.index(".layers.") :] if ".layers." in name else f".{name}"
    ends = [one for one in matrices if f".{one}".endswith(tail)]
    if len(ends) != 1:
        raise Unmatched(f"{shortened(name)} is not in the files of the model by this name")
    return ends[0]


def _tensor(name: str, kind: str, shape: tuple[int, ...], rows: Any, change: _Change | None) -> Tensor:
    if change is None:
        return Tensor(name, kind, shape, rows)
    if change.whole is not None:
        return Tensor(name, kind, change.whole.shape, change.whole.rows)
    if change.rows is not None:
        grown = _Grown(rows, shape[0], change.rows)
        return Tensor(name, kind, (change.rows.total, *shape[1:]), grown)
    assert change.part is not None
    return Tensor(name, kind, shape, _Adapted(rows, change.part))


@dataclass(frozen=True)
class _Adapted:
    """The rows of a linear module with its adapter: LoRA (arXiv 2106.09685), or DoRA (2402.09353)."""

    base: Any  # rows(start, stop)
    part: Part

    def __call__(self, start: int, stop: int) -> "np.ndarray":
        import numpy as np

        part = self.part
        update = (part.b[:, start:stop].T * np.float32(part.scale)) @ part.a.T
        values = self.base(start, stop) + update
        if part.m is None:
            return values
        norms = np.sqrt(np.square(values, dtype=np.float64).sum(axis=1)).astype(np.float32)
        return values * (part.m[start:stop] / np.where(norms == 0, 1, norms))[:, None]


class _Grown:
    """An embedding with trained rows; rows between the old ones and those, which no token has, are the mean of the old."""

    def __init__(self, base: Any, count: int, rows: Rows):
        self._base, self._count, self._rows = base, count, rows
        self._mean: Any = None

    def _filler(self) -> "np.ndarray":
        import numpy as np

        if self._mean is None:
            step = max(1, weights.VALUES_AT_ONCE // max(1, math.prod(self._rows.values.shape[1:])))
            sums = [
                self._base(at, min(self._count, at + step)).sum(axis=0, dtype=np.float64)
                for at in range(0, self._count, step)
            ]
            self._mean = (np.sum(sums, axis=0) / self._count).astype(np.float32)
        return self._mean

    def __call__(self, start: int, stop: int) -> "np.ndarray":
        import numpy as np

        values = np.empty((stop - start, *self._rows.values.shape[1:]), np.float32)
        old = min(stop, self._count)
        if start < old:
            values[: old - start] = self._base(start, old)
        if stop > self._count:
            values[max(0, self._count - start) :] = self._filler()
        first, last = self._rows.first, self._rows.first + len(self._rows.values)
        low, high = max(start, first), min(stop, last)
        if low < high:
            values[low - start : high - start] = self._rows.values[low - first : high - first]
        return values
