"""Direct preference optimisation: a better and a worse answer, no reward model and no sampling.

With h = [log p(chosen) - log q(chosen)] - [log p(rejected) - log q(rejected)], p the model under training and q the model as
it started, the loss of a pair is, for ``--dpo-loss``

- sigmoid: -log sigmoid(beta h) (Rafailov et al., arXiv 2305.18290, equation 7);
- hinge: max(0, 1 - beta h) (SLiC, Zhao et al., arXiv 2305.10425, in this form in arXiv 2309.06657, section 3);
- ipo: (h - 1 / (2 beta))^2 on means over the tokens (Azar et al., arXiv 2310.12036, equation 17; the means are those of
  TRL, without which long answers would have to differ more).

``--dpo-length-normalised`` takes means in the others too. ``--dpo-sft-weight`` adds the chosen answer's own negative
log-probability per token (Pang et al., arXiv 2404.19733, equation 1): against margins that grow while both answers become less
likely. The log-probabilities under q do not change, so they are computed once, before the first step.
"""

from collections.abc import Sequence
from typing import Any

from finetune.methods import pairs
from finetune.methods.base import BatchLoss, Method, MetricSum
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig

REFERENCE = "reference"  # the term: log-probability of the answer under q, summed


def loss(xp: Any, logprobs: Any, examples: Sequence[Example], config: TrainingConfig) -> BatchLoss:
    """Summed over the pairs; the weight is their number."""
    chosen, rejected = pairs.sums(xp, logprobs, examples)
    tokens_chosen, tokens_rejected = pairs.lengths(xp, examples)
    reference = [example.terms[REFERENCE] for example in examples]
    moved_chosen = chosen - xp.asarray(reference[::2])
    moved_rejected = rejected - xp.asarray(reference[1::2])
    if config.dpo_length_normalised or config.dpo_loss == "ipo":
        moved_chosen, moved_rejected = moved_chosen / tokens_chosen, moved_rejected / tokens_rejected
    margin, beta = moved_chosen - moved_rejected, config.dpo_beta
    if config.dpo_loss == "sigmoid":
        losses = -pairs.log_sigmoid(xp, beta * margin)
    elif config.dpo_loss == "hinge":
        losses = xp.maximum(1 - beta * margin, xp.zeros_like(margin))
    else:
        losses = (margin - 1 / (2 * beta)) ** 2
    losses = losses - config.dpo_sft_weight * chosen / tokens_chosen
    count = len(examples) / 2
    metrics = {
        "margin": MetricSum((beta * margin).sum(), count),
        "preferred": MetricSum((margin > 0).sum(), count),
        "chosen_moved": MetricSum(moved_chosen.sum(), count),
    }
    return BatchLoss(losses.sum(), count, metrics)


DPO = Method(
    name="dpo",
    loss=loss,
    encode=pairs.encode,
    columns=(pairs.REJECTED,),
    pairs=True,
    reference=True,
)
