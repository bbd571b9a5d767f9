"""Preference pairs: a prompt with a better and a worse answer, for --method dpo and orpo.

``chosen`` and ``rejected`` are texts or lists of messages; the prompt is in ``prompt``, as text or messages, or at the
beginning of both lists. A row keeps the conversation with the better answer, which --method sft can learn from too, and the
text of the worse one as ``rejected``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune.models.call_text import calls_of
from finetune.models.conversation import Conversation, Message
from finetune.models.other_answers import as_text, with_answer
from finetune.records.files import Row
from finetune.tasks import beside, thinking, tool_rows
from finetune.tasks.base import BadRow, RowKind
from finetune.tasks.conversations import (
    in_context,
    to_messages,
)
from finetune.tasks.learning import without_weights
from finetune.tasks.row_fields import unused_fields, unused_in_messages
from finetune.tasks.values import is_listed, json_type, listed, text_of

FIELDS = ("prompt", "chosen", "rejected")


def _conversation(row: Row, side: str) -> list[Message]:
    """The prompt and the answer of one side."""
    answer = row.get(side)
    if side not in row:
        remedy = "name the fields with --column prompt=FIELD,chosen=FIELD,rejected=FIELD"
        raise BadRow(f"no field {side!r}", lambda _: remedy, ", ".join(FIELDS))
    answer = listed(answer) if is_listed(answer) else [dict(thinking.answer(text_of(answer, side)))]
    prompt: Any = row.get("prompt") or []
    if is_listed(prompt):
        prompt = listed(prompt)
    elif isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list):
        raise ValueError(f"prompt is {json_type(prompt)}, not text or a list of messages")
    if len(answer) == 1 or not any(isinstance(turn, Mapping) and tool_rows.speaker(turn) == "user" for turn in answer):
        answer = [*prompt, *answer]
    tools = {name: row[name] for name in tool_rows.FIELDS if row.get(name)}
    messages = in_context(to_messages({"messages": answer, **tools}), row)
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"{side} does not end with an assistant message")
    return messages


def _both(row: Row) -> tuple[list[Message], str]:
    chosen, rejected = (_conversation(row, side) for side in ("chosen", "rejected"))
    if len(chosen) < 2:
        raise ValueError("no prompt (it belongs in the field prompt, or at the beginning of chosen and rejected)")
    if chosen[-2]["role"] == "assistant":
        raise ValueError("the prompt ends with an assistant message")
    if chosen[-1].get("weight") == 0:
        raise ValueError("the chosen answer has weight 0, so there is nothing to learn (--ignore weight)")
    if without_weights(chosen[:-1]) != without_weights(rejected[:-1]):
        raise ValueError("chosen and rejected have different prompts (they may differ in their last turn alone)")
    _demand_same_calls(Conversation(chosen, tool_rows.tools_of(row)), rejected[-1])
    answers = [as_text(side[-1]) for side in (chosen, rejected)]
    if answers[0].strip() == answers[1].strip():
        raise ValueError("chosen and rejected are the same")
    return chosen, answers[1]


def _demand_same_calls(conversation: Conversation, rejected: Message) -> None:
    """ValueError if training would read other calls from the text of the answer than it makes."""
    made = calls_of(rejected)
    if made == calls_of(with_answer(conversation, as_text(rejected)).messages[-1]):
        return
    if not made:
        raise ValueError("rejected has a call in its text, which would be learned as a call (write it as tool_calls)")
    if not conversation.uses_tools:
        raise ValueError("rejected calls a tool, and nothing else says that there are tools (add the field tools)")
    raise ValueError("a call of rejected holds the mark that ends a call, </tool_call> (remove the row)")


def _unused(row: Row) -> Iterator[str]:
    yield from unused_fields(row, (*FIELDS, *tool_rows.FIELDS, *beside.SYSTEM, *beside.HISTORY))
    said = {message["content"].strip() for message in _both(row)[0]}
    prompt = listed(row["prompt"]) if is_listed(row.get("prompt")) else [{"content": row.get("prompt") or ""}]
    if not said.issuperset(str(turn.get("content", turn.get("value"))).strip() for turn in prompt) and row.get(
        "prompt"
    ):
        yield "prompt"  # chosen and rejected are whole conversations, and begin with another one
    for field in FIELDS:
        yield from unused_in_messages(row, field)


PREFERENCE = RowKind(
    name="preference",
    about="preference pairs: a better and a worse answer to a prompt, for --method dpo and orpo",
    to_messages=lambda row: _both(row)[0],
    calls_tools=True,
    conversations=True,
    kept=lambda row: tool_rows.with_tools({"rejected": _both(row)[1]}, row),
    unused=_unused,
    scored_as="chat",
)
