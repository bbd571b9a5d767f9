"""How a byte-level BPE tokenizer splits a text before it merges: GGUF stores only the name of the rule, ``tokenizer.ggml.pre``.

Each rule is that of the tokenizer.json that the name stands for, not that of llama.cpp, which writes some of them otherwise.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune.errors import UserError, shortened
from finetune.models.gguf_layout import ELSEWHERE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_NO_WORD = r"[^\r\n\p{L}\p{N}]?"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def _words(digits: str) -> str:
    """The rule of GPT-4 and of what follows it: words, ``digits``, punctuation with the ends of lines, spaces."""
    return rf"{_ENDINGS}|{_NO_WORD}\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"


def _cased_words(digits: str, endings: str = "") -> str:
    """The rule of GPT-4o: a word also begins where small letters are followed by a capital."""
    return (
        rf"{_NO_WORD}{_UPPER}*{_LOWER}+{endings}|{_NO_WORD}{_UPPER}+{_LOWER}*{endings}|{digits}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
    )


@dataclass(frozen=True)
class Rule:
    """``splits`` are applied one after the other, each to the pieces of the one before. ``is_gpt2``: GPT-2's split comes last.

    ``takes_whole``: a piece that is a token is not merged. ``starts_with_bos`` holds where the file does not say it.
    ``composes``: letters and their accents are composed first (NFC). ``note`` is what the user has to know.
    """

    splits: tuple[str, ...] = ()
    is_gpt2: bool = False
    has_single_digits: bool = False
    takes_whole: bool = False
    starts_with_bos: bool = False
    composes: bool = False
    note: str = ""


_LLAMA3 = Rule((_words(r"\p{N}{1,3}"),), takes_whole=True, starts_with_bos=True)
RULES = {
    "smollm": Rule(is_gpt2=True, has_single_digits=True),
    "gpt-2": Rule(is_gpt2=True),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": Rule((_words(r"\p{N}"),), composes=True),
    "tekken": Rule((_cased_words(r"\p{N}"),), takes_whole=True, starts_with_bos=True),
    "dbrx": Rule((_words(r"\p{N}{1,3}"),)),  # Phi-4
    "smaug-bpe": Rule((_words(r"\p{N}{1,3}"),)),  # what was made of Llama 3's tokenizer
    "gpt-4o": Rule((_cased_words(r"\p{N}{1,3}", f"{_ENDINGS}?"),)),  # Phi-4 mini
    "default": Rule(
        (
            r"[\p{P}\$\+<=>\^~\|]+",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
            r"\p{N}+",
            r"[0-9][0-9][0-9]",
        ),
        note="the file does not say how its tokenizer splits text (tokenizer.ggml.pre is default): texts are split as"
        " llama.cpp does then, which the model may not have been trained with",
    ),
}


def rule_of(pre: str) -> Rule:
    """The rule named ``pre``. UserError if it is unknown or the file names none."""
    if pre not in RULES:
        names = ", ".join(name for name in RULES if name not in ("llama3", "llama-v3"))
        what = f"is {shortened(pre)!r}, which is not supported" if pre else "is missing: how text is split is not known"
        raise UserError(f"GGUF tokenizer.ggml.pre {what} (supported: {names}; or {ELSEWHERE})")
    return RULES[pre]


def apply(rule: Rule, tokenizer: "Tokenizer") -> None:
    """Make ``tokenizer`` split texts by the rule."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rule.splits]
    digits = [pre_tokenizers.Digits(individual_digits=True)] if rule.has_single_digits else []
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule.is_gpt2)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, *digits, to_bytes])
    if rule.composes:
        tokenizer.normalizer = normalizers.NFC()
