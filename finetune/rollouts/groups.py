"""What a model learns from its own answers: groups of them are drawn, rewarded, and become the steps of a run."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from finetune.methods import Method, plan
from finetune.methods.base import Policy, Sample, StepBatches
from finetune.methods.grpo import ADVANTAGE, OLD, REFERENCE, advantages
from finetune.models.encoder import ChatEncoder, Example
from finetune.records.files import Row
from finetune.records.run import renamed_metrics
from finetune.rollouts.rewards import Judge, Reward
from finetune.settings.config import TrainingConfig

_UPDATE_TOKENS = 3072  # of answers with their prompts whose gradients are computed at once
_KL_EVERY = 5  # rollouts, where the divergence is only watched


@dataclass(frozen=True)
class Group:
    """The answers to one prompt."""

    row: int  # index of the training row
    answers: list[Sample]
    texts: list[str]
    rewards: list[Reward]

    @property
    def totals(self) -> list[float] | None:
        """None where the row says nothing about any answer."""
        totals = [reward.total for reward in self.rewards if reward.total is not None]
        return totals if len(totals) == len(self.rewards) else None

    @property
    def has_signal(self) -> bool:
        return self.totals is not None and any(advantages(self.totals, scale=False))


Sampler = Callable[[Sequence[Sequence[int]], str, Callable[[], bool]], list[Sample] | None]


def draw(
    sample: Sampler,
    encoder: ChatEncoder,
    judge: Judge,
    prompts: Sequence[tuple[int, Example, Row]],
    size: int,
    seed: str,
    stop: Callable[[], bool],
) -> tuple[list[Group], dict[str, float]] | None:
    """A group of ``size`` answers to each prompt, given with its index and row, and where the seconds went; None where
    ``stop`` came."""
    started = time.perf_counter()
    answers = sample([example.tokens for _, example, _ in prompts for _ in range(size)], seed, stop)
    if answers is None:
        return None
    drawn = time.perf_counter()
    groups = []
    for at, (index, _, row) in enumerate(prompts):
        if stop():
            return None
        own = answers[at * size : (at + 1) * size]
        texts = [encoder.decode(answer.tokens) for answer in own]
        ends = [answer.stopped for answer in own]
        judged = {pair: judge(row, *pair) for pair in dict.fromkeys(zip(texts, ends, strict=True))}
        groups.append(Group(index, own, texts, [judged[pair] for pair in zip(texts, ends, strict=True)]))
    return groups, {"rollout_seconds": drawn - started, "reward_seconds": time.perf_counter() - drawn}


def metrics(groups: Sequence[Group]) -> dict[str, float]:
    """What is watched: means over all answers that can be judged, and over their tokens."""
    judged = [group for group in groups if group.totals is not None]
    answers = [answer for group in groups for answer in group.answers]
    tokens = sum(len(answer.tokens) for answer in answers)
    found = {
        "frac_reward_zero_std": sum(not group.has_signal for group in groups) / len(groups),
        "completion_length": tokens / len(answers),
        "clipped_ratio": sum(not answer.stopped for answer in answers) / len(answers),
        # of what is sampled, the mean of -log p is an estimate of the entropy without bias
        "entropy": -sum(map(sum, (answer.logprobs for answer in answers))) / tokens,
        "sampled_tokens": float(tokens),
    }
    if judged:
        found["reward"] = fmean(total for group in judged for total in group.totals or [])
        found["best_of_group"] = fmean(max(group.totals or []) for group in judged)
        for part in judged[0].rewards[0].parts:
            found[f"reward_{part}"] = fmean(reward.parts[part] for group in judged for reward in group.rewards)
    return found


class RolloutSource:
    """Steps over answers that the model under training gives itself. A rollout serves ``--grpo-updates`` steps."""

    def __init__(
        self,
        method: Method,
        prompts: Sequence[Example],
        rows: Sequence[Row],
        judge: Judge,
        encoder: ChatEncoder,
        config: TrainingConfig,
    ):
        self._method, self.rows, self._rows, self._config = method, prompts, rows, config
        self._judge, self._encoder = judge, encoder
        self._number = -1  # of the rollout in hand
        self._taken: list[int] = []
        self._seen: dict[str, float] = {}  # its metrics
        self._examples: list[Example] = []  # with signal, group by group

    def next_step(self, step: int, policy: Policy, stop: Callable[[], bool]) -> StepBatches | None:
        number, update = divmod(step, self._config.grpo_updates)
        if number != self._number:
            found = self._roll(number, policy, stop)
            if found is None:
                return None
            self._number, self._seen = number, found
        batches = list(packed(self._examples, self._config.grpo_group_size))
        return StepBatches(self._taken, batches, {} if update else self._seen)

    def _roll(self, number: int, policy: Policy, stop: Callable[[], bool]) -> dict[str, float] | None:
        config = self._config
        rows = config.batch_size, config.grad_accumulation, config.seed
        taken = [index for batch in next(plan(self._method, self.rows, *rows, first=number)) for index in batch]
        prompts = [(index, self.rows[index], self._rows[index]) for index in taken]
        seed = f"{config.seed} rollout {number}"
        drawn = draw(policy.sample, self._encoder, self._judge, prompts, config.grpo_group_size, seed, stop)
        if drawn is None:
            return None
        groups, seconds = drawn
        examples = [example for group in groups for example in self._learnable(group)]
        seen = metrics(groups) | seconds
        if config.grpo_kl or number % _KL_EVERY == 0:
            everything = examples if config.grpo_kl else [example for group in groups for example in self._all(group)]
            references = policy.logprobs(everything, at_start=True)
            ahead = [
                reference - own
                for example, theirs in zip(everything, references, strict=True)
                for reference, own in zip(theirs, example.terms[OLD], strict=True)
            ]
            if ahead:
                seen["kl"] = fmean(math.exp(min(value, 80.0)) - value - 1 for value in ahead)
            if config.grpo_kl:
                for example, reference in zip(examples, references, strict=True):
                    example.terms[REFERENCE] = reference
        if config.grpo_updates == 1:  # the model that learns is the one that answered: its own log-probabilities serve
            for example in examples:
                del example.terms[OLD]
        self._taken, self._examples = taken, examples
        return seen

    def _learnable(self, group: Group) -> list[Example]:
        """The answers of a group that have something to teach."""
        if group.totals is None or not (group.has_signal or self._config.grpo_kl):
            return []
        gains = advantages(group.totals, self._config.grpo_scale_rewards)
        for example, gain in zip(made := self._all(group), gains, strict=True):
            example.terms[ADVANTAGE] = gain
        return made

    def _all(self, group: Group) -> list[Example]:
        prompt = self.rows[group.row].tokens
        return [
            Example(
                prompt + answer.tokens,
                [False] * len(prompt) + [True] * len(answer.tokens),
                {OLD: answer.logprobs},
            )
            for answer in group.answers
        ]

    def state(self) -> dict[str, object]:
        examples = [asdict(one) for one in self._examples]
        return {"number": self._number, "taken": self._taken, "seen": self._seen, "examples": examples}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._number, self._taken = state["number"], state["taken"]
        self._seen = renamed_metrics(state["seen"])
        self._examples = [Example(**one) for one in state["examples"]]


def packed(examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """Groups of ``size`` in batches of few enough tokens: sums over all are the same, however they are divided."""
    groups = [examples[at : at + size] for at in range(0, len(examples), size)]
    groups.sort(key=lambda group: max(len(example.tokens) for example in group))
    batch: list[Example] = []
    tokens = 0
    for group in groups:
        own = sum(len(example.tokens) for example in group)
        if batch and tokens + own > _UPDATE_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch += group
        tokens += own
    if batch:
        yield batch
