"""The parts of a reward, weighted and added."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from finetune.errors import UserError
from finetune.records.files import Row
from finetune.settings.config import TrainingConfig
from finetune.signals import Stop, never
from finetune.tasks import Score, Scorer, Task
from finetune.tasks.user_function import RewardFunction


@dataclass(frozen=True)
class Reward:
    """The reward of an answer; ``total`` is None if the row cannot be judged. ``parts`` are not weighted."""

    total: float | None
    parts: dict[str, float]
    reason: str = ""  # of the task's part


class Judge(Protocol):
    """Rewards an answer to a row."""

    def __call__(self, row: Row, answer: str, *, stopped: bool) -> Reward:
        """``stopped``: the answer finished with an end-of-sequence token; False if it was cut off."""


@dataclass(frozen=True)
class RewardWeights:
    """How much each part of a reward counts: the task's score, 1 for a well-formed answer, the user's function."""

    task: float = 1.0
    format: float = 0.0
    function: float = 0.0


def open_judge(task: Task, config: TrainingConfig, stop: Stop = never) -> AbstractContextManager[Judge]:
    """The judge that the settings of a run describe. UserError if nothing would be rewarded.

    ``stop`` interrupts the processes that it waits for: a reward says nothing then.
    """
    weights = RewardWeights(config.grpo_task_weight, config.grpo_format_weight, config.grpo_reward_weight)
    if not (weights.task or weights.format or (config.grpo_reward and weights.function)):
        raise UserError("nothing is rewarded: the weights of all rewards are 0 (--grpo-task-weight, --grpo-reward)")
    return weighted_judge(task, weights, config.grpo_reward, config.grpo_reward_seconds, stop)


@contextmanager
def weighted_judge(
    task: Task, weights: RewardWeights, file: Path | None = None, seconds: float = 5.0, stop: Stop = never
) -> Iterator[Judge]:
    """Gives rewards; owns the processes in which SQL and the function of ``file`` run, ``seconds`` for each call of it.

    UserError if the file has no function that can be called.
    """
    with ExitStack() as stack:
        score: Scorer | None = None
        if weights.task or weights.format:
            score = stack.enter_context(task.open_scorer(stop))
        function = stack.enter_context(RewardFunction(file, seconds, stop)) if file else None

        def judge(row: Row, answer: str, *, stopped: bool) -> Reward:
            parts: dict[str, float | None] = {}
            reason = ""
            if score:
                scored = score(row, answer)
                reason = scored.reason
                if weights.task:
                    parts["task"] = graded(task, scored)
                if weights.format:
                    parts["format"] = float(stopped and scored.kind not in task.malformed)
            if function:
                parts["function"] = function(row, answer)
            known = {name: value for name, value in parts.items() if value is not None}
            total = sum(getattr(weights, name) * value for name, value in known.items())
            return Reward(total if len(known) == len(parts) else None, known, reason)

        yield judge


def graded(task: Task, score: Score) -> float | None:
    """A task's score as a reward; some kinds of wrong answers have a partial reward."""
    if score.value is None or score.value == 1:
        return score.value
    return task.partial.get(score.kind, score.value)
