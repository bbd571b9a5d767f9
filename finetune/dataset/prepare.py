"""A source's rows, checked one by one and divided into train, valid and test."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from finetune.dataset import builtin_rows, documents, labels, mixture, opening, recognition, systems
from finetune.dataset.candidates import Candidate, Candidates, demand_fields, of_no_use, read_candidates
from finetune.dataset.checking import FEW, Checks
from finetune.dataset.documents import Cutter
from finetune.dataset.findings import Findings
from finetune.dataset.fitting import fit
from finetune.dataset.mixture import Part
from finetune.dataset.opening import OpenedPart, as_one, in_record
from finetune.dataset.selection import Shares, select, several_answers
from finetune.dataset.sources import demand_unchanged
from finetune.dataset.store import Store
from finetune.dataset.stored import Stored
from finetune.dataset.stored_rows import StoredRows
from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder
from finetune.models.hub import HubUnavailable
from finetune.models.thinking import told
from finetune.records.dataset import DatasetRecord, Labels, PartOfRows, Pieces, Source, Turns
from finetune.records.files import SPLITS, Row, encoded, file_hash
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS, thinking
from finetune.tasks.base import RowKind
from finetune.terminal import counted

_LISTED = 20  # of what --strict refuses


@dataclass(frozen=True)
class Dataset:
    """The rows of each split, where they came from, and what became of every row that was read."""

    splits: Mapping[str, Sequence[Row]]  # each row: messages, and the task's own fields
    source: Source
    split_rule: str  # how the rows were divided, in words
    read: int  # rows of the source: those kept and those dropped
    task: str  # the task that scores the rows
    findings: Findings
    notes: list[str] = field(default_factory=list)  # fields that were read under other names
    lengths: Counter[int] = field(default_factory=Counter)  # tokens -> rows kept, if the tokenizer is at hand
    turns: Turns | None = None  # of the assistant, in the rows kept
    pieces: Pieces | None = None  # how documents were cut
    dialect: str | None = None  # SQL dialect of all rows; None for SQLite, and if rows differ
    sources: tuple[PartOfRows, ...] | None = None  # if there are several
    train_of: tuple[Sequence[Row], ...] = ()  # the rows to train on of each of several sources
    labels: Labels | None = None  # of rows that have some
    found: Mapping[str, Any] = field(default_factory=dict)  # in all rows, by the fields of the record
    added_system: str | None = None  # system message of rows that had none, if there were any

    def record(self, config: DatasetConfig) -> DatasetRecord:
        """The record of the rows, without the hashes of the files."""
        dropped = self.findings.dropped + Counter({"cannot be trained on (rejected.jsonl)": len(self.findings.errors)})
        rows = {split: len(rows) for split, rows in self.splits.items()}
        return DatasetRecord(
            type=self.task,
            source=self.source,
            seed=config.seed,
            split_rule=self.split_rule,
            rows_read=self.read,
            kept=sum(rows.values()),
            rows=rows,
            files={},
            dropped=dict(dropped.most_common()),
            mended=dict(self.findings.mended.most_common()),
            noted=dict(self.findings.noted.most_common()),
            dialect=self.dialect,
            schema=str(config.schema) if config.schema else None,
            schema_sha256=file_hash(config.schema) if config.schema else None,
            unused=dict(self.findings.unused.most_common()),
            learn=config.learn,
            thinking=config.thinking or "learn",
            turns=self.turns,
            added_system=self.added_system,
            blank_lines=self.findings.blank_lines,
            first_places={reason: tuple(places) for reason, places in self.findings.places.items()},
            recognised=tuple(self.notes),
            pieces=self.pieces,
            sources=self.sources,
            labels=self.labels,
            **self.found,
        )


def prepare(
    config: DatasetConfig, task: RowKind, say: Callable[[str], None], encoder: ChatEncoder | None = None
) -> Dataset:
    """Read, check, sample and divide the rows; with ``encoder`` their tokens are checked too.

    UserError if a row cannot be trained on, unless --fix skips such rows.
    """
    config = replace(config, system=systems.given(config.system))
    names = config.dataset_names or (opening.default_source(task, say),)
    parts = [mixture.parsed(name, ROW_KINDS, task) for name in names]
    mixture.check(parts, task)
    if [part.name for part in parts] == [mixture.BUILTIN]:
        return _of_builtin(config, task, encoder)
    opening.refuse_for(parts, config)
    fractions = mixture.fractions(parts)
    try:
        sources = _opened(parts, fractions, config)
    except HubUnavailable as error:
        if config.dataset_name or config.revision or config.subset or config.split or not task.builtin:
            raise
        say(opening.FALLING_BACK.format(error))
        return _of_builtin(config, task, encoder)
    fit(sources, config)
    found, findings, store = Candidates(), Findings(), Store(config.seed)
    with recognition.advising(names, task.name):
        labelled = labels.surveyed(sources, config, found)
    tasks = [source.part.kind for source in sources]
    cutter = documents.open_cutter(config, encoder) if task.plain_text else None
    with ExitStack() as stack:
        checks = {kind.name: stack.enter_context(Checks(kind, store)) for kind in _checked(tasks)}
        for number, source in enumerate(sources):
            _store(source, number, config, found, findings, store, checks, cutter, labelled)
        _demand_usable(names, found, config, findings, store)
        if labelled:
            labelled.join(store, keeps_splits=config.keep_splits)
        if config.split_by:
            store.connect()
        store.order(as_read=task.plain_text)
        several = several_answers(store, config, tasks)
        selection = select(store, config, tasks, encoder, findings, checks, Shares(parts, fractions))
    divided = {split: StoredRows(store, split) for split in SPLITS}
    name = names[0] if len(names) == 1 else f"{len(names)} sources"
    _demand_rows(name, found.read, divided, config, findings, store.groups())
    rule = selection.divided.rule(config)
    # of a pair the last answer alone is learned
    turns = None if task.scored_as or cutter else store.turns()
    pieces = cutter.record(found.documents) if cutter else None
    if pieces:
        rule = rule.replace("prompt", "document")
    seen = {kind.name: kind for kind in tasks}.values()  # what was found in all rows of a kind
    of_rows = [*_notes(config, found, encoder, pieces), *several, *selection.divided.told(names, config)]
    notes = [*labels.ended(labelled, store, config), *of_rows, *(note for kind in seen for note in kind.notes)]
    return Dataset(
        divided, as_one(sources), rule, found.read, task.scored_as or task.name, findings, notes, store.lengths(), turns,
        pieces, store.common_value("dialect") if task.name == "sql" else None, in_record(sources, fractions, store),
        tuple(StoredRows(store, "train", number) for number in range(len(sources))) if len(sources) > 1 else (),
        labelled.record if labelled else None,
        {name: value for kind in seen for name, value in kind.recorded.items()},
        config.system if systems.ADDED in found.recognised else None,
    )  # fmt: skip


def _notes(
    config: DatasetConfig, found: Candidates, encoder: ChatEncoder | None, pieces: Pieces | None
) -> Iterator[str]:
    """What is told about how the rows were read."""
    if pieces:
        yield documents.how_cut(pieces)
    yield from (f"{what} ({counted(count, 'row')})" for what, count in found.recognised.most_common())
    yield from of_no_use(config, found)
    if encoder and not pieces:
        yield from systems.of_template(encoder, found.without_system[False], found.without_system[True])
    if encoder:  # what the chat template does not show of the rows, and how it is written
        thinks = any(thinking.TOLD[mode] in found.recognised for mode in ("learn", "keep"))
        yield from filter(None, (*(() if pieces else encoder.notes), told(encoder.thinking_way) if thinks else ""))


def _opened(parts: Sequence[Part], fractions: Sequence[float] | None, config: DatasetConfig) -> list[OpenedPart]:
    size = config.sample_size
    wanted = mixture.quotas(fractions, size) if fractions and size else [None] * len(parts)
    found = []
    for part, rows in zip(parts, wanted, strict=True):
        if part.kind.configured:
            kind = part.kind.configured(config.dialect, config.schema, check_answers=config.check_answers)
            part = replace(part, kind=kind)
        found.append(OpenedPart(part, opening.opened(part, config, rows)))
    return found


def _checked(tasks: Iterable[RowKind]) -> list[RowKind]:
    """The kinds of rows whose answers are checked, each once."""
    return list({task.name: task for task in tasks if task.open_checker}.values())


def _store(
    source: OpenedPart,
    number: int,
    config: DatasetConfig,
    found: Candidates,
    findings: Findings,
    store: Store,
    checks: Mapping[str, Checks],
    cutter: Cutter | None,
    labelled: labels.Labelled | None,
) -> None:
    """Read a source into the store. If all rows will be checked, that begins while they are read."""
    task = source.part.kind
    own_checks = checks.get(task.name) if config.sample_size is None else None

    def add(row: Candidate) -> None:
        hashes = (row.prompt, row.answer, row.other, row.likeness)
        store.add(Stored(row.place, encoded(row.row), number, row.split, *hashes, row.apart))
        if labelled and task.stratified:
            labelled.see(row)
        if own_checks and store.count > FEW:
            own_checks.start(row.row)

    before = found.read
    settings = opening.settings_of(source.part, config)
    read_candidates(source.opened.rows, settings, task, findings, add, found, cutter)
    source.read = found.read - before
    demand_unchanged(source.opened)
    if not source.read:
        raise UserError(f"{source.part.name}: it has no rows")


def _demand_usable(
    names: Sequence[str], found: Candidates, config: DatasetConfig, findings: Findings, store: Store
) -> None:
    """UserError if some rows cannot be trained on, if no row has a field that a flag names, or if --keep-splits finds none."""
    demand_fields(config, found)
    if findings.errors and not (config.fix and found.usable):
        other = "" if found.usable or config.column else recognition.advice(names, config.type_)
        raise findings.error(found.read, fixable=bool(found.usable) and not config.strict, remedy=other)
    if config.keep_splits and not store.splits:
        has = "has no splits of its own" if len(names) == 1 else "have no splits of their own"
        raise UserError(f"--keep-splits: {', '.join(names)} {has} (no file is named train, valid or test)")


def _of_builtin(config: DatasetConfig, task: RowKind, encoder: ChatEncoder | None) -> Dataset:
    rows, findings, lengths = builtin_rows.generated(config, task, encoder)
    read = sum(map(len, rows.values())) + findings.dropped.total()
    _demand_rows(mixture.BUILTIN, read, rows, config, findings)
    rule = task.split_rule or "random, by seed"
    return Dataset(rows, Source(mixture.BUILTIN), rule, read, task.name, findings, lengths=lengths)


def _demand_rows(
    name: str,
    read: int,
    divided: Mapping[str, Sequence[Row]],
    config: DatasetConfig,
    findings: Findings,
    groups: int | None = None,
) -> None:
    """UserError if --strict forbids what was done, or if a split that was asked for is empty. ``groups``: of rows that stay in
    one split."""
    if config.strict and (found := findings.handled):
        what = "; ".join(
            f"{count} x {reason} ({findings.places[reason][0]})" for reason, count in islice(found.items(), _LISTED)
        )
        what += f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise UserError(f"--strict: {what}")
    wanted = {"train": True, "valid": bool(config.valid_fraction), "test": bool(config.test_fraction)}
    if all(divided[split] for split in SPLITS if wanted[split]):
        return
    kept = sum(map(len, divided.values()))
    why = findings.explained(3)
    if not kept:
        none = f"none of its {read} rows is usable" if read > 1 else "its only row is not usable"
        raise UserError(f"{name}: {none}: {why}")
    fill = f"fill {', '.join(split for split in SPLITS if wanted[split])}"
    too_few = f"{kept} usable rows are too few to {fill}"
    remedy = "more rows, or --valid-fraction 0 --test-fraction 0"
    if groups is not None and groups < kept >= 2 * len(SPLITS) and not config.keep_splits:
        alike = f"value of {config.split_by}, or one prompt," if config.split_by else "prompt"
        what = f"those with one {alike} stay in one split, and there are {counted(groups, 'such group')}"
        too_few = f"{kept} usable rows cannot {fill}: {what}"
        larger = "a larger --valid-fraction and --test-fraction, or " if groups >= sum(wanted.values()) else ""
        remedy = f"{larger}--valid-fraction 0 --test-fraction 0"
    raise UserError(f"{name}: {too_few} ({remedy})" + (f"; dropped: {why}" if why else ""))
