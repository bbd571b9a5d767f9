"""Writes the tokenizer of a GGUF file as Hugging Face's files: tokenizer.json, tokenizer_config.json, chat template.

Two families: byte-level BPE (``tokenizer.ggml.model`` is gpt2), for which GGUF stores the merges but only the name of the
rule that splits text, and SentencePiece BPE (llama), for which it stores scores that determine the merges.

transformers has a converter too (integrations.gguf). It takes an unknown split rule for GPT-2's, splits smollm's digits as
GPT-2 does, adds no BOS token and needs PyTorch to read the file, so its tokens can differ from the model's.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer

# tokenizer.ggml.token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# A Gemma base model has no template; this is the one of the instruction-tuned Gemma.
GEMMA_TEMPLATE = """\
{{ bos_token }}
{%- set system = messages[0]['content'] + '\\n\\n' if messages[0]['role'] == 'system' else '' -%}
{%- for message in (messages[1:] if system else messages) -%}
    {%- if message['role'] != ('user' if loop.index0 is even else 'assistant') -%}
        {{ raise_exception('Turns must alternate: user, assistant, user, ... (system only first)') }}
    {%- endif -%}
    {{ '<start_of_turn>' + ('user' if loop.index0 is even else 'model') + '\\n' }}
    {{- system if loop.first }}
    {{- message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\\n' }}
{%- endif -%}
"""


def write_tokenizer(metadata: Mapping[str, Any], vocab_size: int, folder: Path) -> dict[str, int | list[int]]:
    """Write the tokenizer's files into ``folder``.

    Returns ``bos_token_id``, ``pad_token_id`` and ``eos_token_id`` for generation_config.json; the last is a list of all
    tokens that end an answer. Tokens from ``vocab_size`` on have no row in the embedding and are dropped.
    UserError for a tokenizer that cannot be reproduced exactly, or that is damaged.
    """
    tokens = metadata["tokenizer.ggml.tokens"][:vocab_size]
    types = metadata.get("tokenizer.ggml.token_type", [NORMAL] * len(tokens))[:vocab_size]
    special = {
        name: metadata[f"tokenizer.ggml.{key}_token_id"]
        for name, key in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items()
        if f"tokenizer.ggml.{key}_token_id" in metadata
    }
    if any(token_id >= len(tokens) for token_id in special.values()):
        raise UserError(f"the GGUF has {len(tokens)} tokens, but the special token ids {special} (the file is damaged)")
    kind = metadata["tokenizer.ggml.model"]
    if kind == "gpt2":
        tokenizer, starts_with_bos = _byte_level_bpe(metadata, tokens)
    elif kind == "llama":
        tokens = [token.replace(" ", "▁") for token in tokens]  # GGUF stores runs of spaces literally
        tokenizer, starts_with_bos = _sentencepiece_bpe(metadata, tokens, types), True
    else:
        raise UserError(f"GGUF tokenizer {kind!r} is not supported (supported: gpt2, llama)")

    names = {f"{name}_token": tokens[token_id] for name, token_id in special.items()}
    _add_tokens(tokenizer, tokens, types)
    if metadata.get("tokenizer.ggml.add_bos_token", starts_with_bos) and "bos" in special:
        _prepend_bos(tokenizer, names["bos_token"], special["bos"])
    tokenizer.save(str(folder / "tokenizer.json"))

    is_gemma = metadata["general.architecture"] == "gemma3"
    template = metadata.get("tokenizer.chat_template", GEMMA_TEMPLATE if is_gemma else None)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

    ends = {special.get("eos"), metadata.get("tokenizer.ggml.eot_token_id")}
    if is_gemma:
        ends.add(tokenizer.token_to_id("<end_of_turn>"))
    ids = {"bos_token_id": special.get("bos"), "pad_token_id": special.get("pad")}
    ids |= {"eos_token_id": sorted(end for end in ends if end is not None)}
    return {name: value for name, value in ids.items() if value is not None}


def _byte_level_bpe(metadata: Mapping[str, Any], tokens: list[str]) -> tuple["Tokenizer", bool]:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    def byte_level(*, use_regex: bool) -> "PreTokenizer":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)

    pre = metadata.get("tokenizer.ggml.pre")
    is_llama3 = pre in ("llama-bpe", "llama3", "llama-v3")
    if pre == "smollm":
        splits = [pre_tokenizers.Digits(individual_digits=True), byte_level(use_regex=True)]
    elif pre == "gpt-2":
        splits = [byte_level(use_regex=True)]
    elif is_llama3:
        splits = [pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"), byte_level(use_regex=False)]
    else:
        raise UserError(
            f"GGUF tokenizer.ggml.pre {pre!r} is not supported"
            " (supported: smollm, gpt-2, llama-bpe; use the model from the Hub instead)"
        )
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    vocab = _vocab(tokens)
    for merge in merges:
        if len(merge) != 2 or not vocab.keys() >= {*merge, "".join(merge)}:
            raise UserError(
                f"GGUF tokenizer.ggml.merges: {merge} are not two tokens that make a third (the file is damaged)"
            )
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=is_llama3))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, is_llama3


def _sentencepiece_bpe(metadata: Mapping[str, Any], tokens: list[str], types: list[int]) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models, normalizers

    merges = _merges(tokens, metadata["tokenizer.ggml.scores"], types)
    unknown = tokens[metadata.get("tokenizer.ggml.unknown_token_id", 0)]
    tokenizer = Tokenizer(models.BPE(_vocab(tokens), merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    space = normalizers.Replace(" ", "▁")
    decode = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if metadata.get("tokenizer.ggml.add_space_prefix", True):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space])
        tokenizer.decoder = decoders.Sequence([*decode, decoders.Strip(" ", 1, 0)])
    else:
        tokenizer.normalizer = space
        tokenizer.decoder = decoders.Sequence(decode)
    return tokenizer


def _merges(tokens: list[str], scores: list[float], types: list[int]) -> list[tuple[str, str]]:
    """Every way to join two pieces into a third: best score first, then the longer left piece.

    User-defined pieces come first, as in SentencePiece, whatever their score in the file.
    """
    rank = {
        token: -score if kind == NORMAL else 0.0
        for token, score, kind in zip(tokens, scores, types, strict=False)
        if kind in (NORMAL, USER_DEFINED)
    }
    merges = [
        (cost, -cut, cut - len(token), token[:cut], token[cut:])
        for token, cost in rank.items()
        for cut in range(1, len(token))
        if token[:cut] in rank and token[cut:] in rank
    ]
    merges.sort(key=lambda merge: merge[:3])
    return [(left, right) for *_, left, right in merges]


def _vocab(tokens: list[str]) -> dict[str, int]:
    vocab = {token: token_id for token_id, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        twice = next(token for token_id, token in enumerate(tokens) if vocab[token] != token_id)
        raise UserError(f"GGUF tokenizer.ggml.tokens has {twice!r} twice (the file is damaged)")
    return vocab


def _add_tokens(tokenizer: "Tokenizer", tokens: list[str], types: list[int]) -> None:
    """Add the tokens that are matched in the text before it is split and merged."""
    from tokenizers import AddedToken

    for token, kind in zip(tokens, types, strict=False):
        if kind in (UNKNOWN, CONTROL, USER_DEFINED):
            is_special = kind != USER_DEFINED
            tokenizer.add_tokens([AddedToken(token, special=is_special, normalized=False)])


def _prepend_bos(tokenizer: "Tokenizer", bos: str, bos_id: int) -> None:
    from tokenizers import processors

    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos}:0 $A:0", pair=f"{bos}:0 $A:0 {bos}:1 $B:1", special_tokens=[(bos, bos_id)]
    )
