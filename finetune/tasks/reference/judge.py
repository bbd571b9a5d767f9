"""The score of an answer against a reference text.

Right or wrong: a reference that is JSON (compared as values), or code (compared by its tokens). Graded: other texts, by the
words in common; if the reference holds numbers, brackets or code, an answer without them, in order, is wrong. Not judged: long
code, and long texts with numbers, because other ones can be right too.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from finetune.errors import shortened
from finetune.tasks.base import Score
from finetune.tasks.reference import code, json_text, yaml_text
from finetune.tasks.reference.items import Item, agree, items
from finetune.tasks.text_overlap import overlap_in_order, token_f1
from finetune.tasks.words import words

KIND_WORDS = {
    "empty": "no text",
    "different": "no word in common with the reference",
    "partial": "some words in common with the reference",
    "wrong_numbers": "other numbers than the reference",
    "wrong_brackets": "other brackets than the reference",
    "wrong_values": "JSON with other values",
    "invalid_json": "no valid JSON",
    "wrong_format": "the right words or values in the wrong form",
    "other_code": "other code than the reference",
    "long_reference": "a long reference with numbers or code: another text can be right too",
}
MALFORMED = frozenset({"empty", "wrong_format", "invalid_json"})
VALID = "valid JSON"  # a part
_LONGEST_CODE = 60  # tokens of code that has one right form
_LONGEST_TEXT = 60  # words of a text that has to have these numbers
_SPACED = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)")
_LONGEST_STATEMENT = 20  # words around a number that is the whole reference
_LIMITS = frozenset(
    "not no nor never neither without cannot wrong false incorrect except unless if less more fewer than over under above below"
    " least most about approximately approx roughly around nearly almost between or either maybe perhaps probably possibly"
    " might may could would plus minus times divided".split()
)
_DENIED = re.compile(r"n['\u2019]t\b", re.IGNORECASE)
_READ = 20_000  # characters of an answer
_MOST = 0.99  # of words in common: 1 is for what is right


def has_form(reference: str) -> bool:
    """Whether an answer to the reference can be malformed, because it has to be JSON."""
    return _json(reference) is not None


def measure(reference: str) -> str:
    """What decides about answers to the reference, after "better by"."""
    if has_form(reference):
        return "equal JSON values"
    return "the same code" if code.is_code(reference) else "word overlap only"


def compared(reference: str, answer: str, parts: Mapping[str, float], *, same: bool) -> Score:
    """The score of an answer, which is not empty. ``same``: it is the reference, but for case and outer punctuation; that is
    right if the reference has no numbers and no code. ``parts`` are what else was measured."""
    if answer.strip() == reference.strip():
        return Score(1.0, "ok", "", parts)
    answer = answer[:_READ]
    if (expected := _json(reference)) is not None:
        return _by_values(expected[0], answer, parts)
    if code.is_code(reference):
        return _by_tokens(reference, answer, parts)
    expected_items = items(code.without_marks(reference))
    pieces = code.pieces(reference)
    length = len(words(reference))
    if pieces or _is_hard(reference, answer, expected_items, length):
        return _by_items(reference, expected_items, answer, parts, length)
    if same:
        return Score(1.0, "ok", "", parts)
    return _by_overlap(min(token_f1(reference, answer), _MOST), parts)


def _json(reference: str) -> tuple[Any] | None:
    """The value of a reference that is JSON, in a tuple, because it can be anything; None if it is not."""
    try:
        return (json_text.read(code.unfenced(reference)),)
    except json_text.NoJson:
        return None


def _by_values(expected: Any, answer: str, parts: Mapping[str, float]) -> Score:
    bare = code.unfenced(answer)
    try:
        found = json_text.read(bare)
    except json_text.NoJson:
        parts = {**parts, VALID: 0.0}
        try:
            inside = json_text.read_inside(bare)
        except json_text.NoJson:
            return Score(0.0, "invalid_json", "", parts)
        if _wrong(expected, inside):
            return Score(0.0, "invalid_json", "no JSON alone, and other values", parts)
        return Score(0.0, "wrong_format", "the right values, but the answer is not JSON alone", parts)
    wrong = _wrong(expected, found)
    return Score(float(not wrong), "wrong_values" if wrong else "ok", wrong, {**parts, VALID: 1.0})


def _wrong(expected: Any, found: Any) -> str:
    """The first places at which the values differ; empty if they do not."""
    try:
        return "; ".join(islice(json_text.differences(expected, found), 3))
    except RecursionError:
        return "nested too deeply to be compared"


def _by_tokens(reference: str, answer: str, parts: Mapping[str, float]) -> Score:
    bare = code.unfenced(reference)
    expected = code.tokens(bare)
    if code.tokens(code.unfenced(answer), like=bare) == expected:
        return Score(1.0, "ok", "", parts)
    if code.is_yaml(reference) and yaml_text.same(bare, code.unfenced(answer)):
        return Score(1.0, "ok", "", parts)
    if len(expected) > _LONGEST_CODE:
        why = f"the reference is code of more than {_LONGEST_CODE} tokens: other code can be right too"
        return Score(None, "long_reference", why, parts)
    return Score(0.0, "other_code", f"expected: {shortened(' '.join(reference.split()), 100)}", parts)


def _is_hard(reference: str, answer: str, of_reference: Sequence[Item], length: int) -> bool:
    """Whether a reference holds something that must be the same; in a long text, the "two" of a sentence is not. "One" is if
    the answer has digits."""
    if any(char.isdecimal() or char in "[]{}" for char in reference):
        return True
    digits = any(map(str.isdecimal, answer))
    return length <= _LONGEST_TEXT and any(item.hard and (digits or not item.optional) for item in of_reference)


def _by_items(
    reference: str, of_reference: Sequence[Item], answer: str, parts: Mapping[str, float], length: int
) -> Score:
    bare = code.without_marks(answer)
    found = items(bare, like=reference)
    if length > _LONGEST_TEXT:
        why = f"the reference has more than {_LONGEST_TEXT} words, and numbers or code: other text can be right too"
        return Score(None, "long_reference", why, parts)
    said, start = code.tokens(bare, like=""), 0
    for piece in code.pieces(reference):
        start = code.within(code.tokens(piece, like=""), said, start)
        if start < 0:
            return Score(0.0, "other_code", f"expected: {shortened(piece, 100)}", parts)
    if differ := agree(of_reference, found):
        # "1,5" can be two numbers, and "1 000" one
        texts = [code.without_marks(text) for text in (reference, answer)]
        listed = [items(text, like=reference, listed=True) for text in texts]
        grouped = [
            items(_SPACED.sub(lambda number: number[0].replace(" ", ""), text), like=reference) for text in texts
        ]
        other = next((sides for sides in (listed, grouped) if not agree(*sides)), None)
        if other is None:
            return _not_agreeing(*differ, parts)
        of_reference, found = other
    of_reference, found = ([item for item in side if item.key != "-"] for side in (of_reference, found))
    if len(of_reference) == len(found) and all(
        one.same(other) and one.unit == other.unit for one, other in zip(of_reference, found, strict=True)
    ):
        return Score(1.0, "ok", "", parts)
    if _is_stated(of_reference, answer, found):
        return Score(1.0, "ok", "", parts)
    ones, others = [item.key for item in of_reference], [item.key for item in found][:_READ]
    return _by_overlap(min(overlap_in_order(ones, others), _MOST), parts)


def _is_stated(of_reference: Sequence[Item], answer: str, found: Sequence[Item]) -> bool:
    """Whether the reference is one number, and the answer a sentence that says it, with its unit and without a word that could
    deny or limit it."""
    expected, stated = ([item for item in side if item.is_number] for side in (of_reference, found))
    alone = all(item.is_number or item.key.startswith("unit ") for item in of_reference)
    if len(expected) != 1 or len(stated) != 1 or not alone or expected[0].unit not in ("", stated[0].unit):
        return False
    said = words(answer)
    is_sentence = len(said) <= _LONGEST_STATEMENT and len(answer.strip().splitlines()) == 1 and "?" not in answer
    return is_sentence and not any(word in _LIMITS for word in said) and not _DENIED.search(answer)


def _not_agreeing(expected: Item | None, found: Item | None, parts: Mapping[str, float]) -> Score:
    sides = [f"{item.limit} {item.raw} {item.unit}".strip() if item else "nothing more" for item in (expected, found)]
    brackets = any(item and item.raw in ("[", "]", "{", "}") for item in (expected, found))
    kind = "wrong_brackets" if brackets else "wrong_numbers"
    return Score(0.0, kind, f"expected {shortened(sides[0])}, found {shortened(sides[1])}", parts)


def _by_overlap(value: float, parts: Mapping[str, float]) -> Score:
    if not value:
        return Score(0.0, "different", "no word in common with the reference", parts)
    return Score(value, "partial", f"word overlap {value:.2f}", parts)
