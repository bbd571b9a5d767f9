"""A conversation: its messages, in the fields of OpenAI's chat format, and the tools that the assistant can call.

The rows of data/*.jsonl hold the same fields, so that ``Conversation.of(row)`` and mlx-lm read the same thing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from finetune.models.thinking import split

# a function's JSON schema, as OpenAI writes it: {"type": "function", "function": {"name", "description", "parameters"}}
Tool = Mapping[str, Any]


class Message(TypedDict):
    """One turn. ``content`` is text, "" in a turn that only calls tools."""

    role: str  # system, user, assistant or tool
    content: str
    reasoning_content: NotRequired[str]  # what the assistant thought before it answered
    reasoning_weight: NotRequired[int]  # 0 if that is context and not learned
    tool_calls: NotRequired[list[dict[str, Any]]]  # {"type": "function", "function": {"name", "arguments"}}, an object
    tool_call_id: NotRequired[str]  # of a tool's result: the call that it answers
    name: NotRequired[str]  # of a tool's result: the function
    weight: NotRequired[int]  # 0 for a turn of the assistant that is not learned


@dataclass(frozen=True)
class Conversation:
    """What a chat template renders."""

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Conversation":
        """The conversation of a row of data/*.jsonl."""
        return cls(row["messages"], row.get("tools") or ())

    @property
    def uses_tools(self) -> bool:
        """Whether it has tools, calls one, or holds what one returned."""
        return bool(self.tools) or any(m["role"] == "tool" or m.get("tool_calls") for m in self.messages)

    @property
    def prompt(self) -> "Conversation":
        """All turns before the last one."""
        return self.up_to(len(self.messages) - 1)

    @property
    def question(self) -> str:
        """The text of the last turn of the user; "" if there is none."""
        return next((message["content"] for message in reversed(self.messages) if message["role"] == "user"), "")

    def up_to(self, turn: int) -> "Conversation":
        """The turns before the one with this index."""
        return Conversation(self.messages[:turn], self.tools)

    def answered(self, text: str) -> "Conversation":
        """The same prompt with another answer. If the last answer has thinking, that of the other is in its text."""
        answer: Message = {"role": "assistant", "content": text}
        if "reasoning_content" in (last := self.messages[-1]):
            thought, said = split(text)
            answer = {**last, "content": said, "reasoning_content": thought or ""}
            answer.pop("tool_calls", None)
        return Conversation([*self.messages[:-1], answer], self.tools)

    def answered_after_thinking(self, text: str) -> "Conversation":
        """The same with another answer after the same thinking."""
        return Conversation([*self.messages[:-1], {**self.messages[-1], "content": text}], self.tools)


AnyConversation = Conversation | Sequence[Message]  # a list of messages is a conversation without tools


def as_conversation(value: AnyConversation) -> Conversation:
    return value if isinstance(value, Conversation) else Conversation(value)
