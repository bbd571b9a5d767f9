"""Damages files of a small model, one after the other, and loads each. Run by test_damaged_models.py, in processes of its own.

    python damaged_models.py MODEL KIND FIRST LAST

Prints a line of JSON before each file, its number, and after it what happened. A file that ends the process or takes too
long has no second line.
"""

import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 10
MEMORY = 3 << 30  # of addresses, above those of the libraries

NUMBERS = [
    0,
    1,
    2,
    3,
    -1,
    -2,
    7,
    255,
    65535,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    1 << 62,
    (1 << 64) - 1,
]
VALUES = [
    None,
    True,
    False,
    *NUMBERS,
    0.0,
    -0.5,
    1e-300,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "é",
    "0",
    "\0",
    "\ud800",
]
VALUES += [[], {}, [[]], [0], ["a", "b"], {"type": "x"}, {"a": {"b": []}}, "x" * 20_000, [1] * 5_000, "deep"]
REPEAT = {"type": "Replace", "pattern": {"Regex": "."}, "content": "ab" * 20}
STEPS = [
    {"type": "Prepend", "prepend": "x" * 200_000},
    {"type": "Sequence", "normalizers": [REPEAT] * 12},
    {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 40},
    {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 30_000},
    {"type": "Replace", "pattern": {"Regex": "(a|aa)+$"}, "content": ""},
    {"type": "Replace", "pattern": {"String": ""}, "content": "x"},
    {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    {"type": "Precompiled", "precompiled_charsmap": "/////w=="},
    {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}] * 40},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    {"type": "FixedLength", "length": 0},
    {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False},
    {"type": "Strip", "content": " ", "start": 2_000_000_000, "stop": 2_000_000_000},
    {"type": "WordPiece", "prefix": "##" * 10_000, "cleanup": True},
    {"type": "CTC", "pad_token": "", "word_delimiter_token": "", "cleanup": True},
    {"type": "BPEDecoder", "suffix": ""},
    {"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}] * 9},
    {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 60,
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {},
    },
    {"strategy": {"Fixed": 2_000_000_000}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "x"},
    {"max_length": 1, "strategy": "LongestFirst", "stride": 7, "direction": "Right"},
    {"max_length": 0, "strategy": "OnlySecond", "stride": 0, "direction": "Left"},
]
PARTS = ["normalizer", "pre_tokenizer", "post_processor", "decoder", "padding", "truncation"]


def damaged_bytes(content: bytes, draw: random.Random) -> bytes:
    """A few bits, numbers or blocks are changed, most of them near the beginning, where the header is."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        at = int(len(data) * draw.random() ** draw.choice([1, 4, 8]))
        kind = draw.randrange(6)
        if kind == 0:
            data[at : at + 1] = bytes([data[at] ^ (1 << draw.randrange(8))]) if at < len(data) else b""
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            width = draw.choice([1, 4, 8])
            data[at : at + width] = (draw.choice(NUMBERS) % (1 << 8 * width)).to_bytes(width, "little")
        elif kind == 3:
            data[at : at + 16] = draw.randbytes(16)
        elif kind == 4:
            del data[at : at + draw.choice([1, 4, 100])]
        else:
            data[at:at] = data[at : at + draw.choice([1, 8, 1000])]
    return bytes(data)


def damaged_json(content: bytes, draw: random.Random, kind: str) -> bytes:
    if draw.random() < 0.2:
        return damaged_bytes(content, draw)
    if draw.random() < 0.05:
        return draw.choice([b"[]", b"null", b"", b"3", b"[" * 200_000, b'{"a":' * 200_000, b"{}", b"\xff\xfe", b'"x"'])
    value = json.loads(content)
    for _ in range(draw.choice([1, 1, 2, 4])):
        inner, key = _place(value, draw)
        what = draw.random()
        if kind == "tokenizer.json" and what < 0.3:
            value[draw.choice(PARTS)] = draw.choice(STEPS)
        elif key is None:
            continue
        elif what < 0.75:
            inner[key] = draw.choice(VALUES)
        elif what < 0.85:
            del inner[key]
        else:
            other, another = _place(value, draw)
            if another is not None:
                inner[key] = other[another]
    try:
        text = json.dumps(value)
    except ValueError:  # a value was put into itself
        return b"{}"
    return text.replace('"deep"', "[" * 100_000 + "]" * 100_000).encode()


def _place(value: Any, draw: random.Random) -> tuple[Any, Any]:
    """An object or a list somewhere in a value, and a key of it; None if it is empty."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return value, None
        key = draw.choice(keys)
        if not isinstance(value[key], (dict, list)) or draw.random() < 0.2:
            return value, key
        value = value[key]


def load(folder: Path) -> None:
    """All that train.py would do with a model folder before it trains."""
    from finetune.backends.mlx.model import load_network
    from finetune.backends.mlx.runtime import mx  # isort: skip
    from finetune.models.encoder import ChatEncoder
    from finetune.models.find import find_model

    found = find_model(str(folder), lambda line: None).path
    encoder = ChatEncoder(found)
    tokens = encoder.example([{"role": "user", "content": "ab 20 ab"}, {"role": "assistant", "content": "a 2"}]).tokens
    encoder.decode(tokens)
    network = load_network(found)
    mx.eval(network(mx.array([[min(token, 200) for token in tokens]])))


def convert(path: Path) -> None:
    from finetune.models import gguf

    with tempfile.TemporaryDirectory() as folder:
        gguf.convert(path, Path(folder))
        load(Path(folder))


def _memory(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) << 10


def attempt(call: Callable[[Path], None], path: Path) -> dict[str, object]:
    from finetune.errors import UserError

    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before, started, outcome = _memory("VmRSS"), time.monotonic(), "loaded"
    try:
        call(path)
    except UserError as error:
        outcome = f"refused: {error}"
    except BaseException as error:  # noqa: BLE001
        outcome = "raised: " + "".join(traceback.format_exception(error)[-4:])[-1500:]
    return {"outcome": outcome, "seconds": time.monotonic() - started, "bytes": _memory("VmHWM") - before}


def main(model: Path, kind: str, first: int, last: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        shutil.copytree(model, folder)
        load(folder)  # imports everything
        resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + MEMORY,) * 2)
        contents = [path.read_bytes() for path in sorted(folder.glob(kind))]
        names = [path.name for path in sorted(folder.glob(kind))]
        for number in range(first, last):
            print(json.dumps({"number": number}), flush=True)
            draw = random.Random(f"{kind} {number}")
            which = draw.randrange(len(names))
            damage = (
                damaged_json(contents[which], draw, kind)
                if kind.endswith(".json")
                else damaged_bytes(contents[which], draw)
            )
            path = folder / names[which]
            path.write_bytes(damage)
            signal.alarm(SECONDS)
            found = attempt(convert, path) if kind == "*.gguf" else attempt(load, folder)
            signal.alarm(0)
            print(json.dumps({"number": number, **found, "size": len(damage)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
