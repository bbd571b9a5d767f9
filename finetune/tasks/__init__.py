"""What a model can be taught: one file per task, which owns the task's rows, its prompt and its scoring."""

from finetune.rows import RowKind
from finetune.tasks.alpaca import ALPACA
from finetune.tasks.base import Score, Scorer, Task
from finetune.tasks.chat import CHAT
from finetune.tasks.preference import PREFERENCE
from finetune.tasks.riscv import RISCV
from finetune.tasks.sql import SQL

TASKS: dict[str, Task] = {task.name: task for task in (SQL, ALPACA, RISCV, CHAT)}
ROW_KINDS: dict[str, RowKind] = {**TASKS, PREFERENCE.name: PREFERENCE}  # --type of dataset.py

__all__ = ["ROW_KINDS", "TASKS", "Score", "Scorer", "Task"]
