"""Can a reward teach anything? A model learns from the differences within a group of its answers; where there are none, hours
of training change nothing. So a few groups are drawn first."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder, Example
from finetune.records.files import Row
from finetune.rollouts.groups import Group, Sampler, draw
from finetune.rollouts.rewards import Judge
from finetune.settings.config import TrainingConfig

_LITTLE = 0.1  # of the prompts; below, most of a run is spent on groups that teach nothing
_SHOWN = 3  # answers of the group that is shown


def probe(
    sample: Sampler,
    encoder: ChatEncoder,
    prompts: Sequence[tuple[int, Example, Row]],
    judge: Judge,
    config: TrainingConfig,
    stop: Callable[[], bool],
) -> "Learnable | None":
    """Groups to ``--grpo-probe`` training prompts, drawn by the seed; None where ``stop`` came."""
    count = min(config.grpo_probe, len(prompts))
    chosen = sorted(random.Random(f"{config.seed} probe").sample(range(len(prompts)), count))
    drawn = draw(
        sample,
        encoder,
        judge,
        [prompts[index] for index in chosen],
        config.grpo_group_size,
        f"{config.seed} probe",
        stop,
    )
    return None if drawn is None else Learnable(drawn[0], config.grpo_group_size, sum(drawn[1].values()))


@dataclass(frozen=True)
class Learnable:
    groups: Sequence[Group]
    size: int
    seconds: float

    @property
    def judged(self) -> list[list[float]]:
        return [group.totals for group in self.groups if group.totals is not None]

    @property
    def signal(self) -> float:
        """Share of the prompts whose answers differ in reward."""
        return sum(group.has_signal for group in self.groups) / len(self.groups)

    @property
    def mean(self) -> float:
        return fmean(value for totals in self.judged for value in totals)

    @property
    def best(self) -> float:
        return fmean(max(totals) for totals in self.judged)

    @property
    def cut(self) -> float:
        return fmean(not answer.stopped for group in self.groups for answer in group.answers)

    @property
    def tokens_an_answer(self) -> float:
        return fmean(len(answer.tokens) for group in self.groups for answer in group.answers)

    @property
    def seconds_an_answer(self) -> float:
        """To draw and to judge it, beside the others."""
        return self.seconds / (self.size * len(self.groups))

    def lines(self) -> list[str]:
        """What was found, for people."""
        if not self.judged:
            return ["no row can be judged"]
        lines = [
            f"rewards differ among the {self.size} answers to {self.signal:.0%} of {len(self.groups)} prompts;"
            f" mean {self.mean:.3f}, best of {self.size} {self.best:.3f}; {self.cut:.0%} of the answers are cut off"
        ]
        if not self.signal:
            lines.append("nothing can be learned: no group teaches anything")
        elif self.signal < _LITTLE:
            lines.append("little can be learned: most groups teach nothing")
        return lines

    def check(self, config: TrainingConfig) -> None:
        """UserError where nothing can be learned, with what to do about it."""
        if not self.judged:
            remedy = "--grpo-task-weight 0 leaves out the task's own" if config.grpo_reward else "--grpo-reward FILE"
            raise UserError(f"--method grpo: none of the rows tried can be judged (other rows, or {remedy})")
        if self.signal:
            return
        values = {value for totals in self.judged for value in totals}
        if len(values) == 1 and values != {0.0}:
            remedy = (
                "every answer to every prompt gets the same: such a reward teaches nothing, whatever the model does"
            )
        elif self.cut > 0.9:
            remedy = f"the answers do not end within {config.grpo_max_tokens} tokens: --grpo-max-tokens, or sft first"
        elif self.mean <= 0.05:
            remedy = "no answer is worth anything yet: more sft first (--from-adapter), or easier rows"
        else:
            remedy = (
                "the answers are all alike: a higher --grpo-temperature, a larger --grpo-group-size, or harder rows"
            )
        raise UserError(
            f"--method grpo: nothing can be learned: the {self.size} answers to each of {len(self.groups)} prompts get the"
            f" same reward, {self.mean:.3f} on average ({remedy})"
        )

    def examples(self) -> list[str]:
        """Of the group whose rewards differ most, the best answers and the worst, a line each."""
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
