"""Odds ratio preference optimisation (Hong et al., arXiv 2403.07691): supervised learning of the better answer, and the odds
of it against those of the worse one, in one loss and without a reference.

With P = exp(mean log-probability of an answer's tokens) and odds = P / (1 - P), the loss of a pair is
-log P(chosen) - weight * log sigmoid(log odds(chosen) - log odds(rejected)) (equations 4 to 7).
"""

from collections.abc import Sequence
from typing import Any

from finetune.methods import pairs
from finetune.methods.base import BatchLoss, Method, MetricSum
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig

_CERTAIN = -1e-6  # the highest log P: of one that is certain the odds are without bound


def loss(xp: Any, logprobs: Any, examples: Sequence[Example], config: TrainingConfig) -> BatchLoss:
    """Summed over the pairs; the weight is their number."""
    chosen, rejected = (
        total / tokens
        for total, tokens in zip(pairs.sums(xp, logprobs, examples), pairs.lengths(xp, examples), strict=True)
    )

    def log_odds(mean: Any) -> Any:
        mean = xp.minimum(mean, xp.full_like(mean, _CERTAIN))
        return mean - xp.log(-xp.expm1(mean))

    ratio = log_odds(chosen) - log_odds(rejected)
    losses = -chosen - config.orpo_weight * pairs.log_sigmoid(xp, ratio)
    count = len(examples) / 2
    metrics = {"margin": MetricSum(ratio.sum(), count), "preferred": MetricSum((ratio > 0).sum(), count)}
    return BatchLoss(losses.sum(), count, metrics)


ORPO = Method(
    name="orpo",
    loss=loss,
    encode=pairs.encode,
    columns=(pairs.REJECTED,),
    pairs=True,
)
