"""A conversation on the terminal with the tuned model, or with base and tuned side by side."""

from finetune.evaluation.chat.loop import chat, demand_template

__all__ = ["chat", "demand_template"]
