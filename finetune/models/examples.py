"""Rows as a model is trained on them: each with its line, its fields and the token ids and loss masks made of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from finetune.errors import UserError
from finetune.models.conversation import Conversation, Message
from finetune.models.encoder import ChatEncoder
from finetune.models.loss_mask import Example
from finetune.records.dataset import Turns
from finetune.records.files import Row
from finetune.terminal import counted


@dataclass(frozen=True)
class TrainingRow:
    """A row of train.jsonl or valid.jsonl, from the file to the loss."""

    line: int  # in its file, counted from 1
    fields: Row  # for scores and rewards
    examples: tuple[
        Example, ...
    ]  # the conversation; or chosen and rejected answer; or the prompt, later its completions

    @property
    def tokens(self) -> int:
        """Token ids of its longest example."""
        return max(len(example.tokens) for example in self.examples)


def examples_of(rows: Iterable[TrainingRow]) -> list[Example]:
    """The examples of all rows, in order."""
    return [example for row in rows for example in row.examples]


def as_rows(examples: Iterable[Example], each: int = 1) -> list[TrainingRow]:
    """Rows without a file, of ``each`` neighbouring examples: for measurements."""
    rest = iter(examples)
    groups = iter(lambda: tuple(islice(rest, each)), ())
    return [TrainingRow(line, {}, group) for line, group in enumerate(groups, 1)]


def last_answer(example: Example) -> Example:
    """The same conversation with a loss mask that covers the last turn of the assistant only."""
    start = len(example.loss_mask)
    while start and example.loss_mask[start - 1]:
        start -= 1
    return Example(example.tokens, [False] * start + example.loss_mask[start:], example.terms)


def turns_of(messages: Sequence[Message], examples: Sequence[Example] | None) -> Turns:
    """How many turns of the assistant a conversation has, and how many of them are learned; ``examples`` are made of it."""
    answers = [message for message in messages if message["role"] == "assistant"]
    context = sum(not message.get("weight", 1) for message in answers)
    rewritten = sum(example.rewritten for example in examples) if examples else None
    return Turns(len(answers), len(answers) - context, context, rewritten)


def rewritten(count: int) -> str:
    """What becomes of so many turns."""
    return f"{count:,} in examples of their own, because the chat template rewrites them once others follow"


Encoded = list[Example] | ValueError  # the examples of a row, or why it cannot be trained on
Encode = Callable[[ChatEncoder, Sequence[Row]], Iterator[Encoded]]


def whole_conversations(encoder: ChatEncoder, rows: Sequence[Row]) -> Iterator[Encoded]:
    """The examples of each row, with every turn of the assistant in the loss: one, unless the template rewrites turns."""
    for examples in encoder.examples(map(Conversation.of, rows)):
        if isinstance(examples, ValueError) or any(examples[-1].loss_mask):
            yield examples
        else:
            yield ValueError("nothing to train on (the row needs an assistant message with text)")


def encode_rows(
    encoder: ChatEncoder,
    rows: Sequence[tuple[int, Row]],
    path: Path,
    max_tokens: int,
    encode: Encode = whole_conversations,
) -> tuple[list[TrainingRow], list[int]]:
    """The rows of ``path``, given with their line numbers, as training rows; and the lines of those that are too long.

    ``encode`` makes one example or several of each row. Raises one UserError that counts all rows that cannot be trained on
    and names the first by its line; also if every row is longer than ``max_tokens``.
    """
    found: list[TrainingRow] = []
    too_long, problems = [], []
    for (line, row), made in zip(rows, encode(encoder, [row for _, row in rows]), strict=True):
        if isinstance(made, ValueError):
            problems.append(f"{path}:{line}: {made}")
            continue
        training_row = TrainingRow(line, row, tuple(made))
        if training_row.tokens > max_tokens:
            too_long.append(line)
        else:
            found.append(training_row)
    if problems:
        more = f" ... and {counted(len(problems) - 1, 'more row')} like it" if len(problems) > 1 else ""
        raise UserError(problems[0] + more)
    if too_long and not found:
        raise UserError(f"{path}: every row has more than {max_tokens} tokens (raise --max-seq-length)")
    return found, too_long
