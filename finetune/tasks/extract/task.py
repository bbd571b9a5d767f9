"""``--type extract``: what a text says as one JSON object, in the fields that all rows have, or those of a JSON schema.

A row is a text with its object, or with the columns that make the object. All rows are looked at before the first becomes a
conversation: they say which fields there are and of which types. The system message names them; each row of data/*.jsonl keeps
the schema as ``json_schema``, so that it can be scored, and its answers restricted, by itself.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.errors import UserError
from finetune.models.conversation import Conversation, Message
from finetune.records.dataset import FieldOfRows
from finetune.records.files import Row
from finetune.tasks.base import RowKind, Task
from finetune.tasks.beside import SYSTEM, one_of
from finetune.tasks.extract import scoring
from finetune.tasks.extract.columns import ColumnTypes
from finetune.tasks.extract.given import given_schema
from finetune.tasks.extract.prompt import kind_of, system_message
from finetune.tasks.extract.reading import JSON, SCHEMA, TEXT, TEXTS, Reading, Roles, opened
from finetune.tasks.extract.schema import Node, UnknownSchema, root_of
from finetune.tasks.extract.survey import Survey
from finetune.tasks.row_fields import unused_fields
from finetune.tasks.values import is_empty

_MLX = ("prompt", "completion")  # mlx-lm would train on these instead of the messages
OwnRows = Callable[[], Iterator[tuple[str, Row]]]


def to_messages(row: Row) -> list[Message]:
    """The conversation of a row of which ``Reading`` has made a text and an object."""
    system = one_of(row, SYSTEM)
    found: list[Message] = [
        {"role": "system", "content": system if isinstance(system, str) else system_message(root_of(row[SCHEMA]))},
        {"role": "user", "content": row[TEXT]},
        {"role": "assistant", "content": row[JSON]},
    ]
    return found


@dataclass(frozen=True)
class _Found:
    """What was found in all rows."""

    reading: Reading
    survey: Survey
    notes: tuple[str, ...]  # what a person should know of them


def fitted(fields: tuple[str, ...], schema: Path | None, rows: OwnRows) -> RowKind:
    """The task for these rows: which of their fields are what, and the schema of their objects.

    ``fields`` are those of --fields, ``schema`` the file of --schema; ``rows`` gives all rows with their places, and can be
    called again. UserError if it cannot be told which field is what, or if the schema has something that is not known.
    """
    given = given_schema(schema) if schema else _own_schema(rows)
    found = _look(fields, given, rows)
    reading = found.reading
    system = system_message(reading.node)
    as_schema = reading.node.as_schema()
    shares = found.survey.shares()
    recorded = {
        "json_schema": as_schema,
        "system": system,
        "fields": tuple(
            FieldOfRows(path, kind_of(node), *shares.get(path, (0, found.survey.rows)))
            for path, node in reading.node.leaves()
        ),
    }

    def told(row: Row) -> Iterator[str]:
        row = opened(row)
        for name, role in ((reading.text, TEXT), (reading.json, JSON)):
            if name not in (None, role) and name in row:
                yield f"'{name}' read as {role}"
        if any(not is_empty(row.get(name)) for name in SYSTEM) and SCHEMA not in row:
            yield "rows with a system message of their own keep it: it has to name the fields"

    return replace(
        EXTRACT,
        prepared=lambda row, mend, note: {**reading.prepared(row, mend, note), SCHEMA: as_schema},
        unused=lambda row: unused_fields(row, reading.used),
        told=told,
        notes=found.notes,
        recorded=recorded,
        fitted=None,
    )


def _own_schema(rows: OwnRows) -> Node | None:
    """The schema that rows of data/*.jsonl have, if all have the same."""
    first: object = None
    for _, row in rows():
        if not isinstance(own := row.get(SCHEMA), dict) or (first is not None and own != first):
            return None
        first = own
    try:
        return None if first is None else root_of(first)
    except UnknownSchema:
        return None


def _look(fields: tuple[str, ...], given: Node | None, rows: OwnRows) -> _Found:
    roles = Roles(fields)
    for _, row in _opened(rows):
        roles.see(row)
    json = roles.json()
    columns = ColumnTypes(fields) if fields else None
    reading = Reading(roles.text(json), json, columns, given or Node(("object",)), given=given is not None)
    if columns:
        for place, row in _opened(rows):
            columns.see(row, place)
    survey = Survey()
    for place, row in _opened(rows):
        try:
            value = reading.object_of(row)
        except ValueError:  # told when the row is read
            continue
        try:
            survey.see(value, place)
        except ValueError as error:
            raise UserError(f"{place}: {error}") from None
    notes = [f"fields differ in type: {what}" for what in survey.differing if given is None]
    notes += columns.told() if columns and given is None else []
    node = given or survey.schema()
    return _Found(replace(reading, node=node, whole=survey.whole), survey, tuple(notes))


def _opened(rows: OwnRows) -> Iterator[tuple[str, Row]]:
    """The rows, conversations among them as a text with its object; without those that are refused later."""
    for place, row in rows():
        try:
            yield place, opened(row)
        except ValueError:
            continue


def _kept(row: Row) -> Row:
    """The row without what its messages were made of."""
    return {name: value for name, value in row.items() if name not in (TEXT, JSON, *SYSTEM, *_MLX)}


def _question(row: Row) -> str:
    return " ".join(Conversation.of(row).question.split())


EXTRACT = Task(
    name="extract",
    about="a text and what it says, as a JSON object (--fields, --schema)",
    to_messages=to_messages,
    known=(TEXT, JSON, SCHEMA, *TEXTS, *SYSTEM),
    writes_system=True,
    fitted=fitted,
    kept=_kept,
    open_scorer=lambda stop: nullcontext(scoring.score),
    field_table=scoring.field_table,
    metric="whole objects equal",
    measure="whole objects equal",
    has_form=False,
    kind_words=scoring.KIND_WORDS,
    malformed=scoring.MALFORMED,
    partial=scoring.PARTIAL,
    question=_question,
)
