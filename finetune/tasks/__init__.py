"""What a model can be taught: one file per task, which owns the task's rows, its prompt and its scoring."""

from finetune.tasks.alpaca import ALPACA
from finetune.tasks.base import Score, Scorer, Task
from finetune.tasks.chat import CHAT
from finetune.tasks.riscv import RISCV
from finetune.tasks.sql import SQL

TASKS: dict[str, Task] = {task.name: task for task in (SQL, ALPACA, RISCV, CHAT)}

__all__ = ["TASKS", "Score", "Scorer", "Task"]
