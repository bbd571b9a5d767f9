"""Short everyday tasks made here, each with the check that decides whether an answer is right.

    from finetune.tasks.alpaca_rows import generate
    for row in generate("train", seed=0): ...

A *draft* is one task before it is worded: what it is about, its answer, and the check. A *kind* makes drafts, and says in
which wordings they are asked. To add a kind, write a function ``(Random) -> Draft`` beside its like and add its ``Kind`` to
the table at the end of that file; a new sort of check is one function in ``checks.py``.
"""

from finetune.tasks.alpaca.rows.checks import CHECKS, decide, normal
from finetune.tasks.alpaca.rows.stream import KINDS, generate

__all__ = ["CHECKS", "KINDS", "decide", "generate", "normal"]
