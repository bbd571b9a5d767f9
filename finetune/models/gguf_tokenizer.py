"""Writes the tokenizer of a GGUF file as Hugging Face's files: tokenizer.json, tokenizer_config.json, chat template.

Two families: byte-level BPE (``tokenizer.ggml.model`` is gpt2), for which GGUF stores the merges but only the name of the
rule that splits text, and SentencePiece BPE (llama), for which it stores scores that determine the merges.

transformers has a converter too (integrations.gguf). It takes an unknown split rule for GPT-2's, splits smollm's digits as
GPT-2 does, adds no BOS token and needs PyTorch to read the file, so its tokens can differ from the model's.
"""

import json
import re
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.errors import UserError, shortened
from finetune.models.gguf_file import Metadata
from finetune.models.gguf_layout import ELSEWHERE
from finetune.models.gguf_pre import apply, rule_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Of a SentencePiece vocabulary: the squares of its pieces' lengths, which are the work, and its merges (Gemma: half a million).
_MOST_WORK, _MOST_MERGES = 1 << 27, 1 << 21

# tokenizer.ggml.token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

# Tokens that end an answer wherever they are special, though a file may name another one: its eos may be that of texts.
_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>")
_IDS = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding", "eot": "eot", "eom": "eom"}
# Keys that are read, and such as change no token.
_READ = frozenset(
    "model pre tokens token_type scores merges add_bos_token add_eos_token add_space_prefix token_type_count"
    " remove_extra_whitespaces".split()
)
_UNUSED_ID = re.compile(
    r"(seperator|mask|cls|fim_(pre|suf|mid|pad|rep|sep)|prefix|suffix|middle)_token_id"  # GGUF writes it so
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


def write_tokenizer(
    metadata: Metadata, vocab_size: int, folder: Path, say: Callable[[str], None] = lambda line: None
) -> Mapping[str, int | list[int]]:
    """Write the tokenizer's files into ``folder``. ``say`` gets what of the file's tokenizer is not read.

    Returns ``bos_token_id``, ``pad_token_id`` and ``eos_token_id`` for generation_config.json; the last is a list of all
    tokens that end an answer. Tokens from ``vocab_size`` on have no row in the embedding and are dropped.
    UserError for a tokenizer that cannot be reproduced exactly, or that is damaged.
    """
    _check_keys(metadata, say)
    tokens = metadata.texts("tokenizer.ggml.tokens")
    if len(tokens) > vocab_size:
        say(f"Note: {len(tokens) - vocab_size:,} of {len(tokens):,} tokens have no row in the embedding: left out.")
        tokens = tokens[:vocab_size]
    if not tokens:
        raise UserError("GGUF tokenizer.ggml.tokens is empty (the file is damaged)")
    types = [NORMAL] * len(tokens)
    if "tokenizer.ggml.token_type" in metadata:
        types = metadata.numbers("tokenizer.ggml.token_type", int, len(tokens))
    special = {
        name: metadata.integer(f"tokenizer.ggml.{key}_token_id", least=0, most=len(tokens) - 1)
        for name, key in _IDS.items()
        if f"tokenizer.ggml.{key}_token_id" in metadata
    }
    kind = metadata.text("tokenizer.ggml.model")
    if kind == "gpt2":
        tokenizer, starts_with_bos = _byte_level_bpe(metadata, tokens, say)
    elif kind == "llama":
        tokens = [token.replace(" ", "▁") for token in tokens]  # GGUF stores runs of spaces literally
        tokenizer, starts_with_bos = _sentencepiece_bpe(metadata, tokens, types), True
    else:
        raise UserError(f"GGUF tokenizer {shortened(kind)!r} is not supported (supported: gpt2, llama; or {ELSEWHERE})")

    architecture = metadata.text("general.architecture")
    ends = {special.pop("eot", None), special.pop("eom", None), special.get("eos")}
    names = {f"{name}_token": tokens[token_id] for name, token_id in special.items()}
    # the marks of Phi-3's turns take the spaces and line breaks behind them; GGUF has no place to say it
    takes_space = kind == "llama" and architecture == "phi3"
    _add_tokens(
        tokenizer, tokens, types, {names.get(f"{name}_token") for name in ("bos", "unk")} if takes_space else None
    )
    starts = metadata.flag("tokenizer.ggml.add_bos_token", default=starts_with_bos)
    closes = metadata.flag("tokenizer.ggml.add_eos_token", default=False)
    _surround(tokenizer, special, names, before=starts, behind=closes)
    # not Tokenizer.save, which says of a full disk what nobody can tell from a bug
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")

    is_gemma = architecture == "gemma3"
    if is_gemma or "tokenizer.chat_template" in metadata:
        template = metadata.text("tokenizer.chat_template", GEMMA_TEMPLATE if is_gemma else None)
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

    controls = {token: token_id for token_id, token in enumerate(tokens) if types[token_id] == CONTROL}
    ends |= {controls.get(end) for end in _ENDS} | ({tokenizer.token_to_id("<end_of_turn>")} if is_gemma else set())
    ids: dict[str, int | list[int]] = {f"{name}_token_id": special[name] for name in ("bos", "pad") if name in special}
    return ids | {"eos_token_id": sorted(end for end in ends if end is not None)}


def _check_keys(metadata: Metadata, say: Callable[[str], None]) -> None:
    """UserError for a key of the tokenizer that nobody here reads: it would make other tokens."""
    own, unknown = "tokenizer.ggml.", []
    for key in metadata:
        name = key.removeprefix(own)
        if not key.startswith(own) or name in _READ or _UNUSED_ID.fullmatch(name):
            continue
        if name not in (f"{id_}_token_id" for id_ in _IDS.values()) and not metadata.is_one_of(key, (False,)):
            unknown.append(shortened(key))
    if unknown:
        raise UserError(
            f"the GGUF's tokenizer has settings that are not supported: {', '.join(unknown[:4])} ({ELSEWHERE})"
        )
    templates = sorted(shortened(key) for key in metadata if key.startswith("tokenizer.chat_template."))
    if templates:
        say(f"Note: of the file's chat templates only the default is read, not {', '.join(templates[:4])}.")


def _byte_level_bpe(metadata: Metadata, tokens: list[str], say: Callable[[str], None]) -> tuple["Tokenizer", bool]:
    from tokenizers import Tokenizer, decoders, models

    rule = rule_of(metadata.text("tokenizer.ggml.pre", ""))
    if rule.note:
        say(f"Warning: {rule.note}.")
    vocab, merges = _vocab(tokens), []
    for merge in metadata.texts("tokenizer.ggml.merges"):
        left, _, right = merge.partition(" ")
        if not (left and right and vocab.keys() >= {left, right, left + right}):
            raise UserError(
                f"GGUF tokenizer.ggml.merges: {shortened(merge)!r} is not two tokens that make a third"
                " (the file is damaged)"
            )
        merges.append((left, right))
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=rule.takes_whole))
    apply(rule, tokenizer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, rule.starts_with_bos


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


def _add_tokens(tokenizer: "Tokenizer", tokens: list[str], types: list[int], alone: set[str | None] | None) -> None:
    """Add the tokens that are matched in the text before it is split and merged.

    If ``alone`` is given, control tokens that are not in it take the spaces and line breaks that follow them.
    """
    from tokenizers import AddedToken

    tokenizer.add_tokens(
        [
            AddedToken(
                token,
                special=kind != USER_DEFINED,
                normalized=False,
                rstrip=alone is not None and kind == CONTROL and token not in alone,
            )
            for token, kind in zip(tokens, types, strict=True)
            if kind in (UNKNOWN, CONTROL, USER_DEFINED)
        ]
    )


def _surround(
    tokenizer: "Tokenizer", special: Mapping[str, int], names: Mapping[str, str], *, before: bool, behind: bool
) -> None:
    """Let every text begin with the BOS token and end with the EOS token, where the file has them and says so."""
    from tokenizers import processors

    first = [names["bos_token"]] if before and "bos" in special else []
    last = [names["eos_token"]] if behind and "eos" in special else []
    if not first + last:
        return

    def around(text: str, place: int) -> list[str]:
        return [f"{token}:{place}" for token in (*first, text, *last)]

    used = {name: special[name] for name, tokens in (("bos", first), ("eos", last)) if tokens}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(around("$A", 0)),
        pair=" ".join(around("$A", 0) + around("$B", 1)),
        special_tokens=[(names[f"{name}_token"], token_id) for name, token_id in used.items()],
    )
