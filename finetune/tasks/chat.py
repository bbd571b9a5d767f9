"""The user's own conversations, in any of the shapes of ``rows.formats``."""

from contextlib import nullcontext

from finetune.artifacts import Row
from finetune.rows import formats
from finetune.tasks.base import Score, Task


def score(row: Row, answer: str) -> Score:
    """1 where the answer is the reference, but for case and white space."""
    reference = row["messages"][-1]["content"]
    same = answer.casefold().split() == reference.casefold().split()
    return Score(1.0, "ok") if same else Score(0.0, "different", f"expected: {reference}")


CHAT = Task(
    name="chat",
    about="your own conversations: messages, conversations, prompt and completion, instruction and output, or text",
    hub_dataset=None,
    licence=None,
    required=(),
    optional=(),
    aliases={},
    to_messages=formats.to_messages,
    open_scorer=lambda: nullcontext(score),
    builtin=None,
    split_rule=None,
    metric="exact match",
    question=lambda row: row["messages"][-2]["content"],
)
