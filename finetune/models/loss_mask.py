"""Which tokens the loss counts: the turns of the assistant, each behind the prompt that asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Example:
    """One conversation as the model sees it.

    ``tokens`` are the token ids, and ``loss_mask``, of the same length, is True for those that the loss counts: the
    assistant's turns, each with its end-of-turn token. ``terms`` are the further inputs of a loss, by name: a number for the
    whole example (DPO's log-probability under the reference), or a list with a number per learned token (GRPO's).
    ``turns`` is how many turns of the assistant are learned. ``rewritten`` of them stand in an example apart from the whole
    conversation, because the chat template writes them otherwise, or not at all, once others follow.
    """

    tokens: list[int]
    loss_mask: list[bool]
    terms: dict[str, Any] = field(default_factory=dict)
    turns: int = 0
    rewritten: int = 0

    @property
    def learned(self) -> int:
        """How many tokens the loss counts. The first is never among them: nothing precedes it, so it is not predicted."""
        return sum(self.loss_mask[1:])


class Turn(NamedTuple):
    """A turn of the assistant that is learned."""

    prompt: list[int]  # tokens that the model is asked with
    completion: list[int]  # tokens that it learns to write, with their end
    context: int = 0  # of the completion, tokens at its beginning that are not learned
    is_call: bool = False  # it calls a tool, without thinking
    first_end: int = 0  # of the completion, tokens up to the first of several marks that end it


def examples_of_turns(turns: Sequence[Turn]) -> list[Example]:
    """The examples of a conversation, from its turns in order: one if every turn stands in it as the model is asked for it,
    else others before it for those that do not."""
    found: list[tuple[Example, int]] = []  # the last first, each with its number of turns
    for turn in reversed(turns):
        tokens = [*turn.prompt, *turn.completion]
        start, end = len(turn.prompt) + turn.context, len(tokens)
        at = next((at for at, (one, _) in enumerate(found) if one.tokens[:end] == tokens), None)
        if at is None and 0 < turn.first_end < len(
            turn.completion
        ):  # Phi-3 writes the others after the last turn alone
            short = tokens[: len(turn.prompt) + turn.first_end]
            at = next((at for at, (one, _) in enumerate(found) if one.tokens[: len(short)] == short), None)
            end = end if at is None else len(short)
        if at is None and turn.is_call:
            at, end = _as_it_stands(turn, [one for one, _ in found], end)
            start = len(turn.prompt) if at is not None else start
        if at is None:
            at = len(found)
            found.append((Example(tokens, [False] * end, rewritten=int(bool(found))), 0))
        example, count = found[at]
        example.loss_mask[start:end] = [True] * (end - start)
        found[at] = (example, count + 1)
    return [Example(one.tokens, one.loss_mask, {}, count, count * one.rewritten) for one, count in reversed(found)]


def _as_it_stands(turn: Turn, examples: Sequence[Example], end: int) -> tuple[int | None, int]:
    """Where a call stands behind its prompt, in which example, and where it ends there: Qwen3 writes an empty thought before
    the last turn alone."""
    start, closing = len(turn.prompt), turn.completion[-1]
    for at, example in enumerate(examples):
        if example.tokens[:start] != turn.prompt:
            continue
        for stop in range(start + 1, len(example.tokens) + 1):  # a turn can have several calls
            if example.tokens[stop - 1] == closing and turn.completion[start - stop :] == example.tokens[start:stop]:
                return at, stop
    return None, end
