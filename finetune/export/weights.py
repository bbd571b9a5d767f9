"""The tensors of safetensors files as float32 in numpy, some rows at a time; and such files written in the same way.

No framework is needed, and no tensor is in memory as a whole: a model of any size is read, changed and written in a few
hundred megabytes.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from finetune.errors import UserError, shortened
from finetune.models.foreign import check_safetensors, foreign

if TYPE_CHECKING:
    import numpy as np

VALUES_AT_ONCE = 1 << 22  # in float32 16 MB
_SIZES = {"F32": 4, "F16": 2, "BF16": 2}  # bytes of a number
_OTHERS = {"U32": "<u4", "U8": "u1", "I32": "<i4", "I64": "<i8", "I8": "i1", "U16": "<u2", "BOOL": "u1"}
_MLX_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # in a hash of adapters
_LARGEST_F16 = 65504.0


@dataclass(frozen=True)
class Stored:
    """A tensor in a file. ``kind`` is its type in the words of safetensors, such as BF16."""

    name: str
    kind: str
    shape: tuple[int, ...]
    data: "np.ndarray"  # its bytes, uint8

    @property
    def is_real(self) -> bool:
        """Whether it holds floating-point numbers of a type that can be read here."""
        return self.kind in _SIZES

    def raw(self, start: int, stop: int) -> "np.ndarray":
        """Rows as they lie in the file: of the type of its numbers, BF16 as uint16."""
        import numpy as np

        kind = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", **_OTHERS}[self.kind]
        inner = self.shape[1:]
        width = math.prod(inner) * np.dtype(kind).itemsize
        return self.data[start * width : stop * width].view(kind).reshape(-1, *inner)

    def rows(self, start: int, stop: int) -> "np.ndarray":
        """Rows, or numbers of a vector, in float32."""
        import numpy as np

        raw = self.raw(start, stop)
        if self.kind == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32)

    def whole(self) -> "np.ndarray":
        """All of it in float32. For tensors that are small, such as those of an adapter."""
        return self.rows(0, self.shape[0]) if self.shape else self.rows(0, 1).reshape(())


class File(NamedTuple):
    """A safetensors file: its tensors by name, and its metadata."""

    tensors: dict[str, Stored]
    metadata: dict[str, str]


def read(path: Path, exit_code: int = 2) -> File:
    """The tensors of a file; their numbers stay on the disk until they are asked for. UserError if it is damaged."""
    import numpy as np

    with foreign(f"{path}: cannot be read", exit_code=exit_code):
        check_safetensors(path)
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        metadata = dict(header.pop("__metadata__", None) or {})
        content = np.memmap(path, mode="r")[8 + size :] if header else np.empty(0, np.uint8)
        tensors = {}
        for name, about in header.items():
            start, end = about["data_offsets"]
            tensors[name] = Stored(name, about["dtype"], tuple(about["shape"]), content[start:end])
    return File(tensors, metadata)


def of_folder(folder: Path) -> dict[str, Stored]:
    """All tensors of a model's folder. UserError for a name that is in two of its files."""
    found: dict[str, Stored] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        tensors = read(path).tensors
        if twice := tensors.keys() & found.keys():
            raise UserError(
                f"{path}: {shortened(min(twice))} is also in another file of the model (remove one of them)"
            )
        found |= tensors
    return found


def of_adapter(path: Path) -> File:
    """The tensors of an adapter's file. UserError (exit 3) if it is damaged, or holds numbers that are not finite."""
    import numpy as np

    file = read(path, exit_code=3)
    if "sha256" in file.metadata and file.metadata["sha256"] != _digest(file.tensors):
        raise UserError(f"{path}: damaged: its content differs from what was saved", exit_code=3)
    for name, tensor in file.tensors.items():
        if not tensor.is_real:
            raise UserError(f"{path}: {shortened(name)} has the type {tensor.kind}, not F32, F16 or BF16", exit_code=3)
        if not np.isfinite(tensor.whole()).all():
            raise UserError(f"{path}: {shortened(name)} has values that are not finite", exit_code=3)
    return file


def _digest(tensors: Mapping[str, Stored]) -> str:
    """The hash that both backends save with their adapters."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        kind = _MLX_NAMES.get(tensor.kind, tensor.kind)
        content.update(f"{name} mlx.core.{kind} {tensor.shape}".encode())
        content.update(tensor.data.tobytes())
    return content.hexdigest()


@dataclass(frozen=True)
class Tensor:
    """A tensor to be written: ``rows(start, stop)`` makes some of its rows, in float32, or of another type as they are.

    ``kind`` is the type that it is to have, in the words of safetensors.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    rows: Callable[[int, int], "np.ndarray"]

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def pieces(self, quantum: int = 1) -> Iterator["np.ndarray"]:
        """Its rows, a whole multiple of ``quantum`` of them at a time."""
        total = self.shape[0] if self.shape else 1
        width = max(1, math.prod(self.shape[1:]))
        step = quantum * max(1, VALUES_AT_ONCE // (width * quantum))
        for start in range(0, total, step):
            yield self.rows(start, min(total, start + step))


def rounded(values: "np.ndarray", kind: str, name: str) -> "np.ndarray":
    """Numbers of float32 as ``kind``, to the nearest, and to the even one of two that are as near. BF16 is uint16.

    UserError if one is not finite, or too large for F16.
    """
    import numpy as np

    if not np.isfinite(values).all():
        raise UserError(f"{shortened(name)} gets values that are not finite (the adapters do not fit this model)", 3)
    if kind == "F16":
        if (peak := float(np.abs(values).max(initial=0.0))) > _LARGEST_F16:
            raise UserError(f"{shortened(name)} holds {peak:.3g}, too large for F16 (use --type bf16 or f32)")
        return values.astype("<f2")
    if kind == "BF16":
        bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return values.astype("<f4")


def size_of(tensors: Sequence[Tensor]) -> int:
    """Bytes that they take in a file."""
    import numpy as np

    return sum(one.count * (_SIZES.get(one.kind) or np.dtype(_OTHERS[one.kind]).itemsize) for one in tensors)


def write(path: Path, tensors: Sequence[Tensor]) -> None:
    """Write a safetensors file, a piece of a tensor after the other. OSError as ``open``."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for one in tensors:
        start, end = end, end + size_of([one])
        header[one.name] = {"dtype": one.kind, "shape": list(one.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for one in tensors:
            for values in one.pieces():
                made = rounded(values, one.kind, one.name) if one.kind in _SIZES else values
                file.write(made.tobytes())
