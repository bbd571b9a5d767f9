"""``--type text``: documents, to continue the pre-training of a model on them. They have no questions and no answers."""

from contextlib import nullcontext

from finetune.models.conversation import Message, PlainText
from finetune.records.files import Row
from finetune.tasks.base import Score, Task


def _no_messages(row: Row) -> list[Message]:
    raise ValueError("plain text has no messages")


def score(row: Row, answer: str) -> Score:
    """None: a continuation is neither right nor wrong. Models are compared by the loss of the text itself."""
    return Score(None, "continuation")


def question(row: Row) -> str:
    """The document, the number of the piece, and how it begins."""
    place = f"{row['document']} {row['piece']}/{row['pieces']}: " if "document" in row else ""
    return place + " ".join(PlainText.of_piece(row).question.split())


TEXT = Task(
    name="text",
    about="documents, learned as they stand (continued pre-training): .txt and .md files, or a field of rows",
    to_messages=_no_messages,
    required=("text",),
    aliases={"text": ("content", "body", "document", "article", "markdown")},
    plain_text=True,
    open_scorer=lambda stop: nullcontext(score),
    metric="right continuations",
    has_form=False,
    measure="right continuations",
    kind_words={"continuation": "a continuation, which is neither right nor wrong"},
    malformed=frozenset(),
    loss_decides=True,
    question=question,
)
