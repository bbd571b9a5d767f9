"""The steps of GRPO: completions that the model under training samples itself, rewarded, and packed into batches."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

from finetune.methods import Method, RowSource
from finetune.methods.batches import Policy, StepBatches
from finetune.methods.grpo import ADVANTAGE, OLD, REFERENCE, advantages
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import TrainingRow, as_rows, examples_of
from finetune.models.loss_mask import Example
from finetune.records.run import renamed_metrics
from finetune.rollouts.groups import Group, rollout_metrics, sample_groups
from finetune.rollouts.rewards import Judge
from finetune.settings.config import TrainingConfig
from finetune.signals import Stop

_UPDATE_TOKENS = 3072  # of completions with their prompts whose gradients are computed at once
_KL_EVERY = 5  # rollouts, if the KL divergence is only watched
_LARGEST_LOG_RATIO = 80.0  # its exponential still is a number


class RolloutSource(RowSource):
    """Steps over completions that the model under training samples. One rollout is used for ``--grpo-updates`` steps.

    ``rows``: each has its prompt as its only example. In the batches a row has its completions instead.
    """

    def __init__(
        self, method: Method, rows: Sequence[TrainingRow], judge: Judge, encoder: ChatEncoder, config: TrainingConfig
    ):
        super().__init__(method, rows, config)
        self._config, self._judge, self._encoder = config, judge, encoder
        self._number = -1  # of the current rollout
        self._taken: list[int] = []
        self._metrics: dict[str, float] = {}
        self._completed: list[TrainingRow] = []  # those that can be learned from

    def next_step(self, step: int, policy: Policy, stop: Stop) -> StepBatches | None:
        """The batches of step ``step``, counted from 0; None if ``stop`` interrupted its rollout."""
        number, update = divmod(step, self._config.grpo_updates)
        if number != self._number and not self._roll(number, policy, stop):
            return None
        return StepBatches(self._taken, list(packed(self._completed)), {} if update else self._metrics)

    def _roll(self, number: int, policy: Policy, stop: Stop) -> bool:
        """Make rollout ``number`` the current one; False if ``stop`` interrupted it."""
        config = self._config
        taken = [index for batch in next(self.steps(number)) for index in batch]
        rows, seed = [self.rows[index] for index in taken], f"{config.seed} rollout {number}"
        found = sample_groups(policy.sample, self._encoder, self._judge, rows, config.grpo_group_size, seed, stop)
        if found is None:
            return False
        completed = [row for group in found.groups if (row := self._learnable(group))]
        metrics = rollout_metrics(found.groups)
        metrics |= {"rollout_seconds": found.rollout_seconds, "reward_seconds": found.reward_seconds}
        if config.grpo_kl or number % _KL_EVERY == 0:
            examples = examples_of(completed if config.grpo_kl else map(_completions, found.groups))
            references = policy.logprobs(examples, at_start=True, stop=stop)
            if examples and not references:
                return False
            if any(references):
                metrics["kl"] = _kl(examples, references)
            if config.grpo_kl:
                for example, reference in zip(examples, references, strict=True):
                    example.terms[REFERENCE] = reference
        if config.grpo_updates == 1:  # the model that learns is the one that sampled: its own log-probabilities serve
            for example in examples_of(completed):
                del example.terms[OLD]
        self._number, self._taken, self._completed, self._metrics = number, taken, completed, metrics
        return True

    def _learnable(self, group: Group) -> TrainingRow | None:
        """The completions of a group with their advantages; None if there is nothing to learn from."""
        if group.totals is None or not (group.has_signal or self._config.grpo_kl):
            return None
        row = _completions(group)
        gains = advantages(group.totals, scale=self._config.grpo_scale_rewards)
        for example, gain in zip(row.examples, gains, strict=True):
            example.terms[ADVANTAGE] = gain
        return row

    def state(self) -> dict[str, object]:
        """The current rollout."""
        examples = [asdict(one) for one in examples_of(self._completed)]
        return {"number": self._number, "taken": self._taken, "metrics": self._metrics, "examples": examples}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from what ``state`` returned, or an older version's, which called the metrics ``seen``."""
        self._number, self._taken = state["number"], state["taken"]
        self._metrics = renamed_metrics(state.get("metrics", state.get("seen", {})))
        self._completed = as_rows((Example(**one) for one in state["examples"]), self._config.grpo_group_size)


def _completions(group: Group) -> TrainingRow:
    """The row of a group with its completions as examples."""
    prompt = group.row.examples[0].tokens
    examples = tuple(
        Example(
            prompt + sample.tokens,
            [False] * len(prompt) + [True] * len(sample.tokens),
            {OLD: sample.logprobs},
        )
        for sample in group.samples
    )
    return replace(group.row, examples=examples)


def _kl(examples: Sequence[Example], references: Sequence[Sequence[float]]) -> float:
    """The KL divergence from the model at the start, in nats a token, estimated on sampled tokens (k3: q/p - log q/p - 1)."""
    log_ratios = [
        reference - own
        for example, theirs in zip(examples, references, strict=True)
        for reference, own in zip(theirs, example.terms[OLD], strict=True)
    ]
    return fmean(math.exp(min(value, _LARGEST_LOG_RATIO)) - value - 1 for value in log_ratios)


def packed(rows: Sequence[TrainingRow]) -> Iterator[list[TrainingRow]]:
    """Batches of few enough tokens, the completions of a row together. The sums over all of them are the same, however they
    are packed."""
    batch: list[TrainingRow] = []
    tokens = 0
    for row in sorted(rows, key=lambda row: row.tokens):
        own = sum(len(example.tokens) for example in row.examples)
        if batch and tokens + own > _UPDATE_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += own
    if batch:
        yield batch
