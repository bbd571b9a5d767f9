"""The token with which an answer ends: what the chat template writes after it, or, if it writes nothing, one that is added."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple


class End(NamedTuple):
    """The end of an answer."""

    token: int | None  # None if the model has none
    added: str = ""  # its text, if the chat template does not write it
    marks: tuple[int, ...] = ()  # all that the template writes after an answer; the last is the token

    @property
    def note(self) -> str:
        """What a person should know of it; "" if the template writes it."""
        if self.added:
            return (
                f"the chat template writes no end of an answer: {self.added} is added, so that the model learns to stop"
            )
        if self.token is None:
            return "no end of an answer is learned: neither the chat template nor the model has a token for it"
        return ""


def find_end(
    after: str,
    following: str,
    encode: Callable[[str], list[int]],
    known: Mapping[int, Any],
    ends: Collection[int],
    eos: int | None,
) -> End:
    """The end of an answer. ``after`` is what the template writes after the last answer, ``following`` what it writes after one
    that a question follows; ``known`` are the added tokens by their ids; ``ends`` those of generation_config.json.

    Without a mark of the template it is the token of the next turn if the model ends with that, as GLM-4 does, else ``eos``.
    """
    written = encode(after)
    marks = [token for token in written if token in known and known[token].special]
    marks = marks or [token for token in written if token in known and known[token].content.strip()]
    if marks:
        return End(marks[-1], marks=tuple(marks))
    first = next(iter(encode(following.lstrip())), None)
    token = first if first in ends and first in known else eos
    return End(token, known[token].content if token is not None and token in known else "")


def up_to_end(
    completion: Sequence[int], ends: Collection[int], decode: Callable[[Sequence[int]], str]
) -> tuple[int, int]:
    """How many tokens of a completion there are up to the first of the marks that end it, and up to the last of them; all if
    it has none."""
    last = max((at + 1 for at, token in enumerate(completion) if token in ends), default=len(completion))
    first = last
    for at in range(last - 1, -1, -1):
        if completion[at] in ends:
            first = at + 1
        elif decode(completion[at : at + 1]).strip():
            break
    return first, last


def ended(completion: str, end: End, marks: tuple[str, ...]) -> str:
    """The text of an answer with the end of one, if the template writes none and it has none of the ``marks``."""
    if not end.added:
        return completion
    text = completion.rstrip()
    return completion if text.endswith(marks) else text + end.added
