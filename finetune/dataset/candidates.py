"""One source row after the other: named, made into a conversation, checked; and what is left once each stands once."""

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from finetune.dataset import preflight
from finetune.dataset.preflight import Findings
from finetune.dataset.sources import SourcedRow
from finetune.errors import UserError
from finetune.records.files import Row
from finetune.settings.config import DatasetConfig
from finetune.tasks.base import RowKind
from finetune.tasks.conversations import PLAIN_TEXT, named


@dataclass(frozen=True, slots=True)
class Candidate:
    place: str
    row: Row
    split: str | None  # of the source's own
    prompt: bytes  # hash of the prompt to the letter
    answer: bytes  # hash of what is answered
    group: bytes  # hash of what must not be divided between splits
    apart: str = ""  # the value of --split-by


def read_candidates(
    sourced: Iterable[SourcedRow], config: DatasetConfig, task: RowKind, findings: Findings, recognised: Counter[str]
) -> tuple[list[Candidate], int]:
    """The rows that can be trained on, and how many were read; what cannot goes to ``findings``."""
    columns = _columns(config.column)
    found, read = [], 0
    wanted = [*columns, *([config.split_by] if config.split_by else [])]
    fields: dict[str, None] = {}  # of all rows, in order
    for sourced_row in sourced:
        place, row = sourced_row.place, sourced_row.row
        if row is None and not sourced_row.problem:
            findings.blank_lines += 1
            continue
        read += 1
        if row is None:
            findings.error(place, sourced_row.problem, sourced_row.text)
            continue
        if wanted:
            fields |= dict.fromkeys(row)
        try:
            found.append(_candidate(sourced_row, _named(row, columns, task, recognised), config, task, findings))
        except _Dropped as reason:
            findings.drop(str(reason), place)
        except ValueError as error:
            findings.error(place, str(error), row)
    for name in wanted:
        if fields and name not in fields and name not in columns.values():
            nearest = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {nearest[0]}? " if nearest else ""
            source = "--column" if name in columns else "--split-by"
            raise UserError(f"{source}: no row has {name!r} ({hint}fields: {named(fields)})")
    return found, read


class _Dropped(Exception):
    """The row is left out by rule."""


def _candidate(sourced: SourcedRow, row: Row, config: DatasetConfig, task: RowKind, findings: Findings) -> Candidate:
    if preflight.too_long(row):
        raise _Dropped("longer than 200,000 characters")
    missing = [name for name in task.required if not isinstance(row.get(name), str) or not row[name].strip()]
    if missing:
        raise ValueError(f"no text in {', '.join(missing)} (fields: {named(row)})")
    for name in task.optional:
        if row.get(name) is not None and not isinstance(row[name], str):
            raise ValueError(f"{name} is {type(row[name]).__name__}, not text")
    if preflight.unwritable(row):
        raise ValueError("not UTF-8 text, half a character, or a number that is none (save the file as UTF-8)")
    messages = task.to_messages(row)
    # of a text without a prompt of its own, the text says which row it is
    text = messages[-1]["content"] if messages[0]["content"] == PLAIN_TEXT else ""
    messages = preflight.checked(messages, lambda reason: findings.mend(reason, sourced.place))
    apart = {**(sourced.row or {}), **row}.get(config.split_by) if config.split_by else ""
    if not isinstance(apart, (str, int, float)):
        raise ValueError(f"--split-by: no text or number in {config.split_by} (fields: {named(row)})")
    group = preflight.likeness(messages) + text
    answer = messages[-1]["content"]
    row = {**task.kept(row), "messages": messages}
    accepted = row.get("accepted")
    if task.several_answers and not (isinstance(accepted, list) and all(isinstance(text, str) for text in accepted)):
        row.pop("accepted", None)
    prompt = _hash(str(messages[:-1]) + text)
    return Candidate(sourced.place, row, sourced.split, prompt, _hash(answer), _hash(group), str(apart))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()


def _columns(text: str | None) -> dict[str, str]:
    """ "new=old,new=old" of --column, as old -> new."""
    pairs = [pair.split("=") for pair in (text or "").split(",") if pair]
    if any(len(pair) != 2 or not all(part.strip() for part in pair) for pair in pairs):
        raise UserError(f"--column: {text!r} is not like sql=query,sql_prompt=question")
    return {old.strip(): new.strip() for new, old in pairs}


def _named(row: Row, columns: dict[str, str], task: RowKind, recognised: Counter[str]) -> Row:
    """The row with the task's own field names: those that --column gives, else those known to mean the same."""
    names = {old: new for old, new in columns.items() if old in row}
    for name in (*task.required, *task.optional):
        if name not in row and name not in columns.values():
            for other in task.aliases.get(name, ()):
                if other in row and other not in names:
                    names[other] = name
                    recognised[f"'{other}' read as {name}"] += 1
                    break
    kept = {name: value for name, value in row.items() if name in names or name not in names.values()}
    return {names.get(name, name): value for name, value in kept.items()} if names else row


def distinct(candidates: list[Candidate], task: RowKind, findings: Findings) -> list[Candidate]:
    """Each prompt with each of its answers once; where the task knows several answers, each prompt once with all of them."""
    kept: dict[bytes, Candidate] = {}
    for candidate in candidates:
        several = task.several_answers
        first = kept.setdefault(candidate.prompt if several else candidate.prompt + candidate.answer, candidate)
        if several:
            accepted = first.row.setdefault("accepted", [])
            if (answer := candidate.row["messages"][-1]["content"]) not in accepted:
                accepted.append(answer)
        if first is not candidate:
            same = first.answer == candidate.answer
            findings.drop("duplicate row" if same else "one more answer of a prompt", candidate.place)
    return list(kept.values())
