"""Supervised fine-tuning: the mean negative log-probability of the assistant's tokens."""

from collections.abc import Sequence
from typing import Any

from finetune.methods.base import BatchLoss, Method
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig


def loss(xp: Any, logprobs: Any, examples: Sequence[Example], config: TrainingConfig) -> BatchLoss:
    """Summed over the learned tokens; the weight is their number."""
    return BatchLoss(-logprobs.sum(), float(len(logprobs)))


SFT = Method(name="sft", loss=loss, each_token=True)
