"""How texts of one house begin and end: openings and closings that many share, such as "Hi NAME," or "Best, Team North".

An opening is looked for in the first line, a closing in the last paragraph.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

NAME = "NAME"  # in a mark: any one to three words
_TOKEN = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
_ENDS = (".", "!", "?", "。", "！", "？", "।", "؟")
_LONGEST = 14  # tokens of a mark
_MANY = 0.2  # share of the texts that a mark must begin or end
_FEWEST = 3  # texts
_TOGETHER = 0.8  # share of the texts with the mark so far that must go on alike for it to become longer
_RARE = 0.1  # share of the texts: a capitalised word of fewer is a name
_MOST = 3  # marks at each end
_NAME_WORDS = 3


@dataclass(frozen=True)
class Mark:
    """An opening or closing. ``tokens`` are in the order of the text; ``count``: how many texts have it."""

    tokens: tuple[str, ...]
    count: int

    @property
    def text(self) -> str:
        return re.sub(r" (?=[,.!?;:)…])", "", " ".join(self.tokens))


def openings(texts: Sequence[str], prompts: Sequence[str]) -> list[Mark]:
    """What many texts begin with, the most frequent first. A capitalised word of a text that is in its prompt, or in few of the
    texts, is a name."""
    found = _marks([_tokens(text.strip().partition("\n")[0])[:_LONGEST] for text in texts], prompts)
    return [Mark(_whole(mark.tokens), mark.count) for mark in found]


def closings(texts: Sequence[str], prompts: Sequence[str]) -> list[Mark]:
    """What many texts end with."""
    last = [re.split(r"\n\s*\n", text.strip())[-1] for text in texts]
    backward = _marks([_tokens(text)[-_LONGEST:][::-1] for text in last], prompts)
    return [Mark(_last_sentence(mark.tokens[::-1]), mark.count) for mark in backward]


def _whole(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Without the beginning of a sentence behind the last one that has ended."""
    ends = [at for at, token in enumerate(tokens) if token in _ENDS and at]
    return tokens[: ends[-1] + 1] if ends else tokens


def _last_sentence(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Without the end of the sentence before."""
    ends = [at for at, token in enumerate(tokens[:-2]) if token in _ENDS]
    return tokens[ends[-1] + 1 :] if ends else tokens


def opens(text: str, mark: Mark) -> bool:
    """Whether the text begins with the mark, whatever the case and the white space."""
    return _begins(_tokens(text)[: 4 * _LONGEST], mark.tokens)


def closes(text: str, mark: Mark) -> bool:
    return _begins(_tokens(text)[-4 * _LONGEST :][::-1], mark.tokens[::-1])


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _marks(texts: Sequence[Sequence[str]], prompts: Sequence[str]) -> list[Mark]:
    often = Counter(token for tokens in texts for token in set(tokens))
    left = [
        _with_names(tokens, set(_tokens(prompt)), often, len(texts))
        for tokens, prompt in zip(texts, prompts, strict=True)
    ]
    least, found = max(_FEWEST, _MANY * len(texts)), list[Mark]()
    while len(found) < _MOST:
        mark = _longest(left)
        if mark.count < least:
            break
        if len(mark.tokens) > 1:
            found.append(mark)
        size = len(mark.tokens)
        left = [tokens for tokens in left if tuple(tokens[:size]) != mark.tokens]
    return sorted(found, key=lambda mark: -mark.count)


def _with_names(tokens: Sequence[str], prompt: set[str], often: Counter[str], of: int) -> list[str]:
    found: list[str] = []
    for token in tokens:
        is_name = token[0].isupper() and (
            often[token] < max(2, _RARE * of) or (token in prompt and often[token] < of / 2)
        )
        if not (is_name and found and found[-1] == NAME):  # several words are one name
            found.append(NAME if is_name else token)
    return found


def _longest(texts: Sequence[Sequence[str]]) -> Mark:
    """The most frequent first token, and what nearly all texts with it go on with."""
    mark: tuple[str, ...] = ()
    group = list(texts)
    while len(mark) < _LONGEST:
        following = Counter(tokens[len(mark)] for tokens in group if len(tokens) > len(mark))
        if not following:
            break
        token, count = following.most_common(1)[0]
        if mark and count < _TOGETHER * len(group):
            break
        mark = (*mark, token)
        group = [tokens for tokens in group if tuple(tokens[: len(mark)]) == mark]
    return Mark(mark, len(group))


def _begins(tokens: Sequence[str], mark: Sequence[str]) -> bool:
    if not mark:
        return True
    if mark[0] != NAME:
        return bool(tokens) and tokens[0].casefold() == mark[0].casefold() and _begins(tokens[1:], mark[1:])
    most = min(_NAME_WORDS, len(tokens))
    return any(tokens[count - 1][0].isalpha() and _begins(tokens[count:], mark[1:]) for count in range(1, most + 1))
