"""Facts in a text that can be checked by looking: numbers, dates, order ids, links, e-mail addresses, names.

Two facts are the same if they share a key: "1,234.50" and "1234.5", "3 May" and "May 3rd", "#1234" and "1234". A number in
words counts as known if the prompt has it, but is not looked for in answers. Names are capitalised words inside a sentence, so
they cannot be told in a language that capitalises nouns, nor in a script without case.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from finetune.tasks.words import words

KINDS = ("number", "date", "id", "link", "e-mail address", "name")

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_LINK = re.compile(
    r"(?:https?://|www\.)[^\s<>\"')\]]+"
    r"|(?<![\w.@-])(?:[a-z0-9-]+\.)+(?:com|org|net|io|eu|de|fr|es|it|nl|uk|ch|at|app|dev|shop|info)\b(?:/[^\s<>\"')\]]*)?",
    re.IGNORECASE,
)
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            *("january jan januar", "february feb februar", "march mar märz", "april apr", "may mai", "june jun juni"),
            *("july jul juli", "august aug", "september sep sept", "october oct oktober okt", "november nov"),
            "december dec dezember dez",
        ),
        start=1,
    )
    for name in names.split()
}
_DAYS = (
    "monday tuesday wednesday thursday friday saturday sunday"
    " montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag"
).split()
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATES = (
    re.compile(r"(?<![\w-])(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})(?![\w-])"),
    re.compile(r"(?<![\w.])(?P<d>\d{1,2})(?P<between>[./-])(?P<m>\d{1,2})(?P=between)(?P<y>\d{4}|\d{2})(?!\w)"),
    re.compile(
        rf"(?<!\w)(?P<d>\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+)?(?P<m>{_MONTH})\b\.?(?:,?\s+(?P<y>\d{{4}}))?", re.I
    ),
    re.compile(rf"(?<!\w)(?P<m>{_MONTH})\.?\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?![\w:])(?:,?\s+(?P<y>\d{{4}}))?", re.I),
)
_DAY = re.compile(rf"(?<!\w)(?:{'|'.join(_DAYS)})s?(?!\w)", re.IGNORECASE)
_LISTED = re.compile(r"^[ \t]*\d{1,2}[.)](?=\s)", re.MULTILINE)  # the number of an item of a list is no fact
_ID = re.compile(
    r"#\d{2,}|(?<![\w-])(?=[A-Za-z0-9_-]*\d)(?=[A-Za-z0-9_-]*[A-Z])[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*(?![\w-])|(?<!\w)\d{6,}(?!\w)"
)
_NUMBER = re.compile(r"[$€£]?\d+(?:[.,:]\d+)*(?:[-\u2013]?[^\W\d_]+|\s?[%€$£])?")
_DIGITS = re.compile(r"\d+(?:[.,:]\d+)*")
_WORD = re.compile(r"[^\W\d_](?:[\w]|['’-](?=\w))*")
_INSIDE = re.compile(r"[ \t]+(?:& )?|, |,? ?[(\"“„«]")  # between two words of one sentence
_IN_WORDS = dict(
    zip(
        "two three four five six seven eight nine ten eleven twelve"
        " zwei drei vier fünf sechs sieben acht neun zehn elf zwölf".split(),
        [*range(2, 13)] * 2,
        strict=True,
    )
)
_NOUNS = (
    0.2  # of the words inside sentences: more capitalised ones are nouns, as in German; in English a tenth are names
)
_FEW_WORDS = 40


@dataclass(frozen=True)
class Fact:
    """A fact as it stands in a text. ``keys``: what it can be recognised by."""

    kind: str
    text: str
    keys: frozenset[str]


def facts(text: str, *, names: bool = True) -> list[Fact]:
    """The facts of a text, each once, kind by kind. ``names``: names can be told in this language."""
    found: list[Fact] = []
    text = _LISTED.sub(lambda match: " " * len(match[0]), text)

    def take(kind: str, pattern: re.Pattern[str]) -> None:
        """What is found is blanked, so that no other kind finds it again."""

        def blanked(match: re.Match[str]) -> str:
            shown = match[0].rstrip(".,;:!?")
            if not (keys := frozenset(_keys(kind, match))):
                return match[0]
            found.append(Fact(kind, shown, keys))
            return " " * len(shown) + match[0][len(shown) :]

        nonlocal text
        text = pattern.sub(blanked, text)

    take("e-mail address", _EMAIL)
    take("link", _LINK)
    for pattern in (*_DATES, _DAY):
        take("date", pattern)
    take("id", _ID)
    take("number", _NUMBER)
    if names:
        found += [Fact("name", word, frozenset({f"name {_root(word)}"})) for word in names_in(text)]
    return list({(fact.kind, fact.keys): fact for fact in reversed(found)}.values())[::-1]


def _keys(kind: str, match: re.Match[str]) -> Iterator[str]:
    text = match[0].rstrip(".,;:!?")
    if kind == "e-mail address":
        yield text.casefold()
    elif kind == "link":
        yield _address(text)
    elif kind == "date":
        yield from _date(match)
    elif kind == "id":
        plain = re.sub(r"[-_#]", "", text).casefold()
        yield plain
        for digits in re.findall(r"\d{3,}", text):
            yield from numbers(digits)
    else:
        for digits in _DIGITS.findall(text):
            yield from numbers(digits)


def _address(text: str) -> str:
    return re.sub(r"^(https?://)?(www\.)?", "", text.casefold()).rstrip("/")


def _date(match: re.Match[str]) -> Iterator[str]:
    named = match.groupdict()
    if not named:
        yield f"day {match[0].casefold().rstrip('s')}"
        return
    day, month = int(named["d"]), _MONTHS.get(named["m"].casefold()) or (int(named["m"]) if named["m"].isdigit() else 0)
    year = f"/{int(named['y']) % 100}" if named["y"] else ""
    either = named["m"].isdigit() and len(named["y"] or "") and not match[0][:4].isdigit()
    for d, m in {(day, month), (month, day)} if either else {(day, month)}:
        if 1 <= d <= 31 and 1 <= m <= 12:
            yield f"date {d}/{m}{year}"


def numbers(text: str) -> set[str]:
    """What a number with separators can be: "1,234" is 1234 in English and 1.234 in German."""
    text = "".join(str(unicodedata.digit(sign)) if sign.isdigit() else sign for sign in text)
    if ":" in text:
        return {":".join(part.lstrip("0") or "0" for part in text.split(":"))}
    signs = [sign for sign in text if sign in ".,"]
    if not signs:
        return {_plain(text)}
    if len(set(signs)) == 2:  # the last one is that of the decimals
        whole, _, part = text.rpartition(signs[-1])
        return {_plain(re.sub(r"[.,]", "", whole) + "." + part)}
    joined = _plain(text.replace(signs[0], ""))
    if len(signs) > 1:
        return {joined}
    decimal = _plain(text.replace(",", "."))
    return {joined, decimal} if len(text.rpartition(signs[0])[2]) == 3 else {decimal}


def _plain(text: str) -> str:
    whole, _, part = text.partition(".")
    part = part.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")


def known(text: str) -> set[str]:
    """The keys of all that a text says, so that a fact of an answer can be looked up: more than ``facts``, for "Hans" is known
    from "hans", and 3 from "3 May" and from "three"."""
    found = {key for fact in facts(text, names=False) for key in fact.keys}
    found |= {f"{key.rpartition('/')[0]}" for key in found if key.startswith("date ") and key.count("/") == 2}
    for digits in _DIGITS.findall(text):
        found |= numbers(digits)
    said = words(text)
    found |= {str(_IN_WORDS[word]) for word in said if word in _IN_WORDS}
    return found | {f"name {word}" for word in said} | {f"name {_root(match[0])}" for match in _WORD.finditer(text)}


def uncapitalised(text: str) -> set[str]:
    """The keys of the words that a text writes without a capital."""
    return {f"name {_root(match[0])}" for match in _WORD.finditer(text) if match[0][0].islower()}


def names_in(text: str) -> Iterator[str]:
    """The capitalised words inside sentences."""
    return (word for word, capital in _inside(text) if capital)


def _inside(text: str) -> Iterator[tuple[str, bool]]:
    """The words that do not begin a sentence or a line, and whether each has a capital."""
    end = None
    for match in _WORD.finditer(text):
        word = match[0]
        if end is not None and _INSIDE.fullmatch(text[end : match.start()]) and len(_root(word)) > 1:
            yield word, word[0].isupper() or word[0].istitle()
        end = match.end()


@cache
def _root(word: str) -> str:
    """The word without what an apostrophe adds: of "Anna's" and "I'm", "anna" and "i"."""
    return unicodedata.normalize("NFC", re.split("['’]", word)[0].casefold())


def names_hidden(texts: Iterable[str]) -> str | None:
    """Why names cannot be told in texts like these; None if they can."""
    inside = capitals = letters = cased = 0
    for text in texts:
        for _, capital in _inside(text):
            inside += 1
            capitals += capital
        letters += sum(sign.isalpha() for sign in text)
        cased += sum(sign.lower() != sign.upper() for sign in text)
    if letters and cased < letters / 2:
        return "their script has no capital letters"
    if inside >= _FEW_WORDS and capitals > _NOUNS * inside:
        return "they capitalise more words than names, as German does with nouns"
    return None
