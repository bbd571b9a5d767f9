"""Labels as people write them: one spelling for each, those that look alike, and the prompt that names them."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from finetune.tasks.values import json_type
from finetune.tasks.words import plain

SEPARATORS = {"|": "a bar", ";": "a semicolon", ",": "a comma"}  # between several labels, the first that is found
BETWEEN = "\n"  # between several labels in an answer: no label has one
_ALIKE = 88.0  # per cent of two spellings
_SHORTEST = 4  # characters of a label that can look like another
_MOST_COMPARED = 500  # labels
_IN_PROMPT = 1500  # characters of a list of labels that "auto" puts into the prompt
_NO_LABEL = {"nan", "none", "null", "n/a", "na", "-", "--", "?", "unknown", "undefined", "#n/a"}

TASK, TASK_OF_SEVERAL = "Assign the text to one of these labels.", "Assign the text to all of these labels that apply."
ANSWER, ANSWER_SEVERAL = "Answer with the label alone.", "Answer with the labels alone, each on its own line."
NO_LIST, NO_LIST_OF_SEVERAL = "Classify the text.", "Name all labels of the text."


def label_text(value: object, what: str) -> str:
    """A label as text: white space in one form and none around it, numbers as they are written, true and false as words.

    ValueError, which begins with ``what``, if it is none.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        raise ValueError(f"{what} is a list of {len(value)} labels (--multi-label)" if value else f"{what} is empty")
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{what} is {json_type(value)}, not a label")
    text = " ".join(unicodedata.normalize("NFC", value or "").split())
    if not text:
        raise ValueError(f"{what} is empty")
    return text


def several(value: object, separator: str, what: str) -> list[str]:
    """The labels of a row that can have several: a list, or a text with ``separator`` between them.

    ValueError, which begins with ``what``, if there is none.
    """
    parts: list[object] = list(value) if isinstance(value, list) else [value]
    if isinstance(value, str) and separator:
        parts = [part for part in value.split(separator) if part.strip()]
    found = [label_text(part, what) for part in parts]
    if not found:
        raise ValueError(f"{what} is empty")
    return found


@dataclass
class Spellings:
    """How often each spelling of a label occurs. Spellings that differ only in case, white space or how Unicode composes
    characters are one label, since an answer is compared without these; its name is the most frequent one."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, label: str, count: int = 1) -> None:
        self.counts[label] = self.counts.get(label, 0) + count

    @property
    def names(self) -> dict[str, str]:
        """The label that each key of ``plain`` stands for, sorted as a person would."""
        found: dict[str, str] = {}
        for spelling in sorted(self.counts, key=lambda one: -self.counts[one]):  # stable: of two the first that came
            found.setdefault(plain(spelling), spelling)
        return dict(sorted(found.items(), key=lambda item: _in_order(item[1])))

    @property
    def totals(self) -> dict[str, int]:
        """Rows of each label, in order."""
        names = self.names
        found = dict.fromkeys(names.values(), 0)
        for spelling, count in self.counts.items():
            found[names[plain(spelling)]] += count
        return found


def _in_order(label: str) -> tuple[bool, float, str]:
    """Numbers by their value, before words by the alphabet."""
    try:
        return False, float(label), ""
    except ValueError:
        return True, 0.0, label.casefold()


def alike(labels: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Pairs of labels that may be one, written in two ways: the rarer one first. Labels that differ in a number are not."""
    from rapidfuzz import fuzz

    known = list(labels)[:_MOST_COMPARED]
    for at, one in enumerate(known):
        for other in known[at + 1 :]:
            if _digits(one) != _digits(other):
                continue
            letters = [_letters(one), _letters(other)]
            long = min(map(len, letters)) >= _SHORTEST
            if letters[0] == letters[1] != "" or (long and fuzz.ratio(*letters, score_cutoff=_ALIKE)):
                rarer, usual = sorted((one, other), key=lambda label: labels[label])
                yield rarer, usual


def _digits(label: str) -> str:
    return "".join(filter(str.isdigit, label))


def _letters(label: str) -> str:
    return "".join(filter(str.isalnum, plain(label)))


def no_labels(labels: Iterable[str]) -> list[str]:
    """Labels that programs write where there is none."""
    return [label for label in labels if plain(label) in _NO_LABEL]


def fit_in_prompt(labels: Sequence[str]) -> bool:
    """Whether the list of labels is short enough to stand in every prompt."""
    return sum(len(label) + 3 for label in labels) <= _IN_PROMPT


def prompt_of(labels: Sequence[str], *, listed: bool, multi: bool) -> str:
    """The system message: the task, the list of labels if it is to be there, and the form of the answer."""
    answer = ANSWER_SEVERAL if multi else ANSWER
    if not listed:
        return f"{NO_LIST_OF_SEVERAL if multi else NO_LIST} {answer}"
    lines = "\n".join(f"- {label}" for label in labels)
    return f"{TASK_OF_SEVERAL if multi else TASK} {answer}\n\n{lines}"


def answer_of(labels: Sequence[str]) -> str:
    """The answer that names these labels."""
    return BETWEEN.join(labels)
