"""Calls and results of tools that people keep as text, as in Hermes' rows: ``<tool_call>{...}</tool_call>`` in an answer, and
``<tool_response>...</tool_response>`` in the turn after it.

Only a row with a result of a tool is read so: it shows that the text before was a call.
"""

import re
from collections.abc import Iterator, Sequence

from finetune.errors import shortened
from finetune.models.call_text import message_of, read_calls
from finetune.models.conversation import Message, Tool

_MARKED = re.compile(r"<tool_call>.*</tool_call>|<function=.*</function>|\A\s*\[TOOL_CALLS\]", re.DOTALL)
_RESULT = re.compile(r"\s*<tool_response>\s*(.*?)\s*</tool_response>\s*", re.DOTALL)


def read(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """The messages with the calls in their texts as ``tool_calls``, and a message for each result.

    ValueError if the text before a result is no call that can be read.
    """
    if not any(message["role"] == "tool" for message in messages):
        return list(messages)
    return list(_read(messages, tools))


def _read(messages: Sequence[Message], tools: Sequence[Tool]) -> Iterator[Message]:
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            yield from _results(message)
        elif message["role"] == "assistant" and not message.get("tool_calls"):
            is_called = at + 1 < len(messages) and messages[at + 1]["role"] == "tool"
            # a mark alone can be what the text is about
            yield _calling(message, tools) if is_called or _MARKED.search(message["content"]) else message
        else:
            yield message


def _calling(message: Message, tools: Sequence[Tool]) -> Message:
    if problem := read_calls(message["content"], tools).problem:
        raise ValueError(f"a call of a tool in the text of an answer cannot be read: {shortened(problem, 100)}")
    found = message_of(message["content"], tools)
    for call in found.get("tool_calls", ()):
        call["id"] = ""  # numbered with the others of the row
    return {**message, **found}


def _results(message: Message) -> Iterator[Message]:
    """A message for each result that a turn holds between tags."""
    found = list(_RESULT.finditer(message["content"]))
    if "".join(one[0] for one in found) != message["content"] or not found:
        yield message
        return
    for one in found:
        yield {**message, "content": one[1]}
