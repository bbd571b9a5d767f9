"""Rows with a better and a worse answer to the same prompt: how they become examples, and sums over their tokens."""

from collections.abc import Iterator, Sequence
from typing import Any

from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import Encoded, last_answer
from finetune.models.loss_mask import Example
from finetune.models.other_answers import with_answer
from finetune.records.files import Row

REJECTED = "rejected"  # the field; the better answer is the last of the messages


def encode(encoder: ChatEncoder, rows: Sequence[Row]) -> Iterator[Encoded]:
    """Of each row two examples, chosen and rejected, in which the answer alone is learned."""
    conversations = []
    for row in rows:
        better = Conversation.of(row)
        conversations += [better, with_answer(better, row[REJECTED])]
    examples = encoder.examples(conversations)
    for chosen, rejected in zip(examples, examples, strict=True):  # two of the same iterator at a time
        if isinstance(chosen, ValueError):
            yield chosen
        elif isinstance(rejected, ValueError):
            yield rejected
        elif chosen[-1].tokens == rejected[-1].tokens:
            yield ValueError("chosen and rejected are the same tokens")
        else:
            yield [last_answer(chosen[-1]), last_answer(rejected[-1])]


def sums(xp: Any, logprobs: Any, examples: Sequence[Example]) -> tuple[Any, Any]:
    """Log-probabilities [tokens] -> of each pair the sum over the chosen and over the rejected answer, both [pairs]."""
    found, at = [], 0
    for example in examples:
        found.append(logprobs[at : at + example.learned].sum())
        at += example.learned
    return xp.stack(found[::2]), xp.stack(found[1::2])


def lengths(xp: Any, examples: Sequence[Example]) -> tuple[Any, Any]:
    """Tokens of the chosen and of the rejected answers, both [pairs]."""
    counts = [float(example.learned) for example in examples]
    return xp.asarray(counts[::2]), xp.asarray(counts[1::2])


def log_sigmoid(xp: Any, x: Any) -> Any:
    """log(1 / (1 + exp(-x))), without overflow on either side."""
    return -xp.logaddexp(xp.zeros_like(x), -x)
