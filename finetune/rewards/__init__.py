"""What an answer is worth while a model learns from its own: the task's own score, a function of the user's, the form."""

from finetune.rewards.base import Judge, Reward, open_judge

__all__ = ["Judge", "Reward", "open_judge"]
