"""Group relative policy optimisation (Shao et al., arXiv 2402.03300): the model samples several completions for each prompt,
and those with a reward above the mean of their group become more likely.

With r = p(token) / p_old(token), the advantage A of the completion and k the clip range, the loss of a token is
-min(r A, clip(r, 1 - k, 1 + k_high) A) + kl (q / p - log(q / p) - 1), q the model as it started (equations 3 and 4).
``--grpo-clip-high`` is DAPO's (Yu et al., arXiv 2503.14476, section 3.1). ``--grpo-loss`` normalises the loss: per token over
the step (dapo, section 3.3 there), per completion (grpo), or, against a bias towards long wrong answers, by a fixed length
(dr_grpo, Liu et al., arXiv 2503.20783, section 3.2).

Where this differs from the first paper: advantages are not divided by the standard deviation of their group, unless
--grpo-scale-rewards is given (as Dr. GRPO, section 3.1): divided, a group whose answers are wrong in slightly different ways
counts as much as one of right and wrong answers. Completions of a group whose rewards are all equal have advantage 0 and would
only dilute the mean; without --grpo-kl they are dropped, as in DAPO's dynamic sampling (section 3.2 there), but no others are
sampled in their place.
"""

from collections.abc import Iterator, Sequence
from statistics import fmean, stdev
from typing import Any

from finetune.methods.base import BatchLoss, Method, MetricSum
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import Encoded
from finetune.models.loss_mask import Example
from finetune.records.files import Row
from finetune.settings.config import TrainingConfig

ADVANTAGE, OLD, REFERENCE = "advantage", "old", "reference"  # the terms; the last two lists of one a learned token
_LEAST_DEVIATION = 1e-4


def encode(encoder: ChatEncoder, rows: Sequence[Row]) -> Iterator[Encoded]:
    """One example for each row: its prompt, with nothing in the loss."""
    for row in rows:
        try:
            tokens = encoder.prompt(Conversation.of(row).prompt)
        except ValueError as error:
            yield error
        else:
            yield [Example(tokens, [False] * len(tokens))]


def advantages(rewards: Sequence[float], *, scale: bool) -> list[float]:
    """For each completion of a group its reward minus the mean; ``scale`` divides by the standard deviation."""
    mean = fmean(rewards)
    deviation = stdev(rewards)
    if deviation < _LEAST_DEVIATION:
        return [0.0] * len(rewards)
    return [(reward - mean) / (deviation + _LEAST_DEVIATION if scale else 1.0) for reward in rewards]


def loss(xp: Any, logprobs: Any, examples: Sequence[Example], config: TrainingConfig) -> BatchLoss:
    """Summed over the tokens; the weight is their number, or that of the completions. Without OLD the completions are the
    model's own of this moment, and r is 1 with p's gradient."""
    spread = [example.learned for example in examples]

    def each(values: Sequence[float]) -> Any:
        return xp.asarray([value for value, count in zip(values, spread, strict=True) for _ in range(count)])

    def listed(term: str) -> Any:
        return xp.asarray([value for example in examples for value in example.terms[term]])

    advantage = each([example.terms[ADVANTAGE] for example in examples])
    old = listed(OLD) if OLD in examples[0].terms else _constant(xp, logprobs)
    ratio = xp.exp(logprobs - old)
    high = config.grpo_clip if config.grpo_clip_high is None else config.grpo_clip_high
    clipped = xp.clip(ratio, 1 - config.grpo_clip, 1 + high)
    losses = -xp.minimum(ratio * advantage, clipped * advantage)
    tokens = float(sum(spread))
    metrics = {"clip_fraction": MetricSum((clipped * advantage < ratio * advantage).sum(), tokens)}
    if REFERENCE in examples[0].terms:
        ahead = listed(REFERENCE) - logprobs
        divergence = xp.exp(ahead) - ahead - 1
        losses = losses + config.grpo_kl * divergence
        metrics["kl"] = MetricSum(divergence.sum(), tokens)
    if config.grpo_loss == "dapo":
        return BatchLoss(losses.sum(), tokens, metrics)
    weights = [1.0 / (count if config.grpo_loss == "grpo" else config.grpo_max_tokens) for count in spread]
    return BatchLoss((losses * each(weights)).sum(), float(len(examples)), metrics)


def _constant(xp: Any, array: Any) -> Any:
    return xp.stop_gradient(array) if hasattr(xp, "stop_gradient") else array.detach()


GRPO = Method(
    name="grpo",
    loss=loss,
    encode=encode,
    rollouts=True,
)
