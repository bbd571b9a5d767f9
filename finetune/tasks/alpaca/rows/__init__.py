"""The builtin alpaca rows: short everyday tasks, each with the check that decides whether an answer is right.

    from finetune.tasks.alpaca.rows import generate
    for row in generate("train", seed=0): ...

Frozen: the same seed gives the same bytes in every version, so that runs of different versions can be compared. Add no kinds
and change no wording; rows for another purpose belong in a file of the user's. A *draft* is one task before it is worded:
what it is about, its answer, and the check. A *kind* makes drafts and holds the wordings in which they are asked.
"""

from finetune.tasks.alpaca.rows.checks import CHECKS, decide, normal
from finetune.tasks.alpaca.rows.stream import KINDS, generate

__all__ = ["CHECKS", "KINDS", "decide", "generate", "normal"]
