"""Two thousand damaged adapter folders: each is attached or refused in one line. ``pytest -s`` shows the table."""

import json
import random
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
from finetune.backends.mlx import adapters
from finetune.backends.mlx.model import load_network
from finetune.errors import UserError
from finetune.models.fingerprint import fingerprint
from finetune.records import files
from finetune.settings.config import TrainingConfig

FOLDERS = 2000
VALUES: list[Any] = [
    None, True, "", "evil", "\x1b[31m\n", "a" * 100_000, 0, -1, 1, 2, 10**9, 2**70, -0.5, 1e300, float("nan"), float("inf"),
    [], {}, [[]], [1, "a"], ["self_attn.q_proj"], ["\ud800"], {"a": None}, {"rank": 4}, "lora", "dora", "full",
]  # fmt: skip
TYPES = ["F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "F4", "C64", "x"]
Draw = random.Random


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each value in nested JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, one in inner for place in places(one, (*path, key))]


def changed(value: Any, draw: Draw, values: list[Any]) -> Any:
    """The JSON with a value replaced, removed or added."""
    *path, last = draw.choice(places(value))
    inner = value
    for key in path:
        inner = inner[key]
    if draw.random() < 0.2:
        del inner[last]
    else:
        inner[last] = draw.choice(values)
    return value


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the numbers of a safetensors file."""
    end = 8 + struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:end]), data[end:]


def whole(header: Any, numbers: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def in_config(folder: Path, draw: Draw) -> None:
    path = folder / files.ADAPTER_CONFIG
    path.write_text(json.dumps(changed(json.loads(path.read_text()), draw, VALUES)))


def in_text(folder: Path, draw: Draw) -> None:
    path = folder / files.ADAPTER_CONFIG
    data = path.read_bytes()
    at = draw.randrange(len(data))
    path.write_bytes(data[:at] + draw.choice([b"", bytes([draw.randrange(256)]), b"[" * 5000, data]) + data[at + 1 :])


def in_bytes(folder: Path, draw: Draw) -> None:
    path = folder / files.ADAPTERS
    data = path.read_bytes()
    at = draw.choice([draw.randrange(8), draw.randrange(2000), draw.randrange(len(data))])
    path.write_bytes(
        draw.choice([data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :], data[:at], data + b"\0" * 9])
    )


def in_header(folder: Path, draw: Draw) -> None:
    path = folder / files.ADAPTERS
    header, numbers = parts(path.read_bytes())
    header.pop("__metadata__")
    numbers_of = [
        0,
        1,
        -1,
        2**63,
        2**64,
        10**30,
        4,
        64,
        1.5,
        None,
        "x",
        TYPES[0],
        [],
        {},
        [0, 4],
        [4, 0],
        [2**62, 2**62],
    ]
    header = changed(header, draw, [*numbers_of, *TYPES])
    if draw.random() < 0.1:
        name = draw.choice(list(header))
        header["\x1b]0;evil\x07\n" + "y" * draw.choice([1, 100_000])] = header.pop(name)
    path.write_bytes(whole(header, numbers))


def overlapping(folder: Path, draw: Draw) -> None:
    path = folder / files.ADAPTERS
    header, numbers = parts(path.read_bytes())
    header.pop("__metadata__")
    first, second = draw.sample([name for name in header if "lora_a" in name], 2)
    header[first]["data_offsets"] = header[second]["data_offsets"]
    header[first]["shape"] = header[second]["shape"]
    path.write_bytes(whole(header, numbers))


def in_numbers(folder: Path, draw: Draw) -> None:
    path = folder / files.ADAPTERS
    arrays: dict[str, Any] = dict(mx.load(str(path)))
    name = draw.choice(list(arrays))
    how = draw.choice(["type", "nan", "shape", "missing", "more", "scalar", "empty"])
    if how == "type":
        arrays[name] = arrays[name].astype(draw.choice([mx.int32, mx.uint8, mx.bool_, mx.complex64, mx.float16]))
    elif how == "nan":
        arrays[name] = arrays[name] * draw.choice([float("nan"), float("inf")])
    elif how == "shape":
        arrays[name] = draw.choice([arrays[name].T, arrays[name].reshape(-1), arrays[name][:, :1], arrays[name][None]])
    elif how == "missing":
        arrays.pop(name)
    else:
        arrays[name + "x" * (how == "more")] = {"more": arrays[name], "scalar": mx.array(1.0)}.get(
            how, mx.zeros((0, 3))
        )
    mx.save_safetensors(str(path), arrays)


DAMAGE: list[Callable[[Path, Draw], None]] = [
    in_config, in_config, in_text, in_bytes, in_header, in_header, overlapping, in_numbers
]  # fmt: skip


@pytest.mark.faults
def test_every_damaged_adapter_is_attached_or_refused_in_one_line(tiny_model: Path, tmp_path: Path) -> None:
    network, base = load_network(tiny_model), fingerprint(tiny_model)
    settings = adapters.settings(network, TrainingConfig(lora_rank=2, lora_modules="q_proj,v_proj"))
    adapters.attach(network, settings)
    files.write_json(tmp_path / files.ADAPTER_CONFIG, {**settings, "model": str(tiny_model)})
    adapters.save(adapters.trainable(network), tmp_path / files.ADAPTERS, {"base": base})
    sound = {path: path.read_bytes() for path in tmp_path.iterdir()}
    table: Counter[tuple[str, str]] = Counter()
    for seed in range(FOLDERS):
        draw = Draw(seed)
        for path, content in sound.items():
            path.write_bytes(content)
        damage = draw.choice(DAMAGE)
        damage(tmp_path, draw)
        try:
            switch = adapters.load(load_network(tiny_model), tmp_path, base)
            switch("disabled")
            what = "attached"
        except UserError as error:
            said = str(error)
            assert len(said) < 600 and "\n" not in said and error.exit_code in (2, 3), (seed, said)
            what = "refused"
        table[damage.__name__, what] += 1
    print(*(f"{name:14} {what:9} {count}" for (name, what), count in sorted(table.items())), sep="\n")
    assert not table["overlapping", "attached"] and all(table[kind.__name__, "refused"] for kind in DAMAGE)
