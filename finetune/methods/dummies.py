"""Stand-ins for training rows in a measurement, if a run completes its rows only while it trains."""

from collections.abc import Sequence
from dataclasses import replace

from finetune.methods import dpo, grpo
from finetune.methods.base import Method
from finetune.models.examples import TrainingRow
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig


def dummy_rows(method: Method, rows: Sequence[TrainingRow], config: TrainingConfig) -> list[TrainingRow]:
    """Rows as long as those that a run will train on: with made-up reference log-probabilities, and, for rollouts, with
    ``--grpo-group-size`` completions of ``--grpo-max-tokens`` tokens for each prompt."""
    if method.rollouts:
        return [replace(row, examples=(_completed(row.examples[0], config),) * config.grpo_group_size) for row in rows]
    if method.reference:
        return [replace(row, examples=tuple(map(_with_reference, row.examples))) for row in rows]
    return list(rows)


def _completed(prompt: Example, config: TrainingConfig) -> Example:
    count = config.grpo_max_tokens
    return Example([*prompt.tokens, *[0] * count], [*prompt.loss_mask, *[True] * count], {grpo.ADVANTAGE: 1.0})


def _with_reference(example: Example) -> Example:
    return replace(example, terms={dpo.REFERENCE: -float(example.learned)})
