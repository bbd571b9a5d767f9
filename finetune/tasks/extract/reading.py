"""Which fields of the rows hold the text and the object, and how a row becomes both."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from finetune.errors import UserError, closest, shell_command, shortened
from finetune.records.files import Row
from finetune.tasks import conversations
from finetune.tasks.beside import SYSTEM
from finetune.tasks.conversations import named
from finetune.tasks.extract.columns import ColumnTypes
from finetune.tasks.extract.fits import problems
from finetune.tasks.extract.objects import FENCE, canonical, object_of, written
from finetune.tasks.extract.schema import Node
from finetune.tasks.values import is_empty, is_listed, text_of

TEXT, JSON, SCHEMA = "text", "json", "json_schema"
# other names of the text, the likeliest first
TEXTS = ("line", "input", "prompt", "document", "content", "body", "question", "message", "email", "passage", "query")
_TURNS = ("messages", "conversations")
_NAMED = 5  # columns in an example
_SHOWN = 3  # problems of one row

Tell = Callable[[str], None]


def opened(row: Row) -> Row:
    """The row with the question and the answer of a conversation as its text and object. ValueError if it has several."""
    turns = next((name for name in _TURNS if is_listed(row.get(name))), None)
    if turns is None or TEXT in row or JSON in row:
        return row
    messages = conversations.to_messages({turns: row[turns]})
    roles = [message["role"] for message in messages if message["role"] != "system"]
    if roles != ["user", "assistant"]:
        raise ValueError("a conversation of more than one question and its answer (--type chat learns those)")
    found = {name: value for name, value in row.items() if name != turns}
    if messages[0]["role"] == "system":
        found.setdefault("system", messages[0]["content"])
    return {**found, TEXT: messages[-2]["content"], JSON: messages[-1]["content"]}


@dataclass
class Roles:
    """Sees all rows; then it knows which fields hold what. ``fields``: those of --fields, which make the object."""

    fields: tuple[str, ...] = ()
    rows: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    lists: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)  # of the texts of each field
    names: dict[str, None] = field(default_factory=dict)

    def see(self, row: Row) -> None:
        self.rows += 1
        for name, value in row.items():
            if len(self.names) < 1000:
                self.names[name] = None
            if isinstance(value, Mapping) or (isinstance(value, str) and _looks_like_an_object(value)):
                self.objects[name] += 1
            elif isinstance(value, str) and value.strip():
                self.texts[name] += 1
                self.characters[name] += len(value)
            self.lists[name] += isinstance(value, list)

    def json(self) -> str | None:
        """The field of the object; None with --fields. UserError if it cannot be told."""
        if self.fields:
            if JSON in self.names:
                raise UserError("--fields: the rows have a field json already (omit one of the two)")
            for name in self.fields:
                if name not in self.names:
                    near = closest(name, self.names)
                    hint = f"did you mean {near}? " if near else ""
                    raise UserError(f"--fields: no row has the field {name!r} ({hint}fields: {named(self.names)})")
            return None
        if JSON in self.names:
            return JSON
        found = [
            name for name, count in self.objects.items() if 2 * count >= self.rows and name not in (SCHEMA, *SYSTEM)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"several fields hold objects: {named(found)} (name the one to learn: {_column(JSON, found[0])})"
            )
        lists = [name for name, count in self.lists.items() if 2 * count >= self.rows]
        held = f"; {named(lists)} holds lists, and an answer is one object" if lists else ""
        raise UserError(
            f"no field holds objects (fields: {named(self.names)}){held} (name it: {_column(JSON, 'FIELD')}; or make the object"
            f" of plain fields: {self._example()})"
        )

    def _example(self) -> str:
        text = next((name for name in (TEXT, *TEXTS) if name in self.names), None)
        if text is None and self.characters:  # the longest texts, which the object is made of
            text = max(self.characters, key=lambda name: self.characters[name])
        others = [name for name in self.names if name not in (text, TEXT, *TEXTS, *SYSTEM) and "," not in name]
        more = [*others[:_NAMED], *(["..."] if len(others) > _NAMED else [])]
        column = f"{_column(TEXT, text)} " if text and text not in (TEXT, *TEXTS) else ""
        return column + shell_command("--fields", ",".join(more) or "FIELD,FIELD")

    def text(self, json: str | None) -> str:
        """The field of the text. UserError if it cannot be told."""
        taken = {json, *self.fields, SCHEMA, *SYSTEM}
        if TEXT in self.names and TEXT not in taken:
            return TEXT
        found = [name for name in self.texts if name not in taken]
        if known := [name for name in TEXTS if name in found]:
            return known[0]
        if len(found) == 1:
            return found[0]
        what = (
            f"several fields hold text: {named(found)}"
            if found
            else f"no field holds the text (fields: {named(self.names)})"
        )
        longest = found[0] if found else "FIELD"
        raise UserError(f"{what} (name the one to read: {_column(TEXT, longest)})")


def _column(name: str, other: str) -> str:
    return shell_command("--column", f"{name}={other}")


def _looks_like_an_object(text: str) -> bool:
    begin = text.lstrip("\ufeff \t\r\n")
    return begin.startswith("{") or (begin.startswith(("```", "~~~")) and FENCE.fullmatch(text) is not None)


@dataclass(frozen=True)
class Reading:
    """How a row becomes its text and its object."""

    text: str  # field of the text
    json: str | None  # field of the object; None: it is made of columns
    columns: ColumnTypes | None = None
    node: Node = field(default_factory=lambda: Node(("object",)))
    whole: frozenset[str] = frozenset()
    given: bool = False  # the schema was given, so rows may not fit it

    def object_of(self, row: Mapping[str, Any], mend: Tell = lambda what: None) -> Row:
        """The object of a row that is ``opened``. ValueError if it has none."""
        if self.json is None:
            assert self.columns
            return self.columns.object_of(row, self.node if self.given else None)
        if row.get(self.json) is None:
            raise ValueError(f"{self.json} is null, not an object" if self.json in row else f"no field {self.json}")
        return object_of(row[self.json], mend)

    def prepared(self, row: Row, mend: Tell, note: Tell) -> Row:
        """The row with its text, and its object in the form that is learned. ValueError if it has none, or does not fit."""
        row = opened(dict(row))
        if is_empty(row.get(self.text)):
            raise ValueError(f"{self.text} is empty" if self.text in row else f"no field {self.text}")
        text, found = text_of(row[self.text], self.text), self.object_of(row, mend)
        made = canonical(found, self.node, self.whole)
        _tell_changes(found, made, self.node, mend)
        if wrong := list(problems(made, self.node)):
            what = "; ".join(f"{shortened(path)}: {reason}" for path, reason in wrong[:_SHOWN])
            more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            raise ValueError(f"it does not fit the schema: {what}{more}")
        left = {name: value for name, value in row.items() if name not in self.used}
        system = {name: row[name] for name in SYSTEM if not is_empty(row.get(name))}
        if "\r\n" in text:
            mend("line ends of Windows in the text written as \\n")
            text = text.replace("\r\n", "\n")
        return {**left, **system, TEXT: text, JSON: written(made)}

    @property
    def used(self) -> frozenset[str]:
        """The fields of a row that the text and the object are made of."""
        names = self.columns.names if self.columns else (self.json,)
        return frozenset({self.text, *names, TEXT, JSON, SCHEMA, *SYSTEM, *_TURNS} - {None})


def _tell_changes(found: Any, made: Any, node: Node, mend: Tell) -> None:
    """What of an object was changed before it is learned; how it was spaced is of no interest."""
    ordered = canonical(found, node, frozenset())
    if written(ordered) != written(found):
        mend("fields of objects put into one order")
    if written(made) != written(ordered):
        mend("whole numbers such as 5.0 written as 5, as in most rows")
