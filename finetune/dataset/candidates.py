"""Source rows one by one: fields named, made into a conversation, checked; and the rows that are left without duplicates."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from finetune.dataset import preflight
from finetune.dataset.documents import LONGEST, Cutter
from finetune.dataset.findings import Findings, RowError
from finetune.dataset.sources import SourcedRow, demand_rows_fit
from finetune.errors import UserError, closest
from finetune.records.files import Row
from finetune.settings.config import DatasetConfig
from finetune.tasks import thinking
from finetune.tasks.base import BadRow, RowKind
from finetune.tasks.conversations import PLAIN_TEXT, column_remedy, ignoring, named, shape_of, unused_fields
from finetune.tasks.values import text_of

_MOST_ROWS = 5_000_000
_PLAIN = f"text without the marks of a chat, learned as an answer to '{PLAIN_TEXT}' (--type text: learned as it is)"
_MARKED = "texts with the marks of a chat, learned as conversations"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that can be trained on. The hashes are hexadecimal; equal texts have equal ones."""

    place: str  # in the source, for messages
    row: Row  # messages, and the fields that stay beside them; or a piece of a document
    split: str | None  # of the source's own
    prompt: str  # hash of the exact prompt
    answer: str  # hash of the answer
    group: str  # hash of what must stay in one split: prompts that differ only in case, white space or punctuation
    apart: str = ""  # the value of --split-by


@dataclass
class Candidates:
    """The rows of a source that can be trained on, and how many rows it has."""

    rows: list[Candidate] = field(default_factory=list)
    read: int = 0
    documents: int = 0  # those that were cut into pieces; then rows are pieces
    recognised: Counter[str] = field(default_factory=Counter)  # fields read under other names -> rows
    notes: list[str] = field(default_factory=list)


def most_rows(config: DatasetConfig) -> int:
    """How many rows a source may have: each takes two kilobytes or more until the sample is taken."""
    return max(_MOST_ROWS, config.sample_size)


def read_candidates(
    sourced: Iterable[SourcedRow],
    config: DatasetConfig,
    task: RowKind,
    findings: Findings,
    cutter: Cutter | None = None,
) -> Candidates:
    """Check every row; what cannot be trained on goes to ``findings``. UserError if no row has a field that a flag names.

    With ``cutter`` rows are documents, and what is counted are their pieces.
    """
    columns = parsed_columns(config.column)
    found = Candidates()
    ignored = dict.fromkeys(filter(None, map(str.strip, (config.ignore or "").split(","))), False)
    wanted = [*columns, *([config.split_by] if config.split_by else [])]
    fields: dict[str, None] = {}  # of all rows, in order
    for sourced_row in sourced:
        place, row = sourced_row.place, sourced_row.row
        if row is None and not sourced_row.problem:
            findings.blank_lines += 1
            continue
        found.read += 1
        demand_rows_fit(place, found.read, most_rows(config))
        if row is None:
            findings.errors.append(RowError(place, sourced_row.problem, sourced_row.text))
            continue
        for reason in sourced_row.mended:
            findings.mend(reason, place)
        _leave(sourced_row.left, place, ignored, config, findings)  # no row can hold it
        if wanted:
            fields |= dict.fromkeys(row)
        if preflight.too_long(row, most := LONGEST if cutter else preflight.LONGEST):
            findings.drop(f"longer than {most:,} characters", place)
            continue
        try:
            row_named = _named(row, columns, task, found)
            made = _made(sourced_row, row_named, config, task, findings, cutter, found, ignored)
            if cutter:
                found.documents += bool(made)
                found.read += max(0, len(made) - 1)
            as_read, had = ignoring(row_named, ignored)
            ignored |= dict.fromkeys(had, True)
            found.recognised.update(task.told(as_read))
            unused = task.unused(as_read) if task.unused else unused_fields(as_read, _used(task))
            _leave(unused, place, ignored, config, findings)
            if task.name == "chat" and shape_of(row_named) == ("text",):
                _tell_text(made[0], found, findings)
            found.rows += made
        except BadRow as error:
            known = f"; known: {error.known}" if error.known else ""
            findings.errors.append(RowError(place, f"{error} (fields: {named(row)}{known})", row, error.remedy(row)))
        except ValueError as error:
            findings.errors.append(RowError(place, str(error), row))
    if config.thinking and not any(what in found.recognised for what in thinking.TOLD.values()):
        found.notes.append(f"--thinking {config.thinking}: no answer has thinking")
    found.notes += [
        f"--ignore {name}: no row has it, or it is used" for name, is_there in ignored.items() if not is_there
    ]
    _demand_fields(wanted, columns, fields)
    return found


def _demand_fields(wanted: Collection[str], columns: Mapping[str, str], fields: Collection[str]) -> None:
    """UserError if no row has a field that a flag names; ``columns`` are those of --column."""
    for name in wanted:
        if fields and name not in fields and name not in columns.values():
            hint = f"did you mean {near}? " if (near := closest(name, fields)) else ""
            source = "--column" if name in columns else "--split-by"
            raise UserError(f"{source}: no row has the field {name!r} ({hint}fields: {named(fields)})")


def _leave(
    names: Iterable[str], place: str, ignored: dict[str, bool], config: DatasetConfig, findings: Findings
) -> None:
    """Count what is not used, such as "id" or "name in messages", unless --ignore or --split-by has the field."""
    for name in names:
        if (field_name := name.partition(" in ")[0]) in ignored:
            ignored[field_name] = True
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
    _check_fields(row, task)
    if problem := preflight.unwritable(row):
        raise ValueError(problem)
    place = sourced.place
    row = task.prepared(row, lambda what: findings.mend(what, place), lambda what: findings.note(what, place))
    messages = task.to_messages(ignoring(row, ignored)[0])
    messages = thinking.applied(messages, config.thinking, lambda what: found.recognised.update([what]))
    # a text without a prompt of its own is told from others by itself
    text = messages[-1]["content"] if messages[0]["content"] == PLAIN_TEXT else ""
    messages = preflight.checked(messages, lambda reason: findings.mend(reason, place), config.learn)
    apart = _apart(sourced, row, config)
    group = preflight.likeness(messages) + text
    answer = preflight.answer_text(messages[-1])
    row = {**task.kept(row), "messages": messages}
    if "rejected" in row and task.scored_as:
        row = thinking.paired(row, config.thinking)
    accepted = row.get("accepted")
    if task.several_answers and not (isinstance(accepted, list) and all(isinstance(text, str) for text in accepted)):
        row.pop("accepted", None)
    prompt = _hash(preflight.prompt_text(messages[:-1], row.get("tools") or ()) + text)
    return Candidate(sourced.place, row, sourced.split, prompt, _hash(answer), _hash(group), apart)


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
    _check_fields(row, task)
    if problem := preflight.unwritable(row):
        raise ValueError(problem)
    text, apart = row["text"], _apart(sourced, row, config)
    document, made = _hash(text), cutter.checked(text, sourced.place, findings)
    return [
        Candidate(
            f"{sourced.place} piece {piece['piece']}" if len(made) > 1 else sourced.place,
            piece,
            sourced.split,
            _hash(f"{document} {piece['piece']}"),
            document,
            document,
            apart,
        )
        for piece in made
    ]


def _used(task: RowKind) -> tuple[str, ...]:
    several = ("accepted",) if task.several_answers else ()
    return (*task.required, *task.optional, *task.known, *several)


def _check_fields(row: Row, task: RowKind) -> None:
    if absent := [name for name in task.required if name not in row]:
        flags = ",".join(f"{name}=FIELD" for name in absent)

        def remedy(source: Row) -> str:
            other = f"for prompts and answers of another kind: --type chat, and {column_remedy(source)}"
            return f"if the field has another name: --column {flags}; {other}"

        raise BadRow(f"no field {' and no field '.join(absent)}", remedy)
    for name in task.required:
        row[name] = text_of(row[name], name)
    for name in task.optional:
        if row.get(name) is not None and not isinstance(row[name], str):
            row[name] = text_of(row[name], name)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def parsed_columns(text: str | None) -> dict[str, str]:
    """ "new=old,new=old" of --column, as old -> new. UserError if a field is named twice on either side."""
    columns: dict[str, str] = {}
    for pair in (text or "").split(","):
        if not pair:
            continue
        new, _, old = map(str.strip, pair.partition("="))
        if not new or not old or "=" in old:
            raise UserError(f"--column: {text!r} does not have the form sql=query,sql_prompt=question")
        if old in columns:
            raise UserError(f"--column: {old!r} cannot be both {columns[old]} and {new} (one column for one field)")
        if new in columns.values():
            other = next(name for name, field in columns.items() if field == new)
            raise UserError(f"--column: {new} cannot be read from both {other!r} and {old!r} (give one column)")
        columns[old] = new
    return columns


def _named(row: Row, columns: dict[str, str], task: RowKind, found: Candidates) -> Row:
    """The row with the task's own field names: those that --column gives, else those known to mean the same."""
    names = {old: new for old, new in columns.items() if old in row}
    for name in (*task.required, *task.optional):
        if name not in row and name not in columns.values():
            for other in task.aliases.get(name, ()):
                if other in row and other not in names:
                    names[other] = name
                    found.recognised[f"'{other}' read as {name}"] += 1
                    break
    kept = {name: value for name, value in row.items() if name in names or name not in names.values()}
    return {names.get(name, name): value for name, value in kept.items()} if names else row


def distinct(candidates: Iterable[Candidate], task: RowKind, findings: Findings) -> Iterator[Candidate]:
    """Each prompt with each of its answers once; if the task knows several answers, each prompt once with all of them."""
    kept: dict[str, Candidate] = {}
    accepted: dict[str, list[str]] = {}
    for candidate in candidates:
        key = candidate.prompt if task.several_answers else candidate.prompt + candidate.answer
        first = kept.setdefault(key, candidate)
        if task.several_answers:
            answers = accepted.setdefault(key, list(first.row.get("accepted", ())))
            if (answer := candidate.row["messages"][-1]["content"]) not in answers:
                answers.append(answer)
        if first is not candidate:
            same = first.answer == candidate.answer
            findings.drop("duplicate row" if same else "another answer to a prompt, accepted as well", candidate.place)
    for key, candidate in kept.items():
        yield replace(candidate, row={**candidate.row, "accepted": accepted[key]}) if key in accepted else candidate
