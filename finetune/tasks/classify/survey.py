"""A look at all rows before the first becomes a conversation: where text and label are, which labels there are, and which of
their spellings are one label."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from finetune.errors import UserError, shortened
from finetune.models.conversation import Message
from finetune.records.dataset import Labels
from finetune.records.files import Row
from finetune.tasks.base import Asked, RowKind, Surveyed, Tell
from finetune.tasks.classify import labels as written
from finetune.tasks.classify.columns import LABEL, TEXT, Columns, Roles
from finetune.tasks.classify.labels import SEPARATORS, Spellings, label_text, no_labels, prompt_of
from finetune.tasks.values import is_empty, is_listed, listed, parsed, role_of, text_of
from finetune.tasks.words import plain
from finetune.terminal import counted

_MOST_LABELS = 1000
_FEW_ROWS = 10
_SHOWN = 5
_OURS = (written.TASK, written.TASK_OF_SEVERAL, written.NO_LIST, written.NO_LIST_OF_SEVERAL)
# what a program that trains on the rows would take for something else, and what we write ourselves
_TAKEN = {TEXT, LABEL, "messages", "conversations", "prompt", "completion", "instruction", "input", "output"}
_TAKEN |= {"system", "response", "question"}


@dataclass(frozen=True)
class _Reading:
    """How the rows of a source are read. ``names``: what each spelling of a label, as ``plain`` has it, stands for."""

    roles: Roles
    names: Mapping[str, str]
    prompt: str
    several: bool
    separator: str

    def prepared(self, row: Row, mend: Tell, note: Tell) -> Row:
        """The row with its messages and its label. ValueError if it has no text or no label."""
        row = flat(row, mend)
        value = row.get(self.roles.label)
        found = self._labels(value)
        if not self.several and isinstance(value, str) and value != value.strip():
            mend("white space around a label removed")
        as_written = found if self.several or not isinstance(value, str) else [value.strip()]
        for given, label in zip(as_written, found, strict=True):
            if (name := self.names[plain(label)]) != given:
                mend(f"label {given!r} read as {name!r}")
        labels = [name for name in self.names.values() if name in {self.names[plain(label)] for label in found}]
        text = self._text(row)
        if "\r" in text:
            note("line ends CR LF of a text read as LF")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        used = {*self.roles.texts, self.roles.label}
        others = {
            f"source_{name}" if name in _TAKEN else name: value for name, value in row.items() if name not in used
        }
        messages: list[Message] = [
            {"role": "system", "content": self.prompt},
            {"role": "user", "content": text.strip()},
            {"role": "assistant", "content": written.answer_of(labels)},
        ]
        return {**others, LABEL: labels if self.several else labels[0], "messages": messages}

    def _labels(self, value: object) -> list[str]:
        if self.several:
            return written.several(as_list(value), self.separator, self.roles.label)
        return [label_text(as_list(value), self.roles.label)]

    def _text(self, row: Row) -> str:
        parts = [text_of(row[name], name) for name in self.roles.texts if not is_empty(row.get(name))]
        if not parts:
            raise ValueError(f"{self.roles.text} is empty")
        return "\n\n".join(part.strip() for part in parts)

    def unused(self, row: Row) -> Iterator[str]:
        used = {*self.roles.texts, self.roles.label, "messages"}
        return (name for name, value in row.items() if name not in used and not is_empty(value))


def flat(row: Row, mend: Tell = lambda what: None) -> Row:
    """A conversation of one question as a row with a text and a label, so that the rows of data/*.jsonl can be read again."""
    if not is_listed(row.get("messages")):
        return row
    turns = listed(row["messages"])
    roles = [role_of(turn.get("role", turn.get("from"))) for turn in turns]
    first = 1 if roles[:1] == ["system"] else 0
    if roles[first:] != ["user", "assistant"]:
        raise ValueError("the messages are not one question with one answer (--type chat learns conversations)")
    contents = [turn.get("content", turn.get("value")) for turn in turns]
    if first and not str(contents[0]).startswith(_OURS):
        mend("system message replaced by that of the labels")
    others = {name: value for name, value in row.items() if name != "messages"}
    return {**others, TEXT: contents[first], LABEL: contents[-1] if is_empty(row.get(LABEL)) else row[LABEL]}


def as_list(value: object) -> object:
    """A list that a table has as text, as the list."""
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        try:
            found = parsed(value, "a label", python=True)
        except ValueError:
            return value
        return found if isinstance(found, list) else value
    return value


def survey(kind: RowKind, sources: Mapping[str, Iterable[Row]], asked: Asked) -> Surveyed:
    """How the rows of each source are read, and the labels of all. UserError if they have no labels, or if it is not clear
    which field has them."""
    columns = {name: _columns(name, rows) for name, rows in sources.items()}
    roles = {name: found.roles(asked.columns, name) for name, found in columns.items()}
    values = [(name, roles[name].label) for name in sources]
    if not asked.several:
        _demand_one(sources, roles)
    separator = _separator(sources, roles) if asked.several else ""
    spellings, rows, most = _counted(sources, roles, separator, several=asked.several)
    totals = spellings.totals
    _demand_labels(totals, rows, ", ".join(dict.fromkeys(label for _, label in values)), several=asked.several)
    names = list(totals)
    listed = asked.in_prompt == "yes" or (asked.in_prompt == "auto" and written.fit_in_prompt(names))
    prompt = prompt_of(names, listed=listed, multi=asked.several)
    readings = [_Reading(one, spellings.names, prompt, asked.several, separator) for one in roles.values()]
    labels = Labels(
        text=", ".join(dict.fromkeys(one.text for one in roles.values())),
        label=", ".join(dict.fromkeys(one.label for one in roles.values())),
        rows={name: {} for name in names},
        prompt=prompt,
        in_prompt=listed,
        several=asked.several,
        separator=separator or None,
        merged={given: spellings.names[plain(given)] for given in spellings.counts if given not in totals},
    )
    return Surveyed(
        kinds=[replace(kind, prepared=one.prepared, to_messages=_messages, unused=one.unused) for one in readings],
        labels=labels,
        notes=[
            *(["--multi-label: no row has several labels"] if asked.several and most < 2 else []),
            *_told(labels, columns, roles, totals),
            *_told_of_labels(totals, labels, columns, roles),
        ],
        fields={name for found in columns.values() for name in found.found} | set(asked.columns.values()),
    )


def _messages(row: Row) -> list[Message]:
    """Those that ``prepared`` has made."""
    found: list[Message] = row["messages"]
    return found


def _flattened(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, those with messages as far as they are one question."""
    for row in rows:
        try:
            yield flat(row)
        except ValueError:  # told when the row is read
            continue


def _columns(name: str, rows: Iterable[Row]) -> Columns:
    """The fields of a source. UserError if all its rows are conversations of another shape."""
    found, problem = Columns(), ""
    for row in rows:
        try:
            found.see(flat(row))
        except ValueError as error:
            problem = problem or str(error)
    if not found.rows and problem:
        raise UserError(f"{name}: {problem}")
    return found


def _values(sources: Mapping[str, Iterable[Row]], roles: Mapping[str, Roles]) -> Iterator[tuple[object, str]]:
    """The value of each row's label field, with the name of the field."""
    for name, rows in sources.items():
        label = roles[name].label
        yield from ((as_list(row.get(label)), label) for row in _flattened(rows))


def _demand_one(sources: Mapping[str, Iterable[Row]], roles: Mapping[str, Roles]) -> None:
    """UserError if rows have lists of several labels."""
    several, name = 0, ""
    for value, label in _values(sources, roles):
        if isinstance(value, list) and len(value) > 1:
            several, name = several + 1, label
    if several:
        raise UserError(f"{name}: {counted(several, 'row')} with several labels (--multi-label reads them)")


def _separator(sources: Mapping[str, Iterable[Row]], roles: Mapping[str, Roles]) -> str:
    """What stands between several labels of a row; "" if they are lists, or if no row has several."""
    found = set[str]()
    for value, _ in _values(sources, roles):
        if isinstance(value, str):
            found |= {separator for separator in SEPARATORS if separator in value}
    return next((separator for separator in SEPARATORS if separator in found), "")


def _counted(
    sources: Mapping[str, Iterable[Row]], roles: Mapping[str, Roles], separator: str, *, several: bool
) -> tuple[Spellings, int, int]:
    """The spellings of the labels, how many rows have one, and the most that a row has."""
    spellings, rows, most = Spellings(), 0, 0
    for value, what in _values(sources, roles):
        try:
            found = written.several(value, separator, what) if several else [label_text(value, what)]
        except ValueError:  # told when the row is read
            continue
        rows, most = rows + 1, max(most, len(found))
        for label in found:
            spellings.add(label)
        if len(spellings.counts) > 2 * _MOST_LABELS and len(spellings.counts) > rows // 2:
            break
    return spellings, rows, most


def _demand_labels(totals: Mapping[str, int], rows: int, label: str, *, several: bool) -> None:
    """UserError if these are no labels."""
    remedy = f"name the field of the label with --column {LABEL}=FIELD"
    if not totals:
        raise UserError(f"{label}: no row has a label there ({remedy})")
    if len(totals) == 1:
        only = f"all {counted(rows, 'row')} have the label {next(iter(totals))!r}"
        raise UserError(f"{label}: {only}, so there is nothing to learn ({remedy})")
    many = len(totals) > (rows / 2 if rows >= _FEW_ROWS else rows - 1) and rows > 2
    if len(totals) > _MOST_LABELS or (many and not several):
        free = f"for free texts as answers: --type chat --column prompt=FIELD,completion={label}"
        count = f"more than {_MOST_LABELS}" if len(totals) > _MOST_LABELS else str(len(totals))
        raise UserError(f"{label}: {count} different values in {counted(rows, 'row')} are no labels ({remedy}; {free})")


def _told(
    labels: Labels, columns: Mapping[str, Columns], roles: Mapping[str, Roles], totals: Mapping[str, int]
) -> Iterator[str]:
    """What was found, and what a person should know of it."""
    for name, one in roles.items():
        where = f" ({name})" if len(roles) > 1 else ""
        yield f"text read from {one.text}, label from {one.label}{where}"
        texts = [
            other
            for other, column in columns[name].found.items()
            if column.looks_like_texts and other not in (*one.texts, one.label)
        ]
        if texts:
            both = "+".join([*one.texts, texts[0]])
            yield f"{', '.join(map(shortened, texts))} not read as text (--column {TEXT}={both} joins it to the text)"
    if labels.separator:
        yield f"labels of a row are separated by {SEPARATORS[labels.separator]}"
    listed = "named in the prompt (--labels-in-prompt no leaves them out)"
    not_listed = "not named in the prompt, so that the base model is not told them (--labels-in-prompt yes)"
    yield f"{len(totals)} labels, {listed if labels.in_prompt else not_listed}"


def _told_of_labels(
    totals: Mapping[str, int], labels: Labels, columns: Mapping[str, Columns], roles: Mapping[str, Roles]
) -> Iterator[str]:
    """What may be wrong with the labels."""
    pairs = list(written.alike(totals))
    for rarer, usual in pairs[:_SHOWN]:
        of_both = f"{rarer!r} ({counted(totals[rarer], 'row')}) and {usual!r} ({totals[usual]})"
        yield f"labels that look alike, kept apart: {of_both}; if they are one, write them alike in the source"
    if len(pairs) > _SHOWN:
        yield f"and {counted(len(pairs) - _SHOWN, 'more pair')} of labels that look alike"
    for label in no_labels(totals):
        yield f"the label {label!r} ({counted(totals[label], 'row')}) may mean that there is none; it is learned as a label"
    if all(label.lstrip("+-").replace(".", "", 1).isdigit() for label in totals):
        yield "labels are numbers, learned as they stand (a model learns names more easily: write names into the field)"
    if not labels.several and (separator := _looks_like_several(totals)):
        example = next(label for label in totals if separator in label)
        yield f"labels such as {shortened(example)!r} may be several, learned as one (--multi-label reads several)"


def _looks_like_several(totals: Mapping[str, int]) -> str:
    """The separator with which the labels would be fewer."""
    for separator in SEPARATORS:
        compound = [label for label in totals if separator in label]
        parts = {part.strip() for label in totals for part in label.split(separator)}
        if len(compound) > 1 and len(parts) < len(totals):
            return separator
    return ""
