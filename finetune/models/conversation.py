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
        """What a row of data/*.jsonl holds: a conversation, or a ``PlainText`` if it has no messages."""
        if "messages" not in row and "text" in row:
            return PlainText.of_piece(row)
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

    @property
    def reference(self) -> str:
        """The text of the last turn, which an answer is compared with."""
        return self.messages[-1]["content"]

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
        """The same with another answer, a text, after the same thinking."""
        last: Message = {**self.messages[-1], "content": text}
        last.pop("tool_calls", None)
        return Conversation([*self.messages[:-1], last], self.tools)


_SHOWN = 240  # characters of a text that are given to be continued, at most


@dataclass(frozen=True, kw_only=True)
class PlainText(Conversation):
    """A piece of a document, learned as it stands: no chat template, and special tokens that it names are text.

    A row keeps it as ``text``, with ``document`` and the number of the piece, ``piece``, of all its ``pieces``.
    """

    messages: Sequence[Message] = ()
    text: str
    overlap: int = 0  # characters at its beginning that the piece before it ends with: context, not learned again
    begins: bool = True  # the document begins here
    ends: bool = True  # the document ends here

    @classmethod
    def of_piece(cls, row: Mapping[str, Any]) -> "PlainText":
        at, last = row.get("piece", 1), row.get("pieces", 1)
        return cls(text=row["text"], overlap=row.get("overlap", 0), begins=at == 1, ends=at == last)

    @property
    def prompt(self) -> "PlainText":
        """The beginning of the piece, at most half of what is new in it, to be continued."""
        end = self._middle
        return PlainText(text=self.text[:end], overlap=self.overlap, begins=self.begins, ends=False)

    @property
    def question(self) -> str:
        return self.text[: self._middle]

    @property
    def reference(self) -> str:
        return self.text[self._middle :]

    @property
    def _middle(self) -> int:
        most = self.overlap + min(_SHOWN, max(1, (len(self.text) - self.overlap) // 2))
        word = max(self.text.rfind(" ", self.overlap, most), self.text.rfind("\n", self.overlap, most))
        return word if word > self.overlap else most


AnyConversation = Conversation | Sequence[Message]  # a list of messages is a conversation without tools


def as_conversation(value: AnyConversation) -> Conversation:
    return value if isinstance(value, Conversation) else Conversation(value)
