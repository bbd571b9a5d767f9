"""The parts of a reward, weighted and added."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from finetune.errors import UserError
from finetune.records.files import Row
from finetune.rollouts.reward_function import RewardFunction
from finetune.settings.config import TrainingConfig
from finetune.tasks import Score, Scorer, Task


@dataclass(frozen=True)
class Reward:
    """``total`` is None where the row can say nothing about any answer. ``parts`` are not weighted yet."""

    total: float | None
    parts: dict[str, float]
    reason: str = ""  # of the task's part


Judge = Callable[[Row, str, bool], Reward]  # of a row, the text of an answer, and whether that ended by itself


@contextmanager
def open_judge(task: Task, config: TrainingConfig) -> Iterator[Judge]:
    """What gives rewards as ``config`` says; it owns the processes in which SQL and the user's function run.

    UserError where nothing would be rewarded, or where the user's file has no function that can be called.
    """
    if not (config.grpo_task_weight or config.grpo_format_weight or (config.grpo_reward and config.grpo_reward_weight)):
        raise UserError("nothing is rewarded: the weights of all rewards are 0 (--grpo-task-weight, --grpo-reward)")
    with ExitStack() as stack:
        score: Scorer | None = None
        if config.grpo_task_weight or config.grpo_format_weight:
            score = stack.enter_context(task.open_scorer())
        function: RewardFunction | None = None
        if config.grpo_reward:
            function = stack.enter_context(RewardFunction(config.grpo_reward, config.grpo_reward_seconds))

        def judge(row: Row, answer: str, stopped: bool) -> Reward:
            parts: dict[str, float | None] = {}
            reason = ""
            if score:
                scored = score(row, answer)
                reason = scored.reason
                if config.grpo_task_weight:
                    parts["task"] = graded(task, scored)
                if config.grpo_format_weight:
                    parts["format"] = float(stopped and scored.kind not in task.malformed)
            if function:
                parts["function"] = function(row, answer)
            weights = {
                "task": config.grpo_task_weight,
                "format": config.grpo_format_weight,
                "function": config.grpo_reward_weight,
            }
            known = {name: value for name, value in parts.items() if value is not None}
            total = sum(weights[name] * value for name, value in known.items())
            return Reward(total if len(known) == len(parts) else None, known, reason)

        yield judge


def graded(task: Task, score: Score) -> float | None:
    """A task's score as a reward: what is wrong is worth something where it came some of the way."""
    if score.value is None or score.value == 1:
        return score.value
    return task.partial.get(score.kind, score.value)
