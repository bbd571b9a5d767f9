"""Whether an answer is right, for each way of checking. An answer may be any text: nothing here raises or takes long for it."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from finetune.tasks.words import plain

Check = Mapping[str, Any]

_OUTER = " \t\r\n\"'`*_.,;:!?“”‘’[]()" + "«»„‹›「」『』（）。．，、！？：；؟،؛।॥…¿¡"
_BEFORE_LAST = " \n\"'`*:(“‘"
_WORD = re.compile(r"\w+")
_BULLET = re.compile(r"^(?:[-*+•]|\d{1,4}[.)])\s+")
_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def normal(text: str) -> str:
    """Without case, doubled white space, differences in how Unicode composes characters, and quotes and punctuation around."""
    return plain(text).strip(_OUTER)


def words(text: str) -> str:
    """Only the words and numbers, each between two spaces."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def unfenced(text: str) -> str:
    """What stands in the first code fence, where there is one."""
    parts = text.split("```", 2)
    if len(parts) < 3:
        return text
    _, newline, body = parts[1].partition("\n")
    return body if newline else parts[1]


def equal(check: Check, answer: str) -> bool:
    return normal(answer) == normal(check["equal"])


def exact(check: Check, answer: str) -> bool:
    """The same lines with the same case, but for the white space around them and quotes around the whole."""
    expected = _lines(check["exact"])
    return expected in (_lines(answer), _lines(answer.strip(" \t\r\n\"'`*“”")))


def ends_with(check: Check, answer: str) -> bool:
    """A short answer, bare or at the end of a sentence."""
    text, last = normal(answer), normal(check["ends_with"])
    before = text.removesuffix(last)
    return before != text and (not before or before[-1] in _BEFORE_LAST)


def choice(check: Check, answer: str) -> bool:
    """The right one of the options is named, and none of the others."""
    said = words(answer)
    return [option for option in check["of"] if words(option) in said] == [check["choice"]]


def numbers(check: Check, answer: str) -> bool:
    """The last numbers of the answer are these."""
    found = [float(text.replace(",", "")) for text in _NUMBER.findall(answer.replace("−", "-"))]
    if not found:
        found = [float(_NUMBER_WORDS.index(word)) for word in words(answer).split() if word in _NUMBER_WORDS]
    expected = check["numbers"]
    return found[-len(expected) :] == expected


def items(check: Check, answer: str) -> bool:
    """The same items, separated by commas, lines, bullets or numbering."""
    lines = [_BULLET.sub("", line) for line in _lines(answer)]
    if len(lines) > 1 and lines[0].endswith(":"):
        del lines[0]
    if len(lines) == 1:
        line = lines[0].replace(" and ", ", ")
        lines = line.split(",") if "," in line else line.split()
    found = [item for item in map(normal, lines) if item]
    expected = [normal(item) for item in check["list"]]
    return found == expected if check.get("ordered", True) else sorted(found) == sorted(expected)


def same_json(check: Check, answer: str) -> bool:
    try:
        # as text, because to Python 1 and true are equal
        return json.dumps(json.loads(answer), sort_keys=True) == json.dumps(check["json"], sort_keys=True)
    except (ValueError, RecursionError):
        return False


CHECKS: dict[str, Callable[[Check, str], bool]] = {
    "equal": equal,  # {"equal": text}
    "exact": exact,  # {"exact": text}
    "ends_with": ends_with,  # {"ends_with": text}
    "choice": choice,  # {"choice": text, "of": [texts]}
    "numbers": numbers,  # {"numbers": [numbers]}
    "list": items,  # {"list": [texts], "ordered": bool, true unless said}
    "json": same_json,  # {"json": anything}
}

# where an answer that says more than the answer, or the same with other signs, is wrong for its form alone
_OF_FORM = ("equal", "exact", "list", "json")


def decide(check: Check, output: str, answer: str) -> str:
    """ "ok", "wrong_format" (the words of ``output`` are there, but not alone or not laid out as asked) or "wrong_answer"."""
    name = next(name for name in CHECKS if name in check)
    if CHECKS[name](check, unfenced(answer)):
        return "ok"
    return "wrong_format" if name in _OF_FORM and words(output) in words(answer) else "wrong_answer"


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
