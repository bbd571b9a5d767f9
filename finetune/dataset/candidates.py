"""Source rows one by one: fields named, made into a conversation, checked."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from finetune.dataset import preflight, systems
from finetune.dataset.columns import check_fields, hidden, parsed_columns, renamed, used
from finetune.dataset.documents import LONGEST, Cutter
from finetune.dataset.findings import Findings, RowError
from finetune.dataset.sources import SourcedRow
from finetune.errors import UserError, closest
from finetune.records.files import Row, encoded
from finetune.settings.config import DatasetConfig
from finetune.tasks import mixed, thinking
from finetune.tasks.base import BadRow, RowKind
from finetune.tasks.conversations import PLAIN_TEXT, named, shape_of
from finetune.tasks.row_fields import ignoring, unused_fields, without_other_tools

_OWN_TYPE = "source_type"
_FIELDS = 1000  # names that are remembered for an error
_PLAIN = f"text without the marks of a chat, learned as an answer to '{PLAIN_TEXT}' (--type text: learned as it is)"
_EARLIER_CALLS = (
    "calls of tools before the last turn: learned; but later the last turn alone is judged (end rows at their call)"
)
_MARKED = "texts with the marks of a chat, learned as conversations"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that can be trained on. The hashes are of 16 bytes; equal texts have equal ones."""

    place: str  # in the source, for messages
    row: Row  # messages, and the fields that stay beside them; or a piece of a document
    split: str | None  # of the source's own
    prompt: bytes  # hash of the exact prompt
    answer: bytes  # hash of the answer
    other: bytes  # hash of what else is learned with the answer, such as the worse one of a pair; b"" for nothing
    likeness: bytes  # hash of what must stay in one split: prompts that differ only in case, white space or punctuation
    apart: str = ""  # the value of --split-by


@dataclass
class Candidates:
    """What was read of the sources."""

    read: int = 0
    usable: int = 0  # rows that can be trained on
    without_system: Counter[bool] = field(default_factory=Counter)  # rows without a system message; True: with tools
    documents: int = 0  # those that were cut into pieces; then rows are pieces
    recognised: Counter[str] = field(default_factory=Counter)  # fields read under other names -> rows
    ignored: dict[str, bool] = field(default_factory=dict)  # fields of --ignore, and whether a row has them unused
    fields: dict[str, None] = field(default_factory=dict)  # of all rows, in order; of rows with too many, some


def read_candidates(
    sourced: Iterable[SourcedRow],
    config: DatasetConfig,
    task: RowKind,
    findings: Findings,
    add: Callable[[Candidate], None],
    found: Candidates,
    cutter: Cutter | None = None,
) -> None:
    """Check every row of a source and ``add`` it; what was read is counted in ``found``, and what cannot be trained on goes to
    ``findings``.

    With ``cutter`` rows are documents, and what is added and counted are their pieces.
    """
    columns = parsed_columns(config.column)
    ignored, fields, wanted = found.ignored, found.fields, _wanted(config)
    for name in filter(None, map(str.strip, (config.ignore or "").split(","))):
        ignored.setdefault(name, False)
    for sourced_row in sourced:
        place, row = sourced_row.place, sourced_row.row
        if row is None and not sourced_row.problem:
            findings.blank_lines += 1
            continue
        found.read += 1
        if row is None:
            findings.errors.append(RowError(place, sourced_row.problem, sourced_row.text))
            continue
        for reason in sourced_row.mended:
            findings.mend(reason, place)
        _leave(sourced_row.left, place, ignored, config, findings)  # no row can hold it
        if wanted:
            fields.update(dict.fromkeys(row if len(fields) < _FIELDS else (name for name in wanted if name in row)))
        if preflight.too_long(row, most := LONGEST if cutter else preflight.LONGEST, ignored):
            findings.drop(f"longer than {most:,} characters", place)
            continue
        try:
            row_named = renamed(row, columns, task, found.recognised)
            made = _made(sourced_row, row_named, config, task, findings, cutter, found, ignored)
            if cutter:
                found.documents += bool(made)
                found.read += max(0, len(made) - 1)
            as_read, had = ignoring(row_named, ignored)
            ignored.update(dict.fromkeys(had, True))
            found.recognised.update(task.told(as_read))
            unused = task.unused(as_read) if task.unused else unused_fields(as_read, used(task))
            _leave(hidden(row, columns), place, ignored, config, findings)
            _leave(unused if not sourced_row.is_builtin else (), place, ignored, config, findings)
            if task.name == "chat" and shape_of(row_named) == ("text",):
                _tell_text(made[0], found, findings)
            for candidate in made:
                add(candidate)
            found.usable += len(made)
        except BadRow as error:
            known = f"; known: {error.known}" if error.known else ""
            findings.errors.append(RowError(place, f"{error} (fields: {named(row)}{known})", row, error.remedy(row)))
        except ValueError as error:
            findings.errors.append(RowError(place, str(error), row))


def of_no_use(config: DatasetConfig, found: Candidates) -> Iterator[str]:
    """The flags that were given for something that no row has."""
    if config.thinking and not any(what in found.recognised for what in thinking.TOLD.values()):
        yield f"--thinking {config.thinking}: no answer has thinking"
    if config.system and systems.ADDED not in found.recognised:
        yield f"--system: {systems.KEPT}"
    for name, is_there in found.ignored.items():
        if not is_there:
            yield f"--ignore {name}: no row has it, or it is used"


def _wanted(config: DatasetConfig) -> list[str]:
    """The fields that flags name."""
    return [*parsed_columns(config.column), *([config.split_by] if config.split_by else [])]


def demand_fields(config: DatasetConfig, found: Candidates) -> None:
    """UserError if no row has a field that a flag names."""
    columns = parsed_columns(config.column)
    for name in _wanted(config):
        if found.fields and name not in found.fields and name not in columns.values():
            hint = f"did you mean {near}? " if (near := closest(name, found.fields)) else ""
            source = "--column" if name in columns else "--split-by"
            raise UserError(f"{source}: no row has the field {name!r} ({hint}fields: {named(found.fields)})")


def _leave(
    names: Iterable[str], place: str, ignored: dict[str, bool], config: DatasetConfig, findings: Findings
) -> None:
    """Count what is not used, such as "id" or "name in messages", unless --ignore or --split-by has the field."""
    for name in names:
        if ignored.keys() & (names := {name, name.partition(" in ")[0]}):
            ignored.update(dict.fromkeys(ignored.keys() & names, True))
        elif name != config.split_by:
            findings.leave(name, place)


def _tell_text(candidate: Candidate, found: Candidates, findings: Findings) -> None:
    """Tell what became of a text that was read as a conversation."""
    if any(message["content"] == PLAIN_TEXT for message in candidate.row["messages"][:2]):
        findings.mend(_PLAIN, candidate.place)
    else:
        found.recognised[_MARKED] += 1


def _made(
    sourced: SourcedRow,
    row: Row,
    config: DatasetConfig,
    task: RowKind,
    findings: Findings,
    cutter: Cutter | None,
    found: Candidates,
    ignored: Collection[str],
) -> list[Candidate]:
    """What becomes of a row: its pieces if it is a document, else itself."""
    if cutter:
        return _pieces(sourced, row, config, task, findings, cutter)
    return [_candidate(sourced, row, config, task, findings, found, ignored)]


def _candidate(
    sourced: SourcedRow,
    row: Row,
    config: DatasetConfig,
    task: RowKind,
    findings: Findings,
    found: Candidates,
    ignored: Collection[str] = (),
) -> Candidate:
    row = dict(row)
    check_fields(row, task)
    if problem := preflight.unwritable(row):
        raise ValueError(problem)
    place = sourced.place
    row = task.prepared(row, lambda what: findings.mend(what, place), lambda what: findings.note(what, place))
    as_read = ignoring(row, ignored)[0]
    messages = task.to_messages(as_read)
    messages = thinking.applied(messages, config.thinking, lambda what: found.recognised.update([what]))
    # a text without a prompt of its own is told from others by itself
    text = messages[-1]["content"] if messages[0]["content"] == PLAIN_TEXT else ""
    messages = systems.added(messages, None if task.writes_system else config.system, found.recognised)
    messages = preflight.checked(messages, lambda reason: findings.mend(reason, place), config.learn)
    apart = _apart(sourced, row, config)
    likeness = preflight.likeness(messages) + text
    kept = as_read if task.scored_as else row  # of a pair the answers are kept, as they were read
    kept = without_other_tools(kept, task, ignored, lambda what: findings.note(what, place))
    row = {**task.kept(kept), "messages": messages}
    if not systems.has_one(messages):
        found.without_system[bool(row.get("tools"))] += 1
    if any(m.get("tool_calls") for m in messages[:-1]) and not messages[-1].get("tool_calls"):
        found.recognised.update([_EARLIER_CALLS])
    row = _typed(row, task, config, found, lambda what: findings.mend(what, place))
    if "rejected" in row and task.scored_as:
        row = thinking.paired(row, config.thinking)
    accepted = row.get("accepted")
    if task.several_answers and not (isinstance(accepted, list) and all(isinstance(text, str) for text in accepted)):
        row.pop("accepted", None)
    split = sourced.split if config.keep_splits else None
    prompt = preflight.prompt_text(messages[:-1], row.get("tools") or ()) + text
    answer = preflight.answer_text(messages[-1])
    return Candidate(sourced.place, row, split, _hash(prompt), _hash(answer), _other(row, task), _hash(likeness), apart)


def _typed(row: Row, task: RowKind, config: DatasetConfig, found: Candidates, mend: Callable[[str], None]) -> Row:
    """The row with its type, if that is not --type: by it its task is found. A field ``type`` of its own has another name then,
    and if it would say one."""
    is_other = task.name != config.type_
    if mixed.says_other(row, task) or (is_other and row.get(mixed.TYPE) not in (None, "", task.name)):
        if is_other:
            found.recognised[f"the field {mixed.TYPE} of {task.name} rows is kept as {_OWN_TYPE}"] += 1
        else:
            mend(f"its field {mixed.TYPE} names a kind of rows, and is kept as {_OWN_TYPE}")
        row = {_OWN_TYPE if name == mixed.TYPE else name: value for name, value in row.items()}
    return {**row, mixed.TYPE: task.name} if is_other else row


def _other(row: Row, task: RowKind) -> bytes:
    """What tells rows with one prompt and one answer apart: the worse answer of a pair."""
    return _hash(encoded({"rejected": row["rejected"]})) if task.name == "preference" else b""


def _apart(sourced: SourcedRow, row: Row, config: DatasetConfig) -> str:
    value = {**(sourced.row or {}), **row}.get(config.split_by) if config.split_by else ""
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"--split-by: {config.split_by} is neither text nor a number (fields: {named(row)})")
    return str(value)


def _pieces(
    sourced: SourcedRow, row: Row, config: DatasetConfig, task: RowKind, findings: Findings, cutter: Cutter
) -> list[Candidate]:
    """The pieces of a document, which stay in one split; a document that is there twice is a duplicate with all its pieces."""
    if "text" in row and isinstance(row["text"], str) and not row["text"].strip():
        findings.drop("empty document", sourced.place)
        return []
    row = dict(row)
    check_fields(row, task)
    if problem := preflight.unwritable(row):
        raise ValueError(problem)
    text, apart = row["text"], _apart(sourced, row, config)
    document, made = _hash(text), cutter.checked(text, sourced.place, findings)
    return [
        Candidate(
            f"{sourced.place} piece {piece['piece']}" if len(made) > 1 else sourced.place,
            piece,
            sourced.split if config.keep_splits else None,
            prompt=_hash(f"{document.hex()} {piece['piece']}"),
            answer=document,
            other=b"",
            likeness=document,
            apart=apart,
        )
        for piece in made
    ]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
