"""Tokenizers in GGUF's form, written as llama.cpp's converter writes them, and texts that are hard to tokenise."""

import json
from pathlib import Path
from typing import Any

import gguf
from tokenizers import Tokenizer

from finetune.models import gguf_file
from finetune.models.gguf_tokenizer import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, write_tokenizer

TEXTS = [
    "",
    " ",
    "  ",
    "\n",
    " \n \n\n  x",
    "\t\tif x:\r\n\t\t\treturn  1\r\n\r\n",
    "trailing   ",
    "   leading",
    "a" + " " * 17 + "b" + "\n" * 5 + "c",
    "Hello, world! It's 'quoted' -- they'LL won't I'M we'd CAN'T",
    "1 12 123 1234 12345 1234567890 3.14159 1,000,000 ٣٤٥ ①②③ ½ 2⁸ Ⅷ",
    "x=1;y+=2;z<<=3 // a/b/c\n/* ... */ #!?&&||^~`$€£",
    "CamelCase HTTPServer iPhoneOS XMLHttpRequest camelCASEword ǅungla",
    "naïve café e\u0301 A\u030a ﬁ ſ Å (NFC, NFD, ligature)",
    "日本語のテキスト。中文、한국어 테스트！　全角　空白",
    "مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดี ခြင်း",
    "😀 👩‍👩‍👧‍👦 🇩🇪 👍🏽 ✈️ ❤️‍🔥 🧑🏿‍🚀",
    "\u00a0non\u00a0breaking\u2003em\u200bzero\ufeffbom\u2028line\u0085next",
    "\x00\x01\x7f control \x1b[0m \ufffd \U0010ffff \ue000",
    "SELECT * FROM t WHERE a <> 'b''c' AND d >= 10;",
    "ß ẞ İ ı ǆ Σίσυφος ΟΔΥΣΣΕΥΣ Ёлка ЁЛКА",
    "https://example.org/a%20b?c=d&e=f#g user@example.org C:\\path\\to",
    "[INST] <s> </s> <unk> <pad> <mask> [PAD0] <0x0A> ▁ ▁▁under ## <|x|>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 3,
    "don''t ''s 's's \u2019s it\u2019s 'S'T ' s",
    "the\n\nof\n \nand \n\n\n to\t\n in\r\r\nis",
]


def texts(tokens: list[str]) -> list[str]:
    """The hard texts, and such with the special ``tokens`` typed in every neighbourhood."""
    around = [f"{token}x {token} \n{token}{token}\n y{token}1" for token in tokens]
    return [*TEXTS, *around, "\n".join(TEXTS), " ".join(reversed(TEXTS))]


def in_gguf(tokenizer_json: dict[str, Any], model: str, pre: str = "", rows: int = 0) -> dict[str, Any]:
    """The metadata ``tokenizer.ggml.*``; ``rows`` is the size of the embedding, if it is larger."""
    added = {token["id"]: token for token in tokenizer_json["added_tokens"]}
    by_id = {token_id: token for token, token_id in tokenizer_json["model"]["vocab"].items()}
    by_id |= {token_id: token["content"] for token_id, token in added.items()}
    count = max(rows, max(by_id) + 1)
    names = [by_id.get(token_id, f"[PAD{token_id}]") for token_id in range(count)]
    merges = [m if isinstance(m, list) else m.split(" ") for m in tokenizer_json["model"]["merges"]]
    values: dict[str, Any] = {"tokenizer.ggml.model": model, "tokenizer.ggml.pre": pre or "default"}
    types = [_type(token_id, name, added, by_id, model) for token_id, name in enumerate(names)]
    if model == "llama":
        rank = {left + right: float(-rank) for rank, (left, right) in reversed([*enumerate(merges)])}
        values["tokenizer.ggml.scores"] = [
            rank.get(name, 0.0) if kind == NORMAL else -1000.0 for name, kind in zip(names, types, strict=True)
        ]
    else:
        values["tokenizer.ggml.merges"] = [" ".join(merge) for merge in merges]
    names = [name.replace("▁", " ") if kind == USER_DEFINED else name for name, kind in zip(names, types, strict=True)]
    return values | {"tokenizer.ggml.tokens": names, "tokenizer.ggml.token_type": types}


def _type(token_id: int, name: str, added: dict[int, Any], by_id: dict[int, str], model: str) -> int:
    if token_id not in by_id:
        return UNUSED
    if model == "llama" and name == "<unk>":
        return UNKNOWN
    if token_id in added:
        looks_special = name.startswith("<|") and name.endswith("|>")
        return CONTROL if added[token_id]["special"] or looks_special else USER_DEFINED
    return BYTE if model == "llama" and len(name) == 6 and name.startswith("<0x") else NORMAL


def rebuilt(values: dict[str, Any], folder: Path, architecture: str = "llama") -> Tokenizer:
    """The tokenizer that is made of a GGUF's metadata."""
    path = folder / "tokenizer.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in values.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}.get(type(value), writer.add_array)
        add(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    metadata, _ = gguf_file.read(path)
    write_tokenizer(metadata, len(values["tokenizer.ggml.tokens"]), folder)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def differing(one: Tokenizer, other: Tokenizer, cases: list[str]) -> list[tuple[str, list[str], list[str]]]:
    """The texts whose ids differ, with the tokens of both."""
    found = []
    for text in cases:
        first, second = one.encode(text), other.encode(text)
        if first.ids != second.ids:
            found.append((text, first.tokens, second.tokens))
    return found


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
