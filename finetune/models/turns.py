"""How a chat template asks for an answer and how it writes one, found by rendering: both must begin with the same text.

Most templates write the prompt, then the answer and its end. Some end the prompt with more than they write before an answer:
DeepSeek-R1 with ``<think>``, Gemma 4 with an empty thought. There the answer is put behind the prompt that the model is asked
with, so that every program that uses the template asks as was trained.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from finetune.models import thinking
from finetune.models.conversation import Conversation, Message

USER, ANSWER, THOUGHT = "Askedzq", "Answeredzq", "Thoughtzq"
_ASKED: Message = {"role": "user", "content": USER}
_ANSWERED: Message = {"role": "assistant", "content": ANSWER}
_CHANGED = "the chat template changes the prompt once the answer follows (--template chatml)"
_SWITCHES = ("enable_thinking", "thinking")  # with which templates ask for thinking


class RenderText(Protocol):
    """Applies a chat template; ValueError if it refuses the conversation."""

    def __call__(self, conversation: Conversation, *, prompt: bool) -> str:
        """``prompt`` adds the beginning of the next answer."""


@dataclass(frozen=True)
class TurnStyle:
    """What stands around the last answer of a conversation."""

    opening: str = ""  # end of the prompt that is not written before an answer
    head: str = ""  # what is written before an answer in its place
    before: str = ""  # what is written after the prompt and before an answer, if nothing was thought
    thinks: bool = False  # the prompt leaves the thinking open
    opens: str = ""  # what is written before the thinking, or ends the prompt
    closes: str = ""  # between the thinking and the answer
    after: str = ""  # after the answer

    def completion(self, prompt: str, whole: str) -> str | None:
        """What follows ``prompt`` in an example, made of the ``whole`` answered conversation; None if they do not fit."""
        if whole.startswith(prompt):
            return whole[len(prompt) :]
        known = prompt.removesuffix(self.opening)
        if not self.opening or known == prompt or not whole.startswith(known + self.head):
            return None
        return self.before + whole[len(known + self.head) :]

    def after_thinking(self, prompt: str, whole: str, thought: str) -> str | None:
        """The same for a conversation that is rendered without the thinking, which the prompt has begun."""
        found = self.completion(prompt, whole) if self.thinks else None
        if found is None or not found.startswith(self.before):
            return None
        return thought.strip("\n") + self.closes + found[len(self.before) :]


class Draft(NamedTuple):
    """A turn of the assistant as text: the prompt that asks for it, and what is learned."""

    prompt: str
    completion: str
    other: str | None = None  # a completion with another answer after the same thinking, which is only context
    is_call: bool = False  # it calls a tool, without thinking

    @property
    def texts(self) -> list[str]:
        """What is tokenised of it."""
        return [self.prompt, *(self.prompt + text for text in (self.completion, self.other) if text is not None)]


def find_turns(render: RenderText) -> TurnStyle:
    """The style of the template that ``render`` applies. ValueError if no prompt of it can be trained."""
    prompt, whole = _probe(render)
    at = whole.rfind(ANSWER)
    if at < 0:
        raise ValueError(f"the chat template {'shows no answer' if whole else 'renders nothing'} (--template chatml)")
    after = whole[at + len(ANSWER) :]
    opens, closes, thinks = _around_thinking(render, prompt)
    if whole.startswith(prompt):
        return TurnStyle(before=whole[len(prompt) : at], thinks=thinks, opens=opens, closes=closes, after=after)
    same = common(prompt, whole[:at])
    if USER not in whole[:same]:
        raise ValueError(_CHANGED)
    return TurnStyle(prompt[same:], whole[same:at], closes if thinks else "", thinks, opens, closes, after)


def drafts_of(render: RenderText, style: TurnStyle, conversation: Conversation) -> list[Draft]:
    """The turns of the assistant that are learned: those whose weight is not 0. ValueError if one cannot be trained."""
    found = []
    for at, message in enumerate(conversation.messages):
        if message["role"] != "assistant" or not message.get("weight", 1):
            continue
        turn, other = conversation.up_to(at + 1), None
        prompt, completion = turn_of(render, style, turn)
        if not message.get("reasoning_weight", 1):
            _, other = turn_of(render, style, turn.answered_after_thinking(_another(message["content"])))
        is_call = bool(message.get("tool_calls") and not message.get("reasoning_content"))
        found.append(Draft(prompt, completion, other, is_call))
    return found


def turn_of(render: RenderText, style: TurnStyle, conversation: Conversation) -> tuple[str, str]:
    """The prompt of a conversation's last turn, and that turn as it is learned. ValueError if they do not fit together."""
    prompt, whole = render(conversation.prompt, prompt=True), render(conversation, prompt=False)
    found = style.completion(prompt, whole)
    thought = thinking.parted(conversation.messages[-1]).get("reasoning_content", "").strip()
    if thought and (
        not whole.startswith(prompt) or thinking.closed(prompt) or not _shows(whole[len(prompt) :], thought)
    ):
        found = style.after_thinking(prompt, render(_without_thinking(conversation), prompt=False), thought)
        if found is None:
            raise ValueError(
                "the chat template asks for answers without thinking, and this one has some (--thinking drop)"
            )
    if found is None:
        raise ValueError(_CHANGED)
    return prompt, found


def common(a: Sequence[object], b: Sequence[object]) -> int:
    """Length of the longest common prefix."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _another(answer: str) -> str:
    """An answer that begins with another character of the same kind, so that the text before it becomes the same tokens."""
    first = answer.lstrip()[:1]
    one, other = "12" if first.isdigit() else "ab" if first.isalpha() else "(["
    return other if first.lower() == one else one


def has_thinking(conversation: Conversation) -> bool:
    """Whether a turn of the assistant has thinking that is not empty."""
    return any(thinking.parted(message).get("reasoning_content", "").strip() for message in conversation.messages)


def following(render: RenderText) -> str:
    """What the template writes after an answer that a question follows; "" if it refuses one."""
    try:
        return render(Conversation([_ASKED, _ANSWERED, _ASKED]), prompt=False).partition(ANSWER)[2]
    except ValueError:
        return ""


def switches_for_thinking(
    template: str, find: Callable[[Mapping[str, bool]], tuple[TurnStyle, RenderText]]
) -> dict[str, bool]:
    """The variables with which the template asks for answers that have thinking; none if it does so by itself, or never does.

    ``find`` gives the style, and what renders, with some variables.
    """
    conversation = Conversation([_ASKED, {**_ANSWERED, "reasoning_content": THOUGHT}])
    names = [name for name in _SWITCHES if name in template]
    for switches in ({}, *({name: True} for name in names)):
        try:
            style, render = find(switches)
            turn_of(render, style, conversation)
        except ValueError:
            continue
        return switches
    return {}


def _probe(render: RenderText, **more: Any) -> tuple[str, str]:
    answer: Any = {**_ANSWERED, **more}
    asked, answered = Conversation([_ASKED]), Conversation([_ASKED, answer])
    return render(asked, prompt=True), render(answered, prompt=False)


def _around_thinking(render: RenderText, prompt: str) -> tuple[str, str, bool]:
    """What the template writes before thinking and between it and an answer, and whether it ends a prompt with the former."""
    closing = thinking.left_open(prompt)
    try:
        _, whole = _probe(render, reasoning_content=THOUGHT)
    except ValueError:
        whole = ""
    at, end = whole.find(THOUGHT), whole.rfind(ANSWER)
    if 0 <= at < end:
        closes = whole[at + len(THOUGHT) : end]
        begun = whole[len(prompt) : at] if whole.startswith(prompt) else None
        if begun is not None and not begun.strip():
            return _opening(prompt), closes, True
        if not closing:
            return begun or _opening(whole[:at]), closes, False
    if not closing:
        return "", "", False
    line = "\n" if prompt.endswith("\n") else ""
    return _opening(prompt), f"{line}{closing}{2 * line}", True


def _opening(text: str) -> str:
    """The mark with which a text begins thinking at its end."""
    end = text.rstrip()
    return next((opening for opening, _ in thinking.MARKS if end.endswith(opening)), end.rpartition("\n")[2])


_NOT_SHOWN = re.compile("[\\s\U000f0000\U000f0001]+")  # blanks, and what stands around a typed special token


def _shows(text: str, thought: str) -> bool:
    return _NOT_SHOWN.sub("", thought) in _NOT_SHOWN.sub("", text)


def _without_thinking(conversation: Conversation) -> Conversation:
    last = {**thinking.parted(conversation.messages[-1])}
    last.pop("reasoning_content", None)
    return Conversation([*conversation.messages[:-1], last], conversation.tools)  # type: ignore[list-item]
