"""Reads the header of a GGUF file: its metadata, and where its tensors lie. The tensors themselves stay on the disk.

The gguf package has a reader too. It believes every count in the file: 49 bytes that announce 2^63 values keep it busy until
the memory is full. Here a count is compared with what is left of the file before anything is read or allocated.
"""

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from finetune.errors import UserError, shortened

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGMLQuantizationType

# Far above those of any model, and small enough to loop over.
MOST_ENTRIES = 1 << 16  # pairs of metadata, or tensors
MOST_TEXTS = 1 << 21  # of the vocabulary and its merges
MOST = 10**8  # of a number that is a size or an id
_MOST_DIMENSIONS = 4
_VERSIONS = (2, 3)
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")
_DAMAGED = "the file is damaged: download or convert it again"


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file. ``shape`` is that of Hugging Face: rows first. ``data`` is uint8[rows, bytes of a row]."""

    name: str
    kind: "GGMLQuantizationType"
    shape: tuple[int, ...]
    data: "np.ndarray"


class Metadata:
    """The key-value pairs of the file. Each is read as what it must be: UserError if it is missing, or anything else.

    A key that begins with a dot is one of the architecture's own: ".block_count" is "llama.block_count".
    """

    def __init__(self, values: Mapping[str, object]):
        self._values = values

    def __contains__(self, key: str) -> bool:
        return self.name(key) in self._values

    def __iter__(self) -> Iterator[str]:
        """The keys, those of the architecture without its name."""
        own = self.text("general.architecture")
        return (key.removeprefix(own) if key.startswith(f"{own}.") else key for key in self._values)

    def is_one_of(self, key: str, values: Sequence[object]) -> bool:
        """Whether what lies under ``key`` is one of ``values``."""
        return any(
            type(self._values[self.name(key)]) is type(value) and self._values[self.name(key)] == value
            for value in values
        )

    def integer(self, key: str, default: int | None = None, *, least: int = 1, most: int = MOST) -> int:
        """The whole number under ``key``, which must be from ``least`` to ``most``."""
        value = self._get(key, default)
        if type(value) is not int or not least <= value <= most:
            raise self._wrong(key, value, f"a whole number from {least} to {most}")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """The positive number under ``key``, to the seven digits of a float32: 9.9999997e-06 is 1e-05."""
        value = self._get(key, default)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise self._wrong(key, value, "a positive number")
        return float(f"{value:.7g}")

    def flag(self, key: str, *, default: bool) -> bool:
        """The truth value under ``key``."""
        value = self._get(key, default)
        if type(value) is not bool:
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """The text under ``key``."""
        value = self._get(key, default)
        if type(value) is not str:
            raise self._wrong(key, value, "a text")
        return value

    def texts(self, key: str) -> list[str]:
        """The list of texts under ``key``."""
        value = self._get(key, None)
        if not isinstance(value, _Texts):
            raise self._wrong(key, value, "a list of texts")
        cursor = _Cursor(value.data)
        return [cursor.text() for _ in range(value.size)]

    def numbers(self, key: str, kind: type, count: int) -> list[Any]:
        """The first ``count`` numbers, all ``int`` or all ``float``, of the list under ``key``."""
        import numpy as np

        value = self._get(key, None)
        if not isinstance(value, np.ndarray) or not np.issubdtype(
            value.dtype, np.integer if kind is int else np.floating
        ):
            raise self._wrong(key, value, f"a list of {'whole ' if kind is int else ''}numbers")
        if len(value) < count or not np.isfinite(value[:count]).all():
            raise UserError(f"{key} in the GGUF has fewer than {count} finite numbers ({_DAMAGED})")
        return value[:count].tolist()

    def name(self, key: str) -> str:
        """The whole name of a key."""
        return f"{self.text('general.architecture')}{key}" if key.startswith(".") else key

    def _get(self, key: str, default: object) -> Any:
        name = self.name(key)
        if (value := self._values.get(name, default)) is None:
            raise UserError(f"the GGUF has no {name} (the file is incomplete: download or convert it again)")
        return value

    def _wrong(self, key: str, value: object, wanted: str) -> UserError:
        name, is_one = self.name(key), isinstance(value, (str, int, float))
        if key.startswith(".") and not is_one:
            return UserError(f"{name} differs from layer to layer, which is not supported")
        found = shortened(repr(value)) if is_one else "a list"
        return UserError(f"{name} in the GGUF is {found} instead of {wanted} ({_DAMAGED})")


class _Texts(NamedTuple):
    """A list of texts as it lies in the file: decoded, short texts take many times their bytes."""

    data: memoryview
    size: int


class _Cursor:
    """Reads one value after the other. ValueError at the end of the file, before anything is allocated."""

    def __init__(self, data: memoryview):
        self.data, self.at, self._texts = data, 0, 0

    def take(self, count: int) -> memoryview:
        if count > len(self.data) - self.at:
            raise ValueError(f"at byte {self.at} it announces {count:,} bytes, but {len(self.data) - self.at:,} follow")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def count(self, what: str, most: int) -> int:
        count = int(self.number("<Q"))
        if count > most:
            raise ValueError(f"at byte {self.at} it announces {count:,} {what}, more than {most:,}")
        return count

    def text(self) -> str:
        return str(self.take(self.number("<Q")), "utf-8")

    def value(self) -> object:
        kind = self.number("<I")
        if kind == _TEXT:
            return self.text()
        return self._array() if kind == _ARRAY else self.number(_form(kind))

    def _array(self) -> "_Texts | np.ndarray":
        import numpy as np

        if (kind := self.number("<I")) != _TEXT:
            count, form = self.number("<Q"), _form(kind)  # no model has a list of lists
            return np.frombuffer(self.take(count * struct.calcsize(form)), np.dtype(form))
        count = self.count("texts", MOST_TEXTS - self._texts)
        self._texts += count
        at = self.at
        for _ in range(count):  # raises at the end of the file; take would be slower
            at += 8 + _LENGTH.unpack_from(self.data, at)[0]
        return _Texts(self.take(at - self.at), count)


def _form(kind: int) -> str:
    if kind not in _NUMBERS:
        raise ValueError(f"it has a value of type {kind}, which is unknown")
    return _NUMBERS[kind]


def read(path: Path) -> tuple[Metadata, dict[str, Tensor]]:
    """The metadata and the tensors of a file, by name.

    ValueError or LookupError if the file is damaged: its counts, or tensors that overlap or reach beyond its end.
    """
    import numpy as np

    content = np.memmap(path, mode="r")
    cursor = _Cursor(content.data)
    if bytes(cursor.take(4)) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    if (version := cursor.number("<I")) not in _VERSIONS:
        raise ValueError(f"its version is {version} (known: {', '.join(map(str, _VERSIONS))})")
    tensors, pairs = cursor.count("tensors", MOST_ENTRIES), cursor.count("entries", MOST_ENTRIES)
    values: dict[str, object] = {}
    for _ in range(pairs):
        if (key := cursor.text()) in values:
            raise ValueError(f"it has {shortened(key)!r} twice")
        values[key] = cursor.value()
    metadata = Metadata(values)
    alignment = metadata.integer("general.alignment", 32)
    places = [_place(cursor) for _ in range(tensors)]
    start = -(-cursor.at // alignment) * alignment
    return metadata, _tensors(places, content[start:])


class _Place(NamedTuple):
    """Where a tensor lies: its first byte, counted from the end of the header."""

    start: int
    name: str
    shape: tuple[int, ...]
    kind: int


def _place(cursor: _Cursor) -> _Place:
    name, dimensions = cursor.text(), cursor.number("<I")
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise ValueError(f"tensor {shortened(name)!r} has {dimensions} dimensions")
    shape = tuple(cursor.number("<Q") for _ in range(dimensions))
    kind, start = cursor.number("<I"), cursor.number("<Q")
    return _Place(start, name, shape[::-1], kind)


def _tensors(places: list[_Place], content: "np.ndarray") -> dict[str, Tensor]:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    found: dict[str, Tensor] = {}
    end = 0
    for start, name, shape, kind in sorted(places):
        values, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        if name in found or 0 in shape or shape[-1] % values:
            raise ValueError(f"tensor {shortened(name)!r} is there twice, or its shape {shape} is impossible")
        rows, row = math.prod(shape[:-1]), shape[-1] // values * size
        if start < end or start + rows * row > len(content):
            raise ValueError(f"tensor {shortened(name)!r} overlaps another one or reaches beyond the end of the file")
        end = start + rows * row
        found[name] = Tensor(name, GGMLQuantizationType(kind), shape, content[start:end].reshape(rows, row))
    return {place.name: found[place.name] for place in places}
