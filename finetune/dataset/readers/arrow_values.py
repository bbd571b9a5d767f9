"""Values of Arrow as JSON: what it does not have becomes text or an object, and what is no text is named."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from finetune.dataset.readers.sourced import SourcedRow

_MOST_BYTES = 1 << 26  # of the texts of rows that are converted at a time
_NOTHING = object()  # a value that no row can hold
_Convert = Callable[[Any, str, "_Told"], Any]  # value, the name of its field, where to note what is left out -> value


@dataclass
class _Told:
    """What was left out of a row, and whether a NaN, which pandas writes for what is missing, became null."""

    left: list[str] = field(default_factory=list)
    has_nan: bool = False


def rows(
    batch: Any, place: Callable[[int], str], split: str | None, *, class_names: bool = False
) -> Iterator[SourcedRow]:
    """The rows of a RecordBatch or Table; ``place`` of each by its number in the batch, from 0. With ``class_names`` numbers of
    classes are their names, if the file has them."""
    names = _class_names(batch.schema) if class_names else {}
    converts = {name: _converter(kind) for name, kind in zip(batch.schema.names, batch.schema.types, strict=True)}
    number = 0
    step = len(batch) if _texts(batch) <= _MOST_BYTES else 1
    for begin in range(0, len(batch), step or 1):
        columns = [column.to_pylist() for column in batch.slice(begin, step).columns]
        for values in zip(*columns, strict=True):
            told, row = _Told(), {}
            for (name, convert), value in zip(converts.items(), values, strict=True):
                made = value if convert is None or value is None else convert(value, name, told)
                made = _named(made, names[name]) if name in names else made
                if made is _NOTHING:
                    told.left.append(name)
                else:
                    row[name] = made
            mended = ("NaN read as null",) if told.has_nan else ()
            yield SourcedRow(place(number), row, split=split, mended=mended, left=tuple(dict.fromkeys(told.left)))
            number += 1


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Field -> the names of its classes, as the datasets library writes them beside the columns (ClassLabel)."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {}
        for field_name, feature in features.items():
            inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
            names = inner.get("names") if isinstance(inner, dict) else None
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                found[field_name] = names
        return found
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _named(value: Any, names: list[str]) -> Any:
    """A number of a class, or several, by name. -1 stands for none."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    if not isinstance(value, int) or isinstance(value, bool) or value >= len(names):
        return value
    return names[value] if value >= 0 else None


def _texts(batch: Any) -> int:
    """Bytes that the texts of a batch may take: one text of a dictionary can be the value of every row."""
    return sum(_bytes(chunk) for column in batch.columns for chunk in getattr(column, "chunks", [column]))


def _bytes(array: Any) -> int:
    from pyarrow import types

    kind = array.type
    if types.is_dictionary(kind):
        return len(array) * _longest(array.dictionary)
    if types.is_run_end_encoded(kind):
        return len(array) * _longest(array.values)
    if types.is_struct(kind):
        return sum(_bytes(array.field(at)) for at in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_map(kind) or types.is_fixed_size_list(kind):
        parts = array.flatten() if not types.is_map(kind) else array.items
        return _bytes(parts)
    return int(array.nbytes)


def _longest(array: Any) -> int:
    from pyarrow import compute, types

    kind = array.type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        return compute.max(compute.binary_length(array)).as_py() or 0
    return int(array.nbytes)


def _converter(kind: Any) -> _Convert | None:
    """How values of a type become JSON; None if they are JSON."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _converter(kind.value_type)
    if types.is_run_end_encoded(kind):
        return _converter(kind.value_type)
    if types.is_map(kind):
        return _map(_converter(kind.item_type))
    if types.is_struct(kind):
        return _struct({kind.field(at).name: _converter(kind.field(at).type) for at in range(kind.num_fields)})
    if any(hasattr(types, f"is_{name}") and getattr(types, f"is_{name}")(kind) for name in _LISTS):
        inner = _converter(kind.value_type)
        return inner and _list(inner)
    if any(hasattr(types, f"is_{name}") and getattr(types, f"is_{name}")(kind) for name in _BINARIES):
        return _text_of_bytes
    if getattr(kind, "extension_name", "") == "arrow.json":
        return _parsed
    if any(getattr(types, f"is_{name}")(kind) for name in _PLAIN):
        return None
    if types.is_floating(kind):
        return _number if types.is_float64(kind) else _short_number(kind)
    return _any


_PLAIN = ("string", "large_string", "string_view", "boolean", "integer", "null")
_LISTS = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
_BINARIES = ("binary", "large_binary", "fixed_size_binary", "binary_view")


def _list(inner: _Convert) -> _Convert:
    def convert(values: Any, name: str, told: _Told) -> Any:
        made = [value if value is None else inner(value, name, told) for value in values]
        return _NOTHING if any(value is _NOTHING for value in made) else made

    return convert


def _struct(inner: dict[str, _Convert | None]) -> _Convert | None:
    if not any(inner.values()):
        return None

    def convert(values: Any, name: str, told: _Told) -> Any:
        made = {}
        for key, value in values.items():
            part = inner[key]
            known = value if part is None or value is None else part(value, name, told)
            if known is _NOTHING:
                told.left.append(f"{key} in {name}")
            else:
                made[key] = known
        return made

    return convert


def _map(inner: _Convert | None) -> _Convert:
    def convert(pairs: Any, name: str, told: _Told) -> Any:
        made = {}
        for key, value in pairs:
            known = value if inner is None or value is None else inner(value, name, told)
            if known is _NOTHING:
                told.left.append(f"{key} in {name}")
            else:
                made[str(key)] = known
        return made

    return convert


def _text_of_bytes(value: bytes, name: str, told: _Told) -> Any:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return _NOTHING
    return _NOTHING if "\0" in text else text


def _number(value: float, name: str, told: _Told) -> Any:
    if value != value:
        told.has_nan = True
        return None
    return value


def _short_number(kind: Any) -> _Convert:
    """Numbers of 32 or 16 bits: 0.1 stays 0.1, which in 64 bits would be 0.10000000149011612."""
    of_its_bits = kind.to_pandas_dtype()
    return lambda value, name, told: _number(float(str(of_its_bits(value))), name, told)


def _parsed(value: Any, name: str, told: _Told) -> Any:
    """A value that Arrow keeps as the text of JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def _any(value: Any, name: str, told: _Told) -> Any:
    """A time or a decimal number as text; of other types what Python makes of them."""
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, bytes):
        return _text_of_bytes(value, name, told)
    if isinstance(value, dict):
        return {str(key): part if part is None else _any(part, name, told) for key, part in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return [part if part is None else _any(part, name, told) for part in value]
    return str(value)
