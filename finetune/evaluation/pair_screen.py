"""Two answers on the terminal, as lines and pages: side by side if there is room, and nothing is cut off."""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.text import Text

from finetune.errors import visible
from finetune.records.evaluation import AnswerRecord, RowRecord
from finetune.report.asked import SYSTEM, history, system_of, told
from finetune.terminal import counted

_WIDE = 100  # columns of a terminal with room for two answers side by side
_FEWEST = 5  # lines of a page, however low the terminal is
_BETWEEN = " │ "
_SAME = "(the same as in the row before; w shows it)"
_RIGHT_TO_LEFT = ("R", "AL")


def asked_lines(console: Any, row: RowRecord, prompt: str, known: str = "", *, whole: bool = False) -> list[Text]:
    """The lines that show what was asked, each at most as wide as the terminal: the functions and the turns before the prompt,
    the prompt, which is called ``prompt``, and the turns after it.

    Unless it is to be ``whole``, a system message that is ``known`` is named only, long turns around the prompt are cut, and
    lines say by how much.
    """
    most, system = max(_FEWEST, console.height // 3), system_of(row)
    same = bool(system) and system == known and not whole
    lines = _turn(console, SYSTEM, _SAME) if same else []
    for turn in told(row, system if same else ""):
        lines += _first(_turn(console, turn.role, turn.text), most, whole=whole)
    earlier = [line for turn in history(row) for line in _turn(console, turn.role, turn.text)]
    lines += _last(earlier, most, whole=whole)
    if row.prompt or not lines:
        lines += _turn(console, prompt, row.prompt)
    for turn in row.after:
        lines += _first(_turn(console, turn.role, turn.text), most, whole=whole)
    return lines


def _turn(console: Any, role: str, text: str) -> list[Text]:
    return [Text(role, style="bold"), *_wrapped(console, _text(text), console.width)]


def _first(lines: list[Text], most: int, *, whole: bool) -> list[Text]:
    left = len(lines) - most
    return lines if whole or left <= 1 else [*lines[:most], _not_shown(left, "more line")]


def _last(lines: list[Text], most: int, *, whole: bool) -> list[Text]:
    left = len(lines) - most
    return lines if whole or left <= 1 else [_not_shown(left, "earlier line"), *lines[left:]]


def _not_shown(count: int, what: str) -> Text:
    return Text(f"[{counted(count, what)} not shown; w shows the whole conversation]", style="dim")


def pair_lines(console: Any, title: str, asked: Sequence[Text], answers: Sequence[AnswerRecord]) -> list[Text]:
    """The lines that show what was ``asked``, and below it the answers A and B, each at most as wide as the terminal."""
    width = console.width
    lines = [Text(), Text(f"── {title} ".ljust(min(width, _WIDE), "─"), style="dim"), *asked]
    shown = [_answer(one) for one in answers]
    # a terminal that draws Arabic or Hebrew from the right would exchange two columns, and nobody could tell which is A
    if width >= _WIDE and not any(_is_right_to_left(one.answer) for one in answers):
        return [*lines, Text(), *_beside(console, shown)]
    for name, text in zip("AB", shown, strict=True):
        lines += [Text(), Text(name, style="bold reverse"), *_wrapped(console, text, width)]
    return lines


def pages(console: Any, lines: Sequence[Text]) -> list[list[Text]]:
    """The lines in parts that fit on the screen with a line to type in."""
    most = max(_FEWEST, console.height - 2)
    return [list(lines[at : at + most]) for at in range(0, len(lines), most)]


def look_alike(one: str, other: str) -> bool:
    """Whether nobody can tell two texts apart on the screen: blanks at the ends of lines are not seen."""
    return _seen(one) == _seen(other)


def _seen(text: str) -> list[str]:
    return [line.rstrip() for line in unicodedata.normalize("NFC", text).strip().splitlines()]


def _text(text: str) -> Text:
    return Text(visible(text)) if text.strip() else Text("(nothing)", style="dim")


def _answer(answer: AnswerRecord) -> Text:
    remark = "" if answer.stopped else "\n(cut off at the token limit)"
    return Text.assemble(_text(answer.answer), (remark, "dim"))


def _wrapped(console: Any, text: Text, width: int) -> list[Text]:
    lines = list(text.wrap(console, width, overflow="fold"))
    for line in lines:
        line.rstrip()
    return lines


def _beside(console: Any, texts: Sequence[Text]) -> Iterator[Text]:
    width = (console.width - len(_BETWEEN)) // 2
    left, right = (_wrapped(console, text, width) for text in texts)
    heads = Text("A", style="bold reverse"), Text("B", style="bold reverse")
    for at in range(-1, max(len(left), len(right))):
        cells = heads if at < 0 else [of[at] if at < len(of) else Text() for of in (left, right)]
        blanks = " " * (width - cells[0].cell_len)
        yield Text.assemble(cells[0], blanks, (_BETWEEN, "dim"), cells[1])


def _is_right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text)


def show_pages(console: Any, lines: Sequence[Text], more: Callable[[int], bool]) -> bool:
    """Print the lines a page at a time; ``more`` is told how many are left and says whether to go on. False if it did not."""
    left = len(lines)
    for page in pages(console, lines):
        if left < len(lines) and not more(left):
            return False
        for line in page:
            console.print(line, soft_wrap=True)
        left -= len(page)
    return True
