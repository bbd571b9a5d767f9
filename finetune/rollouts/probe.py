"""A probe of the reward before training: sampled groups of completions show whether their rewards differ.

The model learns from differences of reward within a group. If there are none, training changes nothing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import TrainingRow
from finetune.rollouts.groups import Group, SampleFunction, sample_groups
from finetune.rollouts.rewards import Judge
from finetune.settings.config import TrainingConfig
from finetune.terminal import counted

_WEAK = 0.1  # share of the prompts; below, most of a run is spent on groups without a training signal
_SHOWN = 3  # completions of the group that is shown


def probe_rewards(
    sample: SampleFunction,
    encoder: ChatEncoder,
    rows: Sequence[TrainingRow],
    judge: Judge,
    config: TrainingConfig,
) -> "RewardProbe":
    """Sample groups of completions for ``--grpo-probe`` rows, chosen by the random seed."""
    count, seed = min(config.grpo_probe, len(rows)), f"{config.seed} probe"
    chosen = [rows[index] for index in sorted(random.Random(seed).sample(range(len(rows)), count))]
    found = sample_groups(sample, encoder, judge, chosen, config.grpo_group_size, seed)
    assert found is not None
    return RewardProbe(found.groups, config.grpo_group_size, found.rollout_seconds + found.reward_seconds)


@dataclass(frozen=True)
class RewardProbe:
    """Some groups of completions with their rewards, and the seconds that they took."""

    groups: Sequence[Group]
    size: int  # completions in a group
    seconds: float

    @property
    def judged(self) -> list[list[float]]:
        """The rewards of each group whose row can be judged."""
        return [group.totals for group in self.groups if group.totals is not None]

    @property
    def signal(self) -> float:
        """Share of the prompts whose completions differ in reward."""
        return sum(group.has_signal for group in self.groups) / len(self.groups)

    @property
    def mean(self) -> float:
        """Mean reward of a completion."""
        return fmean(value for totals in self.judged for value in totals)

    @property
    def best(self) -> float:
        """Mean reward of the best completion of a group."""
        return fmean(max(totals) for totals in self.judged)

    @property
    def clipped_ratio(self) -> float:
        """Share of the completions that were cut off at the token limit."""
        return fmean(not sample.stopped for group in self.groups for sample in group.samples)

    @property
    def completion_length(self) -> float:
        """Mean tokens of a completion."""
        return fmean(len(sample.tokens) for group in self.groups for sample in group.samples)

    @property
    def seconds_per_completion(self) -> float:
        """To sample and to judge one, beside others."""
        return self.seconds / (self.size * len(self.groups))

    def lines(self) -> list[str]:
        """What was found, for the terminal."""
        if not self.judged:
            return ["no row can be judged"]
        lines = [
            f"{self.size} completions of each of {counted(len(self.groups), 'prompt')}: rewards differ for"
            f" {self.signal:.0%} of the prompts; mean reward {self.mean:.3f}, best of {self.size} {self.best:.3f};"
            f" {self.clipped_ratio:.0%} of the completions are cut off at the token limit"
        ]
        if unjudged := len(self.groups) - len(self.judged):
            lines.append(
                f"{unjudged} of {counted(len(self.groups), 'prompt')} cannot be judged: nothing is learned from rows like these"
            )
        if not self.signal:
            lines.append("no training signal: in every group all rewards are equal")
        elif self.signal < _WEAK:
            lines.append("weak training signal: in most groups all rewards are equal")
        return lines

    def check(self, config: TrainingConfig) -> None:
        """UserError if there is no training signal, with the likely cause and what to do."""
        if not self.judged:
            remedy = "--grpo-task-weight 0 drops the task's own reward" if config.grpo_reward else "--grpo-reward FILE"
            raise UserError(f"--method grpo: none of the rows tried can be judged (use other rows, or {remedy})")
        if self.signal:
            return
        values = {value for totals in self.judged for value in totals}
        if len(values) == 1 and values != {0.0}:
            prompts = counted(len(self.groups), "prompt")
            found = f"all {self.size} completions of each of {prompts} got the same reward, {self.mean:.3f}"
            remedy = "the reward is constant; use one that distinguishes answers"
        else:
            found = (
                f"in each of {counted(len(self.groups), 'group')} of {self.size} completions all rewards are equal,"
                f" {self.mean:.3f} on average"
            )
            if self.clipped_ratio > 0.9:
                remedy = (
                    f"the completions do not end within {config.grpo_max_tokens} tokens; raise --grpo-max-tokens,"
                    " or train with --method sft first"
                )
            elif self.mean <= 0.05:
                remedy = "no completion is good enough yet; train with --method sft first (--from-adapter), or use easier rows"
            else:
                remedy = (
                    "the completions are too alike; raise --grpo-temperature or --grpo-group-size, or use harder rows"
                )
        raise UserError(f"--method grpo: no training signal: {found} ({remedy})")

    def examples(self) -> list[str]:
        """One line for each of the best and the worst completions of the group whose rewards differ most."""
        groups = [(totals, group) for group in self.groups if (totals := group.totals)]
        if not groups:
            return []
        totals, group = max(groups, key=lambda found: max(found[0]) - min(found[0]))
        order = sorted(range(len(totals)), key=lambda at: -totals[at])
        lines = []
        for at in dict.fromkeys([*order[: _SHOWN - 1], order[-1]]):
            reason = f"  ({group.rewards[at].reason})" if group.rewards[at].reason else ""
            lines.append(f"{totals[at]:6.2f}  {' '.join(group.texts[at].split())[:100]}{reason}")
        return lines
