"""The same prompt with another answer that is kept as one text: a worse answer of a pair, or what a model has written."""

from finetune.models.call_text import message_of, spoken
from finetune.models.conversation import Conversation, Message
from finetune.models.thinking import written


def as_text(message: Message) -> str:
    """An answer with its thinking and its calls, as ``with_answer`` reads it."""
    thought = message.get("reasoning_content")
    return spoken(message) if thought is None else written(thought, spoken(message))


def with_answer(conversation: Conversation, text: str) -> Conversation:
    """The same prompt with an answer that ``as_text`` has written. Calls in any other form are text that somebody wrote.
    ValueError if its thinking has no end."""
    return _with(conversation, text, exact=True)


def with_sampled(conversation: Conversation, text: str) -> Conversation:
    """The same prompt with an answer of a model; if it has tools, what is a call in any form is a call. ValueError if its
    thinking has no end."""
    return _with(conversation, text, exact=False)


def _with(conversation: Conversation, text: str, *, exact: bool) -> Conversation:
    found = conversation.answered(text)
    if not conversation.uses_tools:
        return found
    last = found.messages[-1]
    message = message_of(last["content"], conversation.tools)
    if exact and spoken(message) != last["content"]:
        return found
    answer: Message = {**last, **message}
    return Conversation([*found.messages[:-1], answer], conversation.tools)
