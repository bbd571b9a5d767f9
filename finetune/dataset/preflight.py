"""Checks of one row: can it be written, rendered and learned from?"""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby

from finetune.models.call_text import calls_of
from finetune.models.conversation import Conversation, Message, Tool
from finetune.models.encoder import ChatEncoder
from finetune.models.loss_mask import Example
from finetune.records.files import Row
from finetune.tasks import learning
from finetune.tasks.words import words_and_signs

LONGEST = 200_000  # characters of a row; more would take minutes to split into tokens


def checked(messages: list[Message], mend: Callable[[str], None], learn: str = "all") -> list[Message]:
    """The conversation in a form that every chat template accepts, with the turns to learn marked as ``--learn`` says; ``mend``
    is told of each repair.

    ValueError if there is nothing to learn.
    """
    if not any(message["role"] == "assistant" for message in messages):
        raise ValueError("no assistant message, so there is nothing to learn")
    messages = _system_first(messages, mend)
    first = 1 if messages[0]["role"] == "system" else 0
    begin = next((i for i, message in enumerate(messages) if message["role"] == "user"), len(messages))
    if begin > first:
        mend("assistant turns before the first user turn removed")
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=0)
    if after := {message["role"] for message in messages[last + 1 :]}:
        mend(f"{'results of tools' if after == {'tool'} else 'user turns'} after the last answer removed")
    merged: list[Message] = messages[:first]
    for message in messages[begin : last + 1]:
        if len(merged) > first and merged[-1]["role"] == message["role"] != "tool":
            if message["role"] == "assistant" and not learning.same_weight(merged[-1], message, learn):
                raise ValueError(
                    "two messages of the assistant follow each other, and one of them is not to be learned (remove one of them)"
                )
            if "reasoning_content" in message:
                raise ValueError(
                    "two messages of the assistant follow each other, and the second has thinking (--thinking drop)"
                )
            merged[-1] = _joined(merged[-1], message)
            mend("consecutive turns of the same role joined")
        else:
            merged.append(message)
    if len(merged) == first or merged[-1]["role"] != "assistant":
        raise ValueError("no user message before the first assistant message")
    complete, merged = merged, learning.chosen(merged, learn)
    if len(merged) < len(complete):
        mend("turns after the last answer to learn removed")
    ordered = _in_order_of_calls(merged)
    if ordered != merged:
        merged = ordered
        mend("results of tools put in the order of their calls")
    for message in merged:
        if has_controls(message["content"]):
            mend("control characters kept")
            break
    return merged


def _in_order_of_calls(messages: list[Message]) -> list[Message]:
    """The messages with the results of a turn's calls in the order of the calls: most templates show no ids."""
    places: dict[str, int] = {}
    found: list[Message] = []
    for is_result, turns in groupby(messages, key=lambda message: message["role"] == "tool"):
        group = list(turns)
        if is_result:
            group.sort(key=lambda message: places.get(message["tool_call_id"], 0))
        places = {call["id"]: at for at, call in enumerate(group[-1].get("tool_calls", ()))}
        found += group
    return found


def _joined(first: Message, second: Message) -> Message:
    """Two turns of the same role as one. ValueError if that would put what was said after a call before it."""
    if "tool_calls" in first and second["content"].strip():
        raise ValueError("a text of the assistant follows its call (remove one of them, or add the result between)")
    texts = [message["content"] for message in (first, second) if message["content"] or "tool_calls" not in message]
    joined: Message = {**first, "content": "\n\n".join(texts)}
    if calls := [*first.get("tool_calls", ()), *second.get("tool_calls", ())]:
        joined["tool_calls"] = calls
    return joined


def _system_first(messages: list[Message], mend: Callable[[str], None]) -> list[Message]:
    """The conversation with one system message at most, at its beginning: few chat templates know another one.

    Those at the beginning are joined; a later one is written into the user's turn that follows it, or is before it.
    """
    found: list[Message] = []
    waiting = ""  # for the next turn
    for at, message in enumerate(messages):
        if message["role"] != "system":
            text = f"{waiting}\n\n{message['content']}" if waiting else message["content"]
            found.append({**message, "content": text} if waiting else message)
            waiting = ""
        elif not found:
            found.append(message)
        elif len(found) == 1 and found[0]["role"] == "system":
            found[0] = {**message, "content": f"{found[0]['content']}\n\n{message['content']}"}
            mend("system messages at the beginning joined")
        else:
            follows = next((later["role"] for later in messages[at:] if later["role"] != "system"), "")
            mend("system messages after the beginning written into the user's turn beside them")
            if follows == "user":
                waiting = f"{waiting}\n\n{message['content']}" if waiting else message["content"]
            elif found[-1]["role"] == "user":
                found[-1] = {**found[-1], "content": f"{found[-1]['content']}\n\n{message['content']}"}
            elif follows:
                raise ValueError(
                    "a system message between two turns of the assistant (write it into a message of the user)"
                )
    return found


_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def has_controls(text: str) -> bool:
    """Whether the text has characters that nobody types, such as NUL or escape; tabs and line ends do not count."""
    return _CONTROLS.search(text) is not None


def unwritable(row: Row) -> str:
    """Why the row cannot be written as JSON in UTF-8, or ""."""
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        return "a number is NaN or infinite, which JSON cannot hold"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        if "\udc80" <= text[error.start] <= "\udcff":  # as a byte of a CSV file that is not UTF-8 is read
            return "not UTF-8 text (save the file as UTF-8)"
        return "half a surrogate pair (a \\ud800 to \\udfff without its other half)"
    return ""


def too_long(row: Row, most: int = LONGEST, ignored: Collection[str] = ()) -> bool:
    """Whether the texts of the row, however deeply nested, have more than ``most`` characters in all, without those fields."""
    characters = 0
    values: list[object] = [value for name, value in row.items() if name not in ignored]
    while values and characters <= most:
        value = values.pop()
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, Mapping):
            values += value.values()
        elif isinstance(value, list):
            values += value
    return characters > most


def prompt_text(messages: Sequence[Message], tools: Sequence[Tool]) -> str:
    """What is equal for equal prompts: the turns before the answer, and the tools. The ids of calls do not count."""
    if not Conversation(messages, tools).uses_tools:
        return str(messages)
    turns = [(message["role"], answer_text(message)) for message in messages]
    return str(turns) + json.dumps(tools, sort_keys=True, default=str)


def answer_text(message: Message) -> str:
    """What is equal for equal answers: the text and the calls."""
    text = message.get("reasoning_content", "") + message["content"]
    return "\n".join([text, *(json.dumps(vars(call), sort_keys=True) for call in calls_of(message))])


def likeness(messages: list[Message]) -> str:
    """A key that conversations share if their prompts differ only in case, white space or punctuation."""
    prompts = (message["content"] for message in messages if message["role"] != "assistant")
    return "\n".join(" ".join(words_and_signs(prompt)) or prompt for prompt in prompts)


def token_problem(
    encoder: ChatEncoder, examples: list[Example] | ValueError, limit: int, *, plain: bool = False
) -> str | None:
    """Why the model cannot learn the conversation, in a reason that can be counted; None if it can. ``plain``: it is plain
    text, which has no turns."""
    if isinstance(examples, ValueError):
        return str(examples)
    example = examples[-1]
    if max(len(one.tokens) for one in examples) > limit:
        return f"more than {limit} tokens (raise --max-seq-length)"
    if not any(example.loss_mask):
        return "its only token has nothing before it" if plain else "the chat template leaves no token to learn"
    bos = encoder.tokenizer.bos_token_id
    if bos is not None and example.tokens[:2] == [bos, bos]:
        return "the chat template writes the beginning-of-sequence token twice"
    if not plain and any(one.tokens[-1] not in encoder.stop_tokens for one in examples):
        return "the end-of-turn token is not learned"
    return None
