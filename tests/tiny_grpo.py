"""A small GRPO run for the tests of both backends: rows, a reward, and a check of what is sampled."""

from pathlib import Path
from typing import Any

import pytest

from finetune.backends.interface import Backend, Trainer
from finetune.methods import METHODS
from finetune.methods.grpo import OLD
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import encode_rows
from finetune.models.loss_mask import Example
from finetune.rollouts.rewards import Judge, Reward
from finetune.rollouts.source import RolloutSource
from finetune.settings.config import TrainingConfig

CONFIG = TrainingConfig(
    method="grpo",
    iters=6,
    batch_size=3,
    learning_rate=1e-2,
    lora_rank=4,
    warmup=1,
    grpo_group_size=4,
    grpo_max_tokens=6,
    grpo_updates=2,
    grpo_kl=0.01,
)
ROWS = [{"messages": [{"role": "user", "content": "x" * i}, {"role": "assistant", "content": "y"}]} for i in range(7)]


def letters(row: dict[str, Any], answer: str, *, stopped: bool) -> Reward:
    """The share of capital letters in an answer."""
    return Reward(sum("A" <= character <= "Z" for character in answer) / max(1, len(answer)), {})


def new_trainer(backend: Backend, folder: Path, config: TrainingConfig, judge: Judge) -> Trainer:
    encoder, method = ChatEncoder(folder), METHODS["grpo"]
    rows, _ = encode_rows(encoder, list(enumerate(ROWS, 1)), Path("train.jsonl"), 64, method.encode)
    source = RolloutSource(method, rows, judge, encoder, config)
    return backend.Trainer(backend.load(folder, encoder), method, source, config, config.iters, "base")


def check_draws(trainer: Any) -> None:
    """Their log-probabilities are the model's, and what a row draws does not depend on the rows beside it."""
    prompts = [row.examples[0].tokens for row in trainer.source.rows for _ in range(5)]
    drawn = trainer.sample(prompts, "seed", lambda: False)
    examples = [
        Example(prompt + one.tokens, [False] * len(prompt) + [True] * len(one.tokens), {OLD: one.logprobs})
        for prompt, one in zip(prompts, drawn, strict=True)
    ]
    for example, found in zip(examples, trainer.logprobs(examples), strict=True):
        assert found == pytest.approx(example.terms[OLD], rel=1e-4, abs=1e-5)
    for some in (prompts, prompts[:1]):
        again = trainer.sample(some, "seed", lambda: False)
        assert [one.tokens for one in again] == [one.tokens for one in drawn[: len(some)]]
    assert len({tuple(one.tokens) for one in drawn}) > len(prompts) / 2
