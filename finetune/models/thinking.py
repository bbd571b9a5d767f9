"""What the assistant thought before it answered: how texts mark it, and how a chat template comes to show it.

A message keeps it as ``reasoning_content``, apart from the answer. Templates know it under that name or another one; those
that do not get it as text before the answer, as Qwen3 and DeepSeek-R1 write it.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

FIELDS = ("reasoning_content", "thinking", "reasoning")  # the names that templates and rows have for it
_THINK = ("<think>", "</think>")
MARKS = (
    _THINK,
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<seed:think>", "</seed:think>"),
    ("<|channel>thought", "<channel|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
TEXT = "text"  # the template has no place for it: it is the beginning of the answer
_PLACED = (
    "placed"  # the template takes it out of the answer too: it is put into what the template has made of the last one
)
_PLACE = "(THE THINKING STANDS HERE)"
_PROBE = "zqvx thought of it"
_EMPTY = re.compile(r"<think>\s*</think>")
_IN_PLACE = re.compile(rf"(?:{_EMPTY.pattern}\s*)?{re.escape(_PLACE)}")
_HARMONY = re.compile(r"^analysis.*?assistantfinal", re.DOTALL)  # gpt-oss, without its special tokens
_BLANK = re.compile(r"^(?:[ \t]*\n)+|^[ \t]+")


def split(text: str, marks: Iterable[tuple[str, str]] = (_THINK,)) -> tuple[str | None, str]:
    """What stands between marks at the beginning of a text, and the answer after it; None if the text has no thinking.

    The beginning mark can be missing, if the end mark stands on a line of its own: a prompt can end with it. ValueError if the
    thinking has no end.
    """
    begin = text.lstrip()
    for opening, closing in marks:
        if begin.startswith(opening):
            thought, found, answer = begin[len(opening) :].partition(closing)
            if not found:
                raise ValueError(f"the thinking after {opening} has no end ({closing})")
            return thought.strip(), _BLANK.sub("", answer)
        thought, found, answer = text.partition(f"\n{closing}\n")
        if found and opening not in thought and thought.count("```") % 2 == 0:  # not in a block of code
            return thought.strip(), _BLANK.sub("", answer)
    return None, text


def answer_of(text: str) -> str:
    """The part of a model's answer that is its answer: without its thinking; "" if the thinking did not end."""
    try:
        return split(_HARMONY.sub("", text), MARKS)[1]
    except ValueError:
        return ""


def parted(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message of the assistant whose text begins with thinking, with that in its field: a template writes it there, and its
    marks become the tokens that they are."""
    if message["role"] != "assistant" or "reasoning_content" in message or _THINK[0] not in message["content"]:
        return message
    try:
        thought, answer = split(message["content"])
    except ValueError:
        return message
    return message if thought is None else {**message, "content": answer, "reasoning_content": thought}


def left_open(text: str) -> str:
    """The mark that ends the thinking which the end of a prompt has begun; "" if it has begun none."""
    for opening, closing in MARKS:
        _, found, rest = text.rpartition(opening)
        if found and not rest.strip():
            return closing
    return ""


def closed(text: str) -> bool:
    """Whether the end of a prompt has ended the thinking."""
    return text.rstrip().endswith(tuple(closing for _, closing in MARKS))


def written(thinking: str, answer: str) -> str:
    """Both as one text."""
    return f"{_THINK[0]}\n{thinking}\n{_THINK[1]}\n\n{answer}"


def shown(messages: Sequence[Mapping[str, Any]], way: str) -> tuple[list[Mapping[str, Any]], str]:
    """The messages as a template wants them that knows thinking in this ``way``; and what is still missing in the text that it
    makes of them, for ``filled`` ("" if nothing is)."""
    found: list[Mapping[str, Any]] = []
    thinking = ""
    for at, message in enumerate(messages):
        plain = {**message}
        thought = message.get("reasoning_content")
        if thought is not None:
            del plain["reasoning_content"]
            if way in FIELDS:
                plain[way] = thought
            elif way == TEXT:
                plain["content"] = written(thought, message["content"])
            elif at == len(messages) - 1:
                thinking = written(thought, "")
                plain["content"] = _PLACE + message["content"]
        found.append(plain)
    return found, thinking


def filled(text: str, thinking: str) -> str:
    """What a template has made of ``shown``, with the thinking in the place of an empty one that it may have written itself."""
    return _IN_PLACE.sub(lambda _: thinking, text, count=1) if thinking else text


def told(way: str) -> str:
    """What a person should know of the ``way``; "" if the template has a place for thinking."""
    without = "the chat template has no place for the thinking before answers: it is written as <think>...</think>"
    return "" if way in FIELDS else without


def way_of(render: Callable[[Sequence[Mapping[str, Any]], str], str]) -> str:
    """How a chat template shows thinking: under one of ``FIELDS``, or as text. ``render`` makes a text of messages in a way,
    and raises ValueError if the template refuses them."""
    probe: list[Mapping[str, Any]] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": _PROBE},
    ]
    for way in (*FIELDS, TEXT):
        try:
            text = render(probe, way)
            if _PROBE in text and not _EMPTY.search(text):
                return way
        except ValueError:
            continue
    return _PLACED
