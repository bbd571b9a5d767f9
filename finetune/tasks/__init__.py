"""--type: sql, alpaca, riscv, chat, classify, text, preference; fields, prompt, score, builtin rows.

One file or folder per task.
"""

from finetune.tasks.alpaca.task import ALPACA
from finetune.tasks.base import RowKind, Score, Scorer, Task
from finetune.tasks.chat import CHAT
from finetune.tasks.classify.task import CLASSIFY
from finetune.tasks.extract.task import EXTRACT
from finetune.tasks.preference import PREFERENCE
from finetune.tasks.riscv.task import RISCV
from finetune.tasks.sql.task import SQL
from finetune.tasks.text import TEXT

TASKS: dict[str, Task] = {task.name: task for task in (SQL, ALPACA, RISCV, CHAT, CLASSIFY, EXTRACT, TEXT)}
ROW_KINDS: dict[str, RowKind] = {**TASKS, PREFERENCE.name: PREFERENCE}  # --type of dataset.py

__all__ = ["ROW_KINDS", "TASKS", "Score", "Scorer", "Task"]
