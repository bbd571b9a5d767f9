"""Which tokens the loss counts: the turns of the assistant, found by what the chat template renders before and after each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.models.conversation import Conversation

_SEAM = 4  # tokens at the end of a prompt that can change once the answer follows


@dataclass(frozen=True)
class Example:
    """One conversation as the model sees it.

    ``tokens`` are the token ids, and ``loss_mask``, of the same length, is True for those that the loss counts: the
    assistant's turns, each with its end-of-turn token. ``terms`` are the further inputs of a loss, by name: a number for the
    whole example (DPO's log-probability under the reference), or a list with a number per learned token (GRPO's).
    ``turns`` is how many turns of the assistant should be learned; ``rewritten`` of them are not, because the chat template
    writes them otherwise, or not at all, once others follow.
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


def parts_of(conversation: Conversation) -> list[tuple[Conversation, bool]]:
    """The parts to render in order to find the assistant's turns, each with whether to add the generation prompt.

    First the whole conversation. Then for each turn to learn all before it, and, unless it is the last, all up to its end. A
    turn with weight 0 is only context.
    """
    parts = [(conversation, False)]
    for turn, message in enumerate(conversation.messages):
        if message["role"] == "assistant" and message.get("weight", 1):
            parts.append((conversation.up_to(turn), True))
            if turn < len(conversation.messages) - 1:
                parts.append((conversation.up_to(turn + 1), False))
    return parts


def calls_of_turns(conversation: Conversation) -> list[bool]:
    """For each turn to learn whether it is a call without a thought before it."""
    learned = (m for m in conversation.messages if m["role"] == "assistant" and m.get("weight", 1))
    return [bool(m.get("tool_calls")) and not m.get("reasoning_content") for m in learned]


def example_of(
    parts: Sequence[list[int]], special_tokens: Collection[int], calls: Sequence[bool] | None = None
) -> Example:
    """The example, from the tokens of ``parts``: the whole, then up to the start and the end of each turn to learn.

    A turn that reads otherwise at the end of a conversation is not learned, unless it is one of ``calls``: Qwen3 writes an
    empty thought before the last turn alone. Such a call is learned as it stands before its result.
    """
    tokens, *turns = parts
    rewritten = 0
    loss_mask = [False] * len(tokens)
    is_call = iter(calls or ())
    for before, through in zip(turns[::2], [*turns[1::2], tokens], strict=False):
        start, end = _common(tokens, before), _common(tokens, through)
        if next(is_call, False) and len(before) - _SEAM <= start and end < len(through) - _SEAM:
            closing = next((token for token in reversed(through) if token in special_tokens), None)
            end = next((at + 1 for at in range(start, len(tokens)) if tokens[at] == closing), start)
            loss_mask[start:end] = [True] * (end - start)
            rewritten += end == start
            continue
        if start < len(before) - _SEAM and through is tokens:
            raise ValueError("the chat template changes the prompt once the answer follows")
        if start < len(before) - _SEAM or end <= start or end < len(through) - _SEAM:
            rewritten += 1  # so the model never answers like this
            continue
        end = max((i + 1 for i in range(start, end) if tokens[i] in special_tokens), default=end)
        loss_mask[start:end] = [True] * (end - start)
    last = max((i + 1 for i, learned in enumerate(loss_mask) if learned), default=len(tokens))
    return Example(tokens[:last], loss_mask[:last], turns=-(-len(turns) // 2), rewritten=rewritten)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
