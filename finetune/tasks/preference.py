"""Your own pairs: a prompt with a better and a worse answer, for --method dpo and orpo.

``chosen`` and ``rejected`` are texts or lists of messages; the prompt stands in ``prompt``, a text or messages, or at the
beginning of both lists. What is kept is the conversation with the better answer, which plain training could learn from as well,
and the text of the worse one as ``rejected``.
"""

from typing import Any

from finetune.models.encoder import Message
from finetune.records.files import Row
from finetune.tasks import conversations
from finetune.tasks.base import RowKind

FIELDS = ("prompt", "chosen", "rejected")


def _conversation(row: Row, side: str) -> list[Message]:
    """The prompt and the answer of one side."""
    answer: Any = row.get(side)
    if isinstance(answer, str):
        if not answer.strip():
            raise ValueError(f"no text in {side}")
        answer = [{"role": "assistant", "content": answer}]
    elif not isinstance(answer, list):
        raise ValueError(f"no {side} answer (fields: {conversations.named(row)}; known: {', '.join(FIELDS)})")
    prompt: Any = row.get("prompt") or []
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
        if isinstance(row.get("system"), str) and row["system"].strip():
            prompt = [{"role": "system", "content": row["system"]}, *prompt]
    if not isinstance(prompt, list):
        raise ValueError(f"prompt is {type(prompt).__name__}, not text or messages")
    if len(answer) == 1:
        answer = [*prompt, *answer]
    messages = conversations.to_messages({"messages": answer})
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"{side} does not end with a message of the assistant")
    return messages


def _both(row: Row) -> tuple[list[Message], str]:
    chosen, rejected = (_conversation(row, side) for side in ("chosen", "rejected"))
    if len(chosen) < 2:
        raise ValueError("no prompt (give it as prompt, or as the first messages of chosen and rejected)")
    if chosen[-2]["role"] == "assistant":
        raise ValueError("the prompt ends with a message of the assistant")
    if chosen[:-1] != rejected[:-1]:
        raise ValueError("chosen and rejected answer different prompts")
    if chosen[-1]["content"].strip() == rejected[-1]["content"].strip():
        raise ValueError("chosen and rejected are the same")
    return chosen, rejected[-1]["content"]


PREFERENCE = RowKind(
    name="preference",
    about="a better and a worse answer to the same prompt, for --method dpo and orpo; with --from-adapter the model's own",
    hub_dataset=None,
    licence=None,
    required=(),
    optional=(),
    aliases={},
    to_messages=lambda row: _both(row)[0],
    kept=lambda row: {"rejected": _both(row)[1]},
    scored_as="chat",
    builtin=None,
    split_rule=None,
)
