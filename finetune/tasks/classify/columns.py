"""Which field of the rows is the text and which is the label: by --column, by their names, and by what their values are."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from finetune.errors import UserError, closest, shell_command, shortened
from finetune.records.files import Row
from finetune.tasks.values import is_empty
from finetune.terminal import counted

TEXT, LABEL = "text", "label"
JOIN = "+"  # between the fields of which a text is joined: text=subject+body

# by preference; labels in words before their numbers
TEXT_NAMES = (
    *("text", "ticket_text", "sentence", "utterance", "message", "body", "content", "review", "review_text", "comment"),
    *("review_body", "comment_text", "tweet", "document", "article", "ticket", "email", "description", "question"),
    *("query", "prompt", "instruction", "input", "title", "headline", "subject"),
)
LABEL_NAMES = (
    *("label_text", "label_name", "label_names", "label", "labels", "category", "categories", "class", "class_name"),
    *("intent", "topic", "topics", "sentiment", "emotion", "emotions", "tag", "tags", "genre", "target"),
)
_WEAK_LABEL_NAMES = ("completion", "output", "response", "answer")  # as rows of --type chat call them
_ONE_LABEL = frozenset(
    ("label_text", "label_name", "label_names", "label", "labels")
)  # the same in words and in numbers
_NOT_LABELS = ("id", "uuid", "index", "row", "no", "date", "time", "split", "lang", "source")

_MOST_VALUES = 2000  # different values of a field that are counted
_LONGEST_LABEL = 120  # characters
_FEWEST_PER_LABEL = 3  # rows of each label on average, for a field to look like one
_MOST_FIELDS = 1000
_FEW_ROWS = 20
_SHOWN = 8


@dataclass
class Column:
    """What the values of a field look like, over all rows that have it."""

    filled: int = 0
    characters: int = 0
    words: int = 0
    texts: int = 0  # values that are text
    longest: int = 0
    lists: int = 0
    counts: Counter[str] | None = field(default_factory=Counter)  # of values; None if there are too many, or long ones

    def see(self, value: object) -> None:
        self.filled += 1
        items = value if isinstance(value, list) else [value]
        self.lists += isinstance(value, list)
        if isinstance(value, str):
            self.texts += 1
            self.characters += len(value)
            self.words += len(value.split())
        for item in items[:_MOST_VALUES]:
            shown = str(item)
            self.longest = max(self.longest, len(shown))
            if self.counts is not None:
                self.counts[shown.strip()[: _LONGEST_LABEL + 1]] += 1
        if self.counts is not None and len(self.counts) > _MOST_VALUES:
            self.counts = None

    @property
    def distinct(self) -> int | None:
        """How many different values there are; None if too many to count."""
        return None if self.counts is None else len(self.counts)

    @property
    def looks_like_labels(self) -> bool:
        """Few different short values, each several times."""
        if self.counts is None or len(self.counts) < 2 or self.longest > _LONGEST_LABEL:
            return False
        each = self.counts.total() / len(self.counts)
        return each >= (_FEWEST_PER_LABEL if self.filled >= _FEW_ROWS else 1.5)

    @property
    def looks_like_texts(self) -> bool:
        """Words, and most values are there once."""
        if self.texts < self.filled or not self.filled:
            return False
        varied = self.distinct is None or self.distinct > 0.5 * self.filled
        return varied and (self.words / self.filled >= 3 or self.characters / self.filled >= 15)


@dataclass(frozen=True)
class Roles:
    """The fields of which a text is joined, and the field of the label."""

    texts: tuple[str, ...]
    label: str

    @property
    def text(self) -> str:
        return JOIN.join(self.texts)


class Columns:
    """The fields of all rows of one source."""

    def __init__(self) -> None:
        self.rows = 0
        self.found: dict[str, Column] = {}

    def see(self, row: Row) -> None:
        self.rows += 1
        for name, value in row.items():
            if name in self.found or len(self.found) < _MOST_FIELDS:
                column = self.found.setdefault(name, Column())
                if not is_empty(value):
                    column.see(value)

    def roles(self, named: Mapping[str, str], place: str) -> Roles:
        """The text and the label; ``named``: what --column says of each. UserError if one cannot be told from the others."""
        label = named.get(LABEL)
        texts = self._joined(named[TEXT]) if TEXT in named else ()
        for name in filter(None, (*texts, label)):
            if name not in self.found:
                hint = f"did you mean {near}? " if (near := closest(name, self.found)) else ""
                raise UserError(f"--column: no row of {place} has the field {name!r} ({hint}fields: {self._names()})")
        if label in texts:
            raise UserError(f"--column: {label} cannot be both the text and the label")
        label = label or self._label(place, texts)
        return Roles(texts or (self._text(place, label),), label)

    def _joined(self, name: str) -> tuple[str, ...]:
        """The fields that --column names for the text."""
        return (name,) if name in self.found else tuple(filter(None, map(str.strip, name.split(JOIN))))

    def _label(self, place: str, texts: Collection[str]) -> str:
        others = {name: column for name, column in self.found.items() if name not in texts and column.filled}
        for names in (LABEL_NAMES, _WEAK_LABEL_NAMES):
            if by_name := _by_name(others, names):
                if len(by_name) == 1 or {*map(_simple, by_name)} <= _ONE_LABEL:
                    return by_name[0]
                raise self._ambiguous(place, "label", by_name)
        plausible = [name for name in others if not _is_other(name)]
        looks = [name for name in plausible if others[name].looks_like_labels]
        if len(looks) == 1:
            return looks[0]
        raise self._ambiguous(place, "label", looks)

    def _text(self, place: str, label: str) -> str:
        others = {name: column for name, column in self.found.items() if name != label and column.texts}
        by_name = [name for name in _by_name(others, TEXT_NAMES) if not others[name].looks_like_labels]
        if by_name:
            return by_name[0]
        looks = [name for name, column in others.items() if column.looks_like_texts]
        if len(looks) == 1:
            return looks[0]
        if len(others) == 1:
            return next(iter(others))
        raise self._ambiguous(place, "text", looks or list(others))

    def _ambiguous(self, place: str, what: str, names: Sequence[str]) -> UserError:
        """That one of several fields has to be named, or any."""
        texts = [name for name, column in self.found.items() if column.looks_like_texts and name not in names]
        labels = [name for name, column in self.found.items() if column.looks_like_labels and name not in texts]
        text = (names if what == "text" else [*_by_name(self.found, TEXT_NAMES), *texts])[:1] or ["FIELD"]
        label = (names if what == "label" else labels)[:1] or ["FIELD"]
        remedy = shell_command("--column", f"text={text[0]},label={label[0]}")
        if not names:
            known = f"fields: {self._names()}"
            return UserError(f"{place}: no field looks like the {what} (name them: {remedy}; {known})")
        shown = ", ".join(f"{shortened(name)} ({self._values(name)})" for name in names[:_SHOWN])
        several = f"{what}s that could be meant" if what == "text" else "labels that could be meant"
        joined = f"; to read both as one text: text={JOIN.join(names[:2])}" if what == "text" and len(names) > 1 else ""
        return UserError(f"{place}: {several}: {shown} (name one, for example {remedy}{joined})")

    def _values(self, name: str) -> str:
        distinct = self.found[name].distinct
        return "many values" if distinct is None else counted(distinct, "value")

    def _names(self) -> str:
        names = [shortened(name) for name in self.found]
        return ", ".join([*names[:12], *(["..."] if len(names) > 12 else [])]) or "none"


def _simple(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _by_name(columns: Iterable[str], names: Sequence[str]) -> list[str]:
    """The fields with one of these names, or one that ends with it; in the order of the names."""
    simple = {name: _simple(name) for name in columns}
    exact = [name for wanted in names for name in simple if simple[name] == wanted]
    ends = [name for wanted in names for name in simple if simple[name].endswith(f"_{wanted}") and name not in exact]
    return [*exact, *dict.fromkeys(ends)]


def _is_other(name: str) -> bool:
    """Whether the name says that it is something else, such as a number or a date."""
    simple = _simple(name)
    return simple in _NOT_LABELS or simple.endswith(tuple(f"_{other}" for other in _NOT_LABELS))
