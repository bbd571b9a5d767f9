"""Writes a GGUF file with the gguf package's writer: the header at once, then a piece of a tensor after the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.export.gguf.keys import Value
from finetune.export.gguf.tensors import Laid

_TYPES = {
    "f32": "ALL_F32",
    "f16": "MOSTLY_F16",
    "bf16": "MOSTLY_BF16",
    **{name: f"MOSTLY_{name.upper()}" for name in ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0")},
}


def size(tensors: Sequence[Laid], type_: str, keys: Mapping[str, Value]) -> int:
    """Bytes of such a file, and a few more."""
    listed = sum(
        sum(8 + len(one.encode()) if isinstance(one, str) else 4 for one in value)
        for value in keys.values()
        if isinstance(value, Sequence) and not isinstance(value, str)
    )
    return sum(one.size(type_) + 160 for one in tensors) + listed + 100_000


def write(path: Path, name: str, keys: Mapping[str, Value], tensors: Sequence[Laid], type_: str) -> None:
    """Write the file for the architecture ``name``. OSError as ``open``, UserError for numbers that cannot be stored."""
    import numpy as np
    from gguf import GGUFWriter, LlamaFileType
    from gguf.quants import quant_shape_to_byte_shape

    writer: Any = GGUFWriter(path, name)
    try:
        writer.add_type("model")
        writer.add_file_type(LlamaFileType[_TYPES[type_]])
        writer.add_quantization_version(2)
        for key, value in keys.items():
            _add(writer, key, value)
        for one in tensors:
            kind, bytes_ = one.kind(type_), one.size(type_)
            if kind.name in ("F32", "F16"):
                shape, of = one.shape, np.dtype(np.float32 if kind.name == "F32" else np.float16)
            else:
                shape, of = quant_shape_to_byte_shape(one.shape, kind), np.dtype(np.uint8)
            writer.add_tensor_info(one.name, shape, of, bytes_, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        out = writer.fout[0]
        writer.write_padding(out, out.tell())
        for one in tensors:
            for piece in one.encoded(type_):
                out.write(piece)
            writer.write_padding(out, one.size(type_))
        out.flush()
    finally:
        writer.close()


def _add(writer: Any, key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
