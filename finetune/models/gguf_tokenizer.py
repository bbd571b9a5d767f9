"""Writes the tokenizer of a GGUF file as Hugging Face's files: tokenizer.json, tokenizer_config.json, chat template.

Two families: byte-level BPE (``tokenizer.ggml.model`` is gpt2), for which GGUF stores the merges but only the name of the
rule that splits text, and SentencePiece BPE (llama), for which it stores scores that determine the merges.

transformers has a converter too (integrations.gguf). It takes an unknown split rule for GPT-2's, splits smollm's digits as
GPT-2 does, adds no BOS token and needs PyTorch to read the file, so its tokens can differ from the model's.
"""

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.errors import UserError, shortened
from finetune.models.gguf_file import Metadata

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer

# Of a SentencePiece vocabulary: the squares of its pieces' lengths, which are the work, and its merges (Gemma: half a million).
_MOST_WORK, _MOST_MERGES = 1 << 27, 1 << 21

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


def write_tokenizer(metadata: Metadata, vocab_size: int, folder: Path) -> Mapping[str, int | list[int]]:
    """Write the tokenizer's files into ``folder``.

    Returns ``bos_token_id``, ``pad_token_id`` and ``eos_token_id`` for generation_config.json; the last is a list of all
    tokens that end an answer. Tokens from ``vocab_size`` on have no row in the embedding and are dropped.
    UserError for a tokenizer that cannot be reproduced exactly, or that is damaged.
    """
    tokens = metadata.texts("tokenizer.ggml.tokens")[:vocab_size]
    if not tokens:
        raise UserError("GGUF tokenizer.ggml.tokens is empty (the file is damaged)")
    types = [NORMAL] * len(tokens)
    if "tokenizer.ggml.token_type" in metadata:
        types = metadata.numbers("tokenizer.ggml.token_type", int, len(tokens))
    special = {
        name: metadata.integer(f"tokenizer.ggml.{key}_token_id", least=0, most=len(tokens) - 1)
        for name, key in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding", "eot": "eot"}.items()
        if f"tokenizer.ggml.{key}_token_id" in metadata
    }
    kind = metadata.text("tokenizer.ggml.model")
    if kind == "gpt2":
        tokenizer, starts_with_bos = _byte_level_bpe(metadata, tokens)
    elif kind == "llama":
        tokens = [token.replace(" ", "▁") for token in tokens]  # GGUF stores runs of spaces literally
        tokenizer, starts_with_bos = _sentencepiece_bpe(metadata, tokens, types), True
    else:
        raise UserError(f"GGUF tokenizer {shortened(kind)!r} is not supported (supported: gpt2, llama)")

    end_of_turn = special.pop("eot", None)
    names = {f"{name}_token": tokens[token_id] for name, token_id in special.items()}
    _add_tokens(tokenizer, tokens, types)
    if metadata.flag("tokenizer.ggml.add_bos_token", default=starts_with_bos) and "bos" in special:
        _prepend_bos(tokenizer, names["bos_token"], special["bos"])
    # not Tokenizer.save, which says of a full disk what nobody can tell from a bug
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")

    is_gemma = metadata.text("general.architecture") == "gemma3"
    if is_gemma or "tokenizer.chat_template" in metadata:
        template = metadata.text("tokenizer.chat_template", GEMMA_TEMPLATE if is_gemma else None)
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

    ends = {special.get("eos"), end_of_turn}
    if is_gemma:
        ends.add(tokenizer.token_to_id("<end_of_turn>"))
    ids: dict[str, int | list[int]] = {f"{name}_token_id": special[name] for name in ("bos", "pad") if name in special}
    return ids | {"eos_token_id": sorted(end for end in ends if end is not None)}


def _byte_level_bpe(metadata: Metadata, tokens: list[str]) -> tuple["Tokenizer", bool]:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    def byte_level(*, use_regex: bool) -> "PreTokenizer":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)

    pre = metadata.text("tokenizer.ggml.pre", "")
    is_llama3 = pre in ("llama-bpe", "llama3", "llama-v3")
    if pre == "smollm":
        splits = [pre_tokenizers.Digits(individual_digits=True), byte_level(use_regex=True)]
    elif pre == "gpt-2":
        splits = [byte_level(use_regex=True)]
    elif is_llama3:
        splits = [pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"), byte_level(use_regex=False)]
    else:
        raise UserError(
            f"GGUF tokenizer.ggml.pre {shortened(pre)!r} is not supported"
            " (supported: smollm, gpt-2, llama-bpe; use the model from the Hub instead)"
        )
    vocab, merges = _vocab(tokens), []
    for merge in metadata.texts("tokenizer.ggml.merges"):
        left, _, right = merge.partition(" ")
        if not (left and right and vocab.keys() >= {left, right, left + right}):
            raise UserError(
                f"GGUF tokenizer.ggml.merges: {shortened(merge)!r} is not two tokens that make a third"
                " (the file is damaged)"
            )
        merges.append((left, right))
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=is_llama3))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, is_llama3


def _sentencepiece_bpe(metadata: Metadata, tokens: list[str], types: list[int]) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, models, normalizers

    merges = _merges(tokens, metadata.numbers("tokenizer.ggml.scores", float, len(tokens)), types)
    unknown = tokens[metadata.integer("tokenizer.ggml.unknown_token_id", 0, least=0, most=len(tokens) - 1)]
    tokenizer = Tokenizer(models.BPE(_vocab(tokens), merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    space = normalizers.Replace(" ", "▁")
    decode = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if metadata.flag("tokenizer.ggml.add_space_prefix", default=True):
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
        for token, score, kind in zip(tokens, scores, types, strict=True)
        if kind in (NORMAL, USER_DEFINED)
    }
    if sum(len(token) ** 2 for token in rank) > _MOST_WORK:
        longest = max(map(len, rank))
        raise UserError(f"GGUF tokenizer.ggml.tokens: too long, up to {longest:,} characters (the file is damaged)")
    found = (
        (cost, -cut, cut - len(token), token[:cut], token[cut:])
        for token, cost in rank.items()
        for cut in range(1, len(token))
        if token[:cut] in rank and token[cut:] in rank
    )
    merges = list(islice(found, _MOST_MERGES + 1))
    if len(merges) > _MOST_MERGES:
        raise UserError("GGUF tokenizer.ggml.tokens: they can be joined in too many ways (the file is damaged)")
    merges.sort(key=lambda merge: merge[:3])
    return [(left, right) for *_, left, right in merges]


def _vocab(tokens: list[str]) -> dict[str, int]:
    vocab = {token: token_id for token_id, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        twice = next(token for token_id, token in enumerate(tokens) if vocab[token] != token_id)
        raise UserError(f"GGUF tokenizer.ggml.tokens has {shortened(twice)!r} twice (the file is damaged)")
    return vocab


def _add_tokens(tokenizer: "Tokenizer", tokens: list[str], types: list[int]) -> None:
    """Add the tokens that are matched in the text before it is split and merged."""
    from tokenizers import AddedToken

    tokenizer.add_tokens(
        [
            AddedToken(token, special=kind != USER_DEFINED, normalized=False)
            for token, kind in zip(tokens, types, strict=True)
            if kind in (UNKNOWN, CONTROL, USER_DEFINED)
        ]
    )


def _prepend_bos(tokenizer: "Tokenizer", bos: str, bos_id: int) -> None:
    from tokenizers import processors

    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos}:0 $A:0", pair=f"{bos}:0 $A:0 {bos}:1 $B:1", special_tokens=[(bos, bos_id)]
    )
