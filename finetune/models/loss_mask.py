"""Which tokens the loss counts: the turns of the assistant, found by what the chat template renders before and after each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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


class Part(NamedTuple):
    """What is rendered to find out where a turn stands in the text of the whole conversation."""

    kind: str
    conversation: Conversation
    prompt: bool = False  # with the beginning of the assistant's next turn


_WHOLE, _BEFORE, _THOUGHT, _THROUGH, _CALL = "whole", "before", "thought", "through", "through a call"


def parts_of(conversation: Conversation) -> list[Part]:
    """The parts to render in order to find the turns to learn: first the whole conversation; then for each of these turns all
    before it, what it thought if that is only context, and all up to its end unless it is the last.

    A turn with weight 0 is only context.
    """
    parts = [Part(_WHOLE, conversation)]
    for turn, message in enumerate(conversation.messages):
        if message["role"] != "assistant" or not message.get("weight", 1):
            continue
        parts.append(Part(_BEFORE, conversation.up_to(turn), prompt=True))
        if not message.get("reasoning_weight", 1):
            other = _another(message["content"])
            parts.append(Part(_THOUGHT, conversation.up_to(turn + 1).answered_after_thinking(other)))
        if turn < len(conversation.messages) - 1:
            is_call = message.get("tool_calls") and not message.get("reasoning_content")
            parts.append(Part(_CALL if is_call else _THROUGH, conversation.up_to(turn + 1)))
    return parts


def _another(answer: str) -> str:
    """An answer that begins with another character of the same kind, so that the text before it becomes the same tokens."""
    first = answer.lstrip()[:1]
    one, other = "12" if first.isdigit() else "ab" if first.isalpha() else "(["
    return other if first.lower() == one else one


def example_of(parts: Sequence[tuple[str, list[int]]], special_tokens: Collection[int]) -> Example:
    """The example, from the kinds and the tokens of ``parts_of``."""
    tokens = parts[0][1]
    turns: list[dict[str, list[int]]] = []
    for kind, found in parts[1:]:
        if kind == _BEFORE:
            turns.append({})
        turns[-1][kind] = found
    rewritten = 0
    loss_mask = [False] * len(tokens)
    for turn in turns:
        before, through = turn[_BEFORE], turn.get(_THROUGH, turn.get(_CALL, tokens))
        start, end = _common(tokens, before), _common(tokens, through)
        if _CALL in turn and len(before) - _SEAM <= start and end < len(through) - _SEAM:
            # Qwen3 writes an empty thought before the last turn alone; the call is learned as it stands before its result
            end = _end_of_call(tokens, start, through, special_tokens)
            loss_mask[start:end] = [True] * (end - start)
            rewritten += end == start
            continue
        if start < len(before) - _SEAM and through is tokens:
            raise ValueError("the chat template changes the prompt once the answer follows")
        if start < len(before) - _SEAM or end <= start or end < len(through) - _SEAM:
            rewritten += 1  # so the model never answers like this
            continue
        if _THOUGHT in turn:  # where the same thinking with another answer differs, the answer begins
            start = max(start, _common(tokens, turn[_THOUGHT]))
        end = max((i + 1 for i in range(start, end) if tokens[i] in special_tokens), default=end)
        loss_mask[start:end] = [True] * (end - start)
    last = max((i + 1 for i, learned in enumerate(loss_mask) if learned), default=len(tokens))
    return Example(tokens[:last], loss_mask[:last], turns=len(turns), rewritten=rewritten)


def _end_of_call(tokens: Sequence[int], start: int, through: Sequence[int], special_tokens: Collection[int]) -> int:
    """Where the call ends that begins at ``start``: what stands there up to a special token must be the end of ``through``,
    which ends with the call as the last turn. ``start`` if there is none: what follows may be the result."""
    last = next((at for at in reversed(range(len(through))) if through[at] in special_tokens), -1)
    for end in range(start + 1, len(tokens) + 1):
        least = min(start + _SEAM, end - 1)  # the first tokens can change with what stands before them
        if tokens[end - 1] == through[last] and tokens[least:end] == through[last + 1 - (end - least) : last + 1]:
            return end
    return start


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
