"""Rows to examples, each row to one or to several, with the line of what cannot be trained on."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder, Example


def last_answer(example: Example) -> Example:
    """Only the last of the assistant's turns is learned."""
    start = len(example.loss_mask)
    while start and example.loss_mask[start - 1]:
        start -= 1
    return Example(example.tokens, [False] * start + example.loss_mask[start:], example.terms)


Encoded = list[Example] | ValueError  # of a row, or why it cannot be trained on
Encode = Callable[[ChatEncoder, Sequence[dict[str, Any]]], Iterator[Encoded]]


def whole_conversations(encoder: ChatEncoder, rows: Sequence[dict[str, Any]]) -> Iterator[Encoded]:
    """Every turn of the assistant is learned."""
    for example in encoder.examples(row["messages"] for row in rows):
        if isinstance(example, ValueError):
            yield example
        elif any(example.loss_mask):
            yield [example]
        else:
            yield ValueError("nothing to learn (the row needs an assistant message with text)")


def encode_rows(
    encoder: ChatEncoder,
    rows: Sequence[tuple[int, dict[str, Any]]],
    path: Path,
    max_tokens: int,
    encode: Encode = whole_conversations,
) -> tuple[list[Example], list[int]]:
    """The examples of the rows of ``path``, given with their line numbers, and the lines of those left out as too long.

    ``encode`` makes of each row one example or several, which stay together. Raises one UserError that counts every row that
    cannot be trained on and names the first by its line; also where every row is too long.
    """
    examples: list[Example] = []
    too_long, problems = [], []
    for (line, _), made in zip(rows, encode(encoder, [row for _, row in rows]), strict=True):
        if isinstance(made, ValueError):
            problems.append(f"{path}:{line}: {made}")
        elif max(len(example.tokens) for example in made) > max_tokens:
            too_long.append(line)
        else:
            examples += made
    if problems:
        more = f" ... and {len(problems) - 1} more rows like it" if len(problems) > 1 else ""
        raise UserError(problems[0] + more)
    if too_long and not examples:
        raise UserError(f"{path}: every row has more than {max_tokens} tokens (raise --max-seq-length)")
    return examples, too_long
