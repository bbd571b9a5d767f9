"""How a model learns: a method is an order of batches and a loss. The backend owns the loop."""

from finetune.methods.base import Method, plan, steps_per_epoch, total_steps
from finetune.methods.sft import SFT

METHODS: dict[str, Method] = {method.name: method for method in (SFT,)}

__all__ = ["METHODS", "Method", "plan", "steps_per_epoch", "total_steps"]
