"""Loads a model's tokenizer, and checks it before it is used: its Rust code ends the process if the memory is full.

tokenizer.json is a small program. Some of its steps lengthen the text, and a few lines of them multiply it without end.
"""

import base64
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.errors import UserError
from finetune.models.foreign import AGAIN, foreign
from finetune.records.plain_path import plain_path

_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_STEPS = ("normalizers", "pretokenizers", "processors", "decoders")  # of a Sequence
_TABLE = "precompiled_charsmap"  # SentencePiece's, some hundred kilobytes
_MOST_BYTES = 1 << 16  # of a part in JSON, without that table; those of known models have at most some thousand
# What one byte may become, in the worst case of all steps together, for the sample to be tried; and what it may really become.
_MOST_GROWTH, _MOST_TOKENS = 1 << 16, 8
# The bytes that one can become, by the type of the step: Unicode's compatible forms have up to eleven times as many.
_GROWTH = {
    "ByteLevel": 2,
    "Metaspace": 4,
    "BertNormalizer": 5,
    "NFKC": 11,
    "NFKD": 11,
    "NFC": 3,
    "NFD": 3,
    "Lowercase": 1.5,
}
_SAMPLE = "".join(map(chr, range(32, 127))) + "\n The capital of France is Paris: ä, é, 你好."


def load(folder: Path) -> Any:
    """The tokenizer of transformers in a model's folder.

    Its padding and truncation are off: rows are padded in batches, and too long ones are skipped, not cut. UserError if it
    cannot be loaded, needs code of its own, or makes far more of a text than there is.
    """
    # a tokenizer needs no PyTorch; without this transformers tells the user that it is missing
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoTokenizer, PreTrainedConfig

    problem = f"{folder}: its tokenizer cannot be loaded"
    with foreign(problem, AGAIN):
        _check_tables(folder / "tokenizer.json")
        try:
            with plain_path(folder) as plain:
                options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
                try:
                    tokenizer = AutoTokenizer.from_pretrained(plain, **options)
                except (AttributeError, StrictDataclassError):
                    # config.json is of a type that transformers does not know, or not in this form
                    tokenizer = AutoTokenizer.from_pretrained(plain, config=PreTrainedConfig(), **options)
        except ValueError as error:
            if "custom code" not in str(error):
                raise
            why = "it needs Python code from the model's folder, which is never run (use a model of a known kind)"
            raise UserError(f"{problem}: {why}") from None
        _check(tokenizer.backend_tokenizer)
    return tokenizer


def _check_tables(path: Path) -> None:
    """ValueError if a table of SentencePiece is longer than the file: memory of the length that it gives is taken at once."""
    content = path.read_bytes() if path.is_file() else b""
    for table in re.findall(rb'"%s"\s*:\s*"(.{8})' % _TABLE.encode(), content):
        if int.from_bytes(base64.b64decode(table)[:4], "little") > len(content):
            raise ValueError(f"its {_TABLE} is damaged")


def _check(backend: Any) -> None:
    """ValueError if the ``tokenizers.Tokenizer`` makes far more of a text than there is."""
    backend.no_padding()
    backend.no_truncation()
    parts = {name: part for name in _PARTS if (part := getattr(backend, name)) is not None}
    growth = math.prod(_growth(json.loads(part.__getstate__()), name) for name, part in parts.items())
    if growth > _MOST_GROWTH:
        raise ValueError(f"it can make {growth:.0e} bytes of one")
    ids = backend.encode(_SAMPLE, add_special_tokens=False).ids
    most = _MOST_TOKENS * len(_SAMPLE.encode())
    if len(ids) > most or len(backend.decode(ids, skip_special_tokens=False)) > most:
        raise ValueError(f"it makes {len(ids):,} tokens of a text of {len(_SAMPLE)} characters")


def _growth(part: Mapping[str, Any], name: str) -> float:
    """How many bytes one byte can become in this part of the tokenizer, as an upper bound."""
    steps = list(_steps(part))
    tables = [step.pop(_TABLE, "") or "" for step in steps]
    if (size := len(json.dumps(steps))) > _MOST_BYTES:
        raise ValueError(f"its {name} has {size:,} bytes")
    once = {step["type"] for step in steps} & _GROWTH.keys() - {
        "ByteLevel",
        "Metaspace",
    }  # a second time changes nothing
    return math.prod(
        [
            *(_GROWTH[kind] for kind in once),
            *map(_longest, tables),
            *(_of(step) for step in steps if step["type"] not in once),
        ]
    )


def _steps(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The part, or the parts of the sequence that it is."""
    if part["type"] == "Sequence":
        for name in _STEPS:
            for inner in part.get(name, ()):
                yield from _steps(inner)
    else:
        yield dict(part)


def _longest(table: str) -> int:
    """The most bytes that SentencePiece's table, a tree of keys and then the texts that replace them, makes of one."""
    content = base64.b64decode(table)
    texts = content[4 + int.from_bytes(content[:4], "little") :].split(b"\0")
    return max(1, *map(len, texts))


def _of(step: Mapping[str, Any]) -> float:
    """The same for one step."""
    kind = step["type"]
    if kind == "Replace":
        length, pattern = len(step["content"].encode()), step["pattern"]
        return max(1, length / len(pattern["String"].encode())) if pattern.get("String") else length + 1
    if kind == "Prepend":
        return len(step["prepend"].encode()) + 1
    if kind == "TemplateProcessing":
        added = sum(len(token["ids"]) for token in step["special_tokens"].values())
        return max(1, sum("Sequence" in piece for piece in step["single"])) * (added + 1)
    return _GROWTH.get(kind, 1)
