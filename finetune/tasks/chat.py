"""The user's own conversations: rows of ``messages``, or of ``prompt`` and ``completion``."""

from contextlib import nullcontext

from finetune.artifacts import Row
from finetune.encoding import Message
from finetune.tasks.base import Score, Task

_ROLES = ("system", "user", "assistant")


def to_messages(row: Row) -> list[Message]:
    if "messages" not in row and {"prompt", "completion"} <= row.keys():
        turns = [("user", row["prompt"]), ("assistant", row["completion"])]
        row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"neither 'messages' nor 'prompt' and 'completion' (fields: {', '.join(row) or 'none'})")
    clean: list[Message] = []
    for message in messages:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if role not in _ROLES:
            raise ValueError(f"a message has the role {role!r} (use {', '.join(_ROLES)})")
        if not isinstance(content, str) or not content.strip():
            raise ValueError(f"a message of the {role} has no text")
        clean.append({"role": role, "content": content})
    if clean[-1]["role"] != "assistant":
        raise ValueError("the last message is not the assistant's")
    if next(message["role"] for message in clean if message["role"] != "system") != "user":
        raise ValueError("the conversation does not begin with the user")
    return clean


def score(row: Row, answer: str) -> Score:
    """1 where the answer is the reference, but for case and white space."""
    reference = row["messages"][-1]["content"]
    same = answer.casefold().split() == reference.casefold().split()
    return Score(1.0, "ok") if same else Score(0.0, "different", f"expected: {reference}")


CHAT = Task(
    name="chat",
    hub_dataset=None,
    required=(),
    to_messages=to_messages,
    open_scorer=lambda: nullcontext(score),
    builtin=None,
    metric="exact match",
    question=lambda row: row["messages"][-2]["content"],
)
