"""A tokenizer as GGUF stores it: its tokens, their kinds, its merges or scores, and the name of the rule that splits text.

No table of hashes: the rule is found by what it does. Each that GGUF has a name for (models/gguf_pre) splits hard texts, and
the one that splits them as the tokenizer does is its name. llama.cpp then has to make the same tokens of them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.errors import UserError, shortened
from finetune.export.gguf.chat_template import in_gguf
from finetune.export.gguf.keys import Value
from finetune.export.hard_texts import hard_texts
from finetune.export.source import Source
from finetune.models.conversation import Conversation
from finetune.models.gguf_pre import RULES, apply
from finetune.models.gguf_tokenizer import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_INSTEAD = "use --to model, and a program that reads such a folder"
_NAMES = {"bos": "bos_token_id", "unknown": "unk_token_id", "padding": "pad_token_id"}


@dataclass(frozen=True)
class Vocabulary:
    """``keys`` of the metadata; ``pre`` is the rule's name, None for SentencePiece. ``left_out``: tokens without a row in the
    embeddings."""

    keys: Mapping[str, Value]
    pre: str | None
    left_out: int


def vocabulary(source: Source, rows: int) -> Vocabulary:
    """The tokenizer of the run, for embeddings of so many ``rows``. UserError if GGUF cannot say it."""
    backend = source.encoder.tokenizer.backend_tokenizer
    about = json.loads(backend.to_str())
    model = about["model"]
    if model.get("type") != "BPE":
        raise UserError(
            f"{source.model}: GGUF has no place for its tokenizer, {shortened(str(model.get('type')))} (supported: byte-level"
            f" BPE, and BPE with pieces for bytes; {_INSTEAD})"
        )
    of_pieces = bool(model.get("byte_fallback"))
    names, types = _tokens(about, rows, of_pieces=of_pieces)
    left_out = len({*model["vocab"].values(), *(one["id"] for one in about["added_tokens"])} - set(range(rows)))
    keys: dict[str, Value] = {"model": "llama" if of_pieces else "gpt2", "tokens": names, "token_type": types}
    merges = [one if isinstance(one, list) else one.split(" ") for one in model["merges"]]
    pre = None
    if of_pieces:
        keys |= {"scores": _scores(names, types, merges), "add_space_prefix": _puts_space(backend)}
    else:
        pre = _pre(source, about, backend)
        keys |= {"pre": pre, "merges": [" ".join(merge) for merge in merges]}
    keys |= _special(source, rows)
    found = {f"tokenizer.ggml.{name}": value for name, value in keys.items()}
    if source.chat_template:
        found["tokenizer.chat_template"] = in_gguf(source)
    return Vocabulary(found, pre, left_out)


def _tokens(about: Mapping[str, Any], rows: int, *, of_pieces: bool) -> tuple[list[str], list[int]]:
    """The text and the kind of each token; ids without a token are filled up."""
    names = [f"[PAD{at}]" for at in range(rows)]
    types = [UNUSED] * rows
    for token, at in about["model"]["vocab"].items():
        if at < rows:
            names[at] = token
            types[at] = BYTE if of_pieces and _BYTE.fullmatch(token) else NORMAL
    for added in about["added_tokens"]:
        if (at := added["id"]) < rows:
            types[at] = CONTROL if added["special"] else USER_DEFINED
            names[at] = added["content"].replace("▁", " ") if of_pieces and not added["special"] else added["content"]
    unknown = about["model"].get("unk_token")
    if of_pieces and unknown in names:
        types[names.index(unknown)] = UNKNOWN
    return names, types


def _scores(names: Sequence[str], types: Sequence[int], merges: Sequence[Sequence[str]]) -> list[float]:
    """Of a piece, the negative rank of the first merge that makes it: the best score is merged first, as the first merge is."""
    rank = {"".join(merge): float(-at) for at, merge in reversed([*enumerate(merges)])}
    last = float(-len(merges) - 1)
    return [rank.get(name, last) if kind == NORMAL else 0.0 for name, kind in zip(names, types, strict=True)]


def _puts_space(backend: Any) -> bool:
    tokens = backend.encode("x", add_special_tokens=False).tokens
    return bool(tokens) and tokens[0].startswith("▁")


def _special(source: Source, rows: int) -> dict[str, Value]:
    """The ids that have a meaning. The end is that of the run's answers; other ends of the model stay ends."""
    encoder = source.encoder
    tokenizer = encoder.tokenizer
    found: dict[str, Value] = {}
    for name, attribute in _NAMES.items():
        at = getattr(tokenizer, attribute, None)
        if isinstance(at, int) and at < rows:
            found[f"{name}_token_id"] = at
    end = encoder.end.token if encoder.end.token is not None else tokenizer.eos_token_id
    if end is not None:
        found["eos_token_id"] = int(end)
    others = sorted(encoder.stop_tokens - {end})
    found |= {f"{name}_token_id": at for name, at in zip(("eot", "eom"), others, strict=False)}
    found["add_bos_token"] = begins_with_bos(source)
    return found


def begins_with_bos(source: Source) -> bool:
    """Whether a prompt of the run begins with the beginning-of-sequence token."""
    encoder = source.encoder
    if not source.chat_template:
        return bool(encoder.plain.begin)
    bos = encoder.tokenizer.bos_token_id
    prompt = encoder.prompt(Conversation([{"role": "user", "content": "x"}]))
    return bos is not None and prompt[:1] == [bos] and not _is_turn(encoder)


def prompt_text(source: Source, ids: Sequence[int]) -> str:
    """A prompt as text, without the token that llama.cpp puts before it: what Ollama's template makes."""
    bos = source.encoder.tokenizer.bos_token_id
    begins = begins_with_bos(source) and list(ids[:1]) == [bos]
    return source.encoder.decode_all(ids[1:] if begins else ids)


def _is_turn(encoder: Any) -> bool:
    """Whether the token that begins a text also begins every turn, as <|im_start|> of SmolLM2: then it belongs to the turns."""
    bos = encoder.tokenizer.bos_token_id
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}, {"role": "user", "content": "x"}]
    return encoder.prompt(Conversation(turns)).count(bos) > 1  # type: ignore[arg-type]


def _pre(source: Source, about: Mapping[str, Any], backend: Any) -> str:
    """The name of the rule that splits texts as this tokenizer does. UserError if there is none."""
    from tokenizers import Tokenizer, models

    texts = hard_texts()
    own = [_split(backend, text) for text in texts]
    whole = bool(about["model"].get("ignore_merges"))
    nearest: tuple[int, str, str] | None = None
    for name, rule in RULES.items():
        if rule.takes_whole != whole or rule.note:
            continue
        other = Tokenizer(models.BPE())
        apply(rule, other)
        differing = [text for text, pieces in zip(texts, own, strict=True) if _split(other, text) != pieces]
        if not differing:
            return name
        if nearest is None or len(differing) < nearest[0]:
            nearest = (len(differing), name, differing[0])
    close = f"; the nearest, {nearest[1]}, splits {shortened(repr(nearest[2]))} otherwise" if nearest else ""
    raise UserError(
        f"{source.model}: no rule of GGUF (tokenizer.ggml.pre) splits text as its tokenizer does{close} ({_INSTEAD})"
    )


def _split(backend: Any, text: str) -> list[str]:
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    if backend.pre_tokenizer is None:
        return [text]
    return [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
