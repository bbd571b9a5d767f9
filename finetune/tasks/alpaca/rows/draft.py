"""One task before it is worded, and what makes such tasks."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Draft(NamedTuple):
    text: str  # what the task is about
    answer: str
    check: Mapping[str, object]  # one of CHECKS
    words: dict[str, str]  # what else the wordings name


@dataclass(frozen=True)
class Kind:
    """A wording names each of the draft's words; those in ``inline`` also {text}, the others have it as their input."""

    name: str
    draft: Callable[[random.Random], Draft]
    inline: tuple[str, ...]
    with_input: tuple[str, ...] = ()


def equal(text: str, answer: str, **words: str) -> Draft:
    return Draft(text, answer, {"equal": answer}, words)


def exact(text: str, answer: str, **words: str) -> Draft:
    return Draft(text, answer, {"exact": answer}, words)


def short(text: str, answer: str, **words: str) -> Draft:
    return Draft(text, answer, {"ends_with": answer}, words)


def number(text: str, answer: int, **words: str) -> Draft:
    return Draft(text, str(answer), {"numbers": [answer]}, words)


def choice(text: str, answer: str, of: Sequence[str], **words: str) -> Draft:
    return Draft(text, answer, {"choice": answer, "of": list(of)}, words)


def items(text: str, answers: Sequence[str], *, ordered: bool = True, **words: str) -> Draft:
    return Draft(text, ", ".join(answers), {"list": list(answers), "ordered": ordered}, words)


def parsed(text: str, answer: Any, **words: str) -> Draft:
    return Draft(text, json.dumps(answer, ensure_ascii=False), {"json": answer}, words)
