"""Groups of completions that a model samples and a judge rewards: what GRPO learns from, and what pairs are made of."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from finetune.methods.base import Sample
from finetune.methods.grpo import advantages
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import TrainingRow
from finetune.models.thinking import written
from finetune.rollouts.rewards import Judge, Reward
from finetune.signals import Stop, never

SampleFunction = Callable[[Sequence[Sequence[int]], str, Stop], list[Sample] | None]  # as ``Policy.sample``


@dataclass(frozen=True)
class Group:
    """The completions of one prompt, with their texts and rewards, all in the order in which they were sampled."""

    row: TrainingRow
    samples: list[Sample]
    texts: list[str]
    rewards: list[Reward]
    thoughts: Sequence[str | None] = ()  # what the model thought before each; None where it wrote no thinking

    @property
    def totals(self) -> list[float] | None:
        """The rewards; None if the row cannot be judged."""
        totals = [reward.total for reward in self.rewards if reward.total is not None]
        return totals if len(totals) == len(self.rewards) else None

    def with_thinking(self, at: int) -> str:
        """A completion as a row holds it: its text, after its thinking if it has some."""
        thought = self.thoughts[at] if self.thoughts else None
        return written(thought.strip(), self.texts[at]) if thought and thought.strip() else self.texts[at]

    @property
    def has_signal(self) -> bool:
        """Whether the rewards differ."""
        return self.totals is not None and any(advantages(self.totals, scale=False))


@dataclass(frozen=True)
class SampledGroups:
    """Groups, and the seconds that sampling and judging took."""

    groups: list[Group]
    rollout_seconds: float
    reward_seconds: float


def sample_groups(
    sample: SampleFunction,
    encoder: ChatEncoder,
    judge: Judge,
    rows: Sequence[TrainingRow],
    size: int,
    seed: str,
    stop: Stop = never,
) -> SampledGroups | None:
    """A group of ``size`` completions for each row, whose only example is its prompt; None if ``stop`` interrupted it."""
    started = time.perf_counter()
    samples = sample([row.examples[0].tokens for row in rows for _ in range(size)], seed, stop)
    if samples is None:
        return None
    sampled = time.perf_counter()
    groups = []
    for at, row in enumerate(rows):
        own = samples[at * size : (at + 1) * size]
        read = [encoder.read(one.tokens, stopped=one.stopped) for one in own]
        texts = [one.text for one in read]
        answers = [(text, one.stopped) for text, one in zip(texts, own, strict=True)]
        judged: dict[tuple[str, bool], Reward] = {}
        for answer in dict.fromkeys(answers):
            judged[answer] = judge(row.fields, answer[0], stopped=answer[1])
            if stop():  # perhaps it has interrupted the judge
                return None
        thoughts = [one.thought for one in read]
        groups.append(Group(row, own, texts, [judged[answer] for answer in answers], thoughts))
    return SampledGroups(groups, sampled - started, time.perf_counter() - sampled)


def rollout_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Means over all completions, of those that can be judged, and over tokens; by TRL's names where it has one."""
    judged = [group for group in groups if group.totals is not None]
    samples = [sample for group in groups for sample in group.samples]
    tokens = sum(len(sample.tokens) for sample in samples)
    found = {
        "frac_reward_zero_std": sum(not group.has_signal for group in groups) / len(groups),
        "completion_length": tokens / len(samples),
        "clipped_ratio": sum(not sample.stopped for sample in samples) / len(samples),
        # of sampled tokens, the mean of -log p is an estimate of the entropy without bias
        "entropy": -sum(map(sum, (sample.logprobs for sample in samples))) / tokens,
        "sampled_tokens": float(tokens),
    }
    if judged:
        found["reward"] = fmean(total for group in judged for total in group.totals or [])
        found["best_of_group"] = fmean(max(group.totals or []) for group in judged)
        for part in judged[0].rewards[0].parts:
            found[f"reward_{part}"] = fmean(reward.parts[part] for group in judged for reward in group.rewards)
    return found
