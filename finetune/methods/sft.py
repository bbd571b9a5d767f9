"""Supervised fine-tuning: the mean negative log-probability of the assistant's tokens."""

from collections.abc import Sequence
from typing import Any

from finetune.config import TrainingConfig
from finetune.encoding import Example
from finetune.methods.base import Loss, Method


def loss(xp: Any, logprobs: Any, examples: Sequence[Example], config: TrainingConfig) -> Loss:
    return -logprobs.sum(), float(len(logprobs)), {}


SFT = Method(name="sft", about="learn the rows' answers", loss=loss)
