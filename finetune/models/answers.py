"""What is an answer in what a model wrote: without its thinking, and without what the chat template puts around both.

Found by token ids where the marks are tokens of their own, as gpt-oss's channels and ``<think>`` of Qwen are.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from finetune.models import thinking
from finetune.models.call_text import read_calls
from finetune.models.tool_style import ToolStyle
from finetune.models.turns import TurnStyle, common

Encode = Callable[[str], list[int]]


class Decode(Protocol):
    """Token ids to text."""

    def __call__(self, tokens: Sequence[int], *, special: bool) -> str:
        """``special``: with the special tokens."""


class Reading(NamedTuple):
    """What a model wrote."""

    text: str  # the answer, "" if only thinking was written
    thought: str | None = None  # None if there was none
    raw: str | None = None  # all of it, special tokens included; None if that is the answer


class Cut(NamedTuple):
    """The tokens of an answer, and those of the thinking before it; None if nothing was found around the answer."""

    answer: Sequence[int]
    thought: Sequence[int] | None


@dataclass(frozen=True)
class AnswerFrame:
    """The marks of a template, as token ids: what begins thinking, and what stands before an answer."""

    opening: tuple[int, ...]
    closing: tuple[int, ...]
    tail: frozenset[int]  # tokens after an answer that do not end it
    thinks: bool  # the prompt ends with the opening
    always: bool  # the closing stands before every answer
    between: tuple[int, ...] = ()  # what the template writes after thinking, before the closing
    letters: tuple[str, str, str] | None = None  # opening, closing and what is between, if they are no tokens
    around: tuple[str, str] = ("", "")  # letters before and after an answer

    @classmethod
    def of(cls, style: TurnStyle, encode: Encode, added: Mapping[int, str], stops: Collection[int]) -> "AnswerFrame":
        """The frame of a template. ``added`` are the tokens that are found wherever their text stands, by their ids."""
        opening, closes, before = (tuple(encode(text.strip())) for text in (style.opens, style.closes, style.before))
        closing = closes
        if before:
            same = 0
            while same < min(len(before), len(closes)) and before[-1 - same] == closes[-1 - same]:
                same += 1
            closing = before[len(before) - same :] if closes and same else closes or before
        after = encode(style.after)
        tail = {token for token in after if token in added and token not in stops}
        ends = [style.after.find(added[token]) for token in after if token in added]
        foot = style.after[: min(ends, default=None)].strip()
        whole = closing and closing[0] in added and closing[-1] in added
        always = bool(whole and before and before[len(before) - len(closing) :] == closing)
        if whole or not closes:
            between = closes[: len(closes) - len(closing)]
            around = ("" if always else style.before.strip(), foot)
            return cls(opening, closing if whole else (), frozenset(tail), style.thinks, always, between, None, around)
        end = style.closes.strip()
        shared = end[len(end) - common(style.before.strip()[::-1], end[::-1]) :].strip()
        letters = (style.opens.strip(), shared or end, end.removesuffix(shared).strip() if shared else "")
        around = ("" if shared else style.before.strip(), foot)
        return cls((), (), frozenset(tail), style.thinks, bool(shared), (), letters if letters[1] else None, around)

    def cut(self, tokens: Sequence[int], is_blank: Callable[[Sequence[int]], bool], *, stopped: bool) -> Cut:
        """The answer in the tokens that a model wrote. ``stopped``: it ended them itself."""
        if not self.closing:
            return Cut(self._without_tail(tokens), None)
        tokens = list(tokens)
        begin = _find(tokens, self.opening) if self.opening else None
        begins = begin is not None and is_blank(tokens[:begin])
        at = _find(tokens, self.closing)
        if at is not None and (begins or self.thinks or self.always or is_blank(tokens[:at])):
            thought = tokens[begin + len(self.opening) if begins and begin is not None else 0 : at]
            if self.between and tuple(thought[-len(self.between) :]) == self.between:
                thought = thought[: -len(self.between)]
            return Cut(self._without_tail(tokens[at + len(self.closing) :]), thought)
        if begins or (self.thinks and not stopped):
            return Cut([], tokens)
        return Cut(self._without_tail(tokens), None)

    def _without_tail(self, tokens: Sequence[int]) -> Sequence[int]:
        end = next((at for at, token in enumerate(tokens) if token in self.tail), len(tokens))
        return tokens[:end]


@dataclass(frozen=True)
class AnswerReader:
    """Takes apart what a model wrote. ``frame`` is None for a model without a chat template."""

    decode: Decode
    frame: AnswerFrame | None
    special: frozenset[int]

    def read(
        self, tokens: Sequence[int], *, stopped: bool, style: ToolStyle | None, call_marks: frozenset[int]
    ) -> Reading:
        """``tokens`` are without the one that stops them; ``stopped``: there was one. ``style`` is how the template treats
        tools, None if there are none, and ``call_marks`` are the special tokens around a call."""
        answer, thought, text = tokens, None, ""
        if self.frame:
            cut = self.frame.cut(tokens, lambda some: not self.decode(some, special=True).strip(), stopped=stopped)
            answer, text = cut.answer, self.decode(cut.answer, special=False).strip()
            if cut.thought is None:
                if mixed := self._lettered(answer):
                    text, thought = without_marks(mixed, self.frame, stopped=stopped)
                    text = self._without_special(answer, text)
                else:
                    text, thought = without_marks(text, self.frame, stopped=stopped)
            else:
                thought = self.decode(cut.thought, special=False).strip()
            before, after = self.frame.around
            text = text.removeprefix(before).removesuffix(after).strip()
        else:
            text = self.decode(tokens, special=False).strip()
        for candidate in (answer, tokens) if style else ():
            kept = [token for token in candidate if token not in self.special or token in call_marks]
            calling = style.rewritten(self.decode(kept, special=True)).strip() if style else ""
            if (found := read_calls(calling)).calls or found.problem:
                text = calling
                break
        raw = self.decode(tokens, special=True).strip()
        return Reading(text, thought, None if raw == text else raw)

    def _lettered(self, tokens: Sequence[int]) -> str:
        """The text with its special tokens, if the marks of the template are letters and special tokens mixed; else ""."""
        letters = self.frame.letters[:2] if self.frame and self.frame.letters else ()
        text, plain = (self.decode(tokens, special=special) for special in (True, False))
        return text.strip() if any(mark and mark in text and mark not in plain for mark in letters) else ""

    def _without_special(self, tokens: Sequence[int], text: str) -> str:
        for token in self.special.intersection(tokens):
            text = text.replace(self.decode([token], special=True), "")
        return text.strip()


def without_marks(text: str, frame: AnswerFrame, *, stopped: bool) -> tuple[str, str | None]:
    """The answer and the thinking in a text whose marks are letters: those of the template, or any that are known."""
    thinks = frame.thinks and not frame.closing
    if frame.letters:
        opening, closing, between = frame.letters
        begins = bool(opening) and text.lstrip().startswith(opening)
        before, found, after = text.partition(closing)
        if found and (begins or thinks or frame.always):
            return after.strip(), before.strip().removeprefix(opening).removesuffix(between).strip()
        if begins or (thinks and not stopped):
            return "", text
    try:
        thought, answer = thinking.split(text, thinking.MARKS)
    except ValueError:
        return "", text
    if thought is None and thinks and not frame.letters:
        for opening, closing in thinking.MARKS:
            before, found, after = text.partition(closing)
            if found and opening not in before:
                return after.strip(), before.strip()
        return (answer, None) if stopped else ("", text)
    return answer if thought is not None else thinking.answer_of(text), thought


def _find(tokens: Sequence[int], wanted: Sequence[int]) -> int | None:
    """Where ``wanted`` stands in ``tokens`` first."""
    size = len(wanted)
    places = (at for at in range(len(tokens) - size + 1) if tokens[at] == wanted[0])
    return next((at for at in places if tuple(tokens[at : at + size]) == tuple(wanted)), None)
