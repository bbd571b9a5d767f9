"""--method: sft, dpo, orpo, grpo.

A method says what becomes of a row, which batches a step has, and the loss. The backend owns the loop.
"""

from finetune.methods.base import Method
from finetune.methods.batches import RowSource, epoch_steps, steps_per_epoch, total_steps
from finetune.methods.dpo import DPO
from finetune.methods.grpo import GRPO
from finetune.methods.orpo import ORPO
from finetune.methods.sft import SFT

METHODS: dict[str, Method] = {method.name: method for method in (SFT, DPO, ORPO, GRPO)}

__all__ = ["METHODS", "Method", "RowSource", "epoch_steps", "steps_per_epoch", "total_steps"]
