"""A source's rows, checked one by one and divided into train, valid and test."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from finetune.dataset import splits
from finetune.dataset.candidates import Candidates, distinct, most_rows, read_candidates
from finetune.dataset.documents import IN_RANGES, how_cut, open_cutter
from finetune.dataset.findings import Findings
from finetune.dataset.hub_choice import CARD
from finetune.dataset.hub_rows import read_for
from finetune.dataset.preflight import token_problem
from finetune.dataset.selection import select
from finetune.dataset.sources import looks_local, read_local, wanted_of
from finetune.errors import UserError, path_of
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.hub import HubUnavailable, hub_problem
from finetune.models.loss_mask import Example
from finetune.models.thinking import told
from finetune.records.dataset import DatasetRecord, Pieces, Source, Turns
from finetune.records.files import REJECTED, SPLITS, Row, check_apart, file_hash, split_file
from finetune.settings.config import DatasetConfig
from finetune.settings.fields import flag
from finetune.tasks import thinking
from finetune.tasks.base import RowKind
from finetune.terminal import counted

_FIRST_CHOICE = ("test", "valid", "train")
_FALLING_BACK = "{}. Using the builtin rows instead (--dataset-name builtin avoids this message)."


@dataclass(frozen=True)
class Dataset:
    """The rows of each split, where they came from, and what became of every row that was read."""

    splits: dict[str, list[Row]]  # each row: messages, and the task's own fields
    source: Source
    split_rule: str  # how the rows were divided, in words
    read: int  # rows of the source: those kept and those dropped
    task: str  # the task that scores the rows
    findings: Findings
    notes: list[str] = field(default_factory=list)  # fields that were read under other names
    lengths: list[int] = field(default_factory=list)  # tokens of each row kept, if the tokenizer is at hand
    turns: Turns | None = None  # of the assistant, in the rows kept
    pieces: Pieces | None = None  # how documents were cut

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
            dialect=self._dialect(),
            schema=str(config.schema) if config.schema else None,
            schema_sha256=file_hash(config.schema) if config.schema else None,
            unused=dict(self.findings.unused.most_common()),
            learn=config.learn,
            thinking=config.thinking or "learn",
            turns=self.turns,
            blank_lines=self.findings.blank_lines,
            first_places={reason: tuple(places) for reason, places in self.findings.places.items()},
            recognised=tuple(self.notes),
            pieces=self.pieces,
        )

    def _dialect(self) -> str | None:
        """The dialect of all rows, if it is one and not SQLite."""
        found = {row.get("dialect") for rows in self.splits.values() for row in rows} if self.task == "sql" else set()
        return found.pop() if len(found) == 1 else None


def prepare(
    config: DatasetConfig, task: RowKind, say: Callable[[str], None], encoder: ChatEncoder | None = None
) -> Dataset:
    """Read, check, sample and divide the rows; with ``encoder`` their tokens are checked too.

    UserError if a row cannot be trained on, unless --fix skips such rows.
    """
    name = config.dataset_name or _default_source(config, task, say)
    if name == "builtin":
        return _builtin(config, task, encoder)
    task = _configured(config, task)
    if looks_local(name):
        _refuse(config, ("revision", "subset", "split"), "a local file")
        if (folder := path_of(name, "--dataset-name")).is_dir():
            check_apart("--output-dir", config.output_dir, {"the folder of the source": folder})
        written = [split_file(config.output_dir, split) for split in SPLITS]
        written = [*written, config.output_dir / REJECTED]
        sourced, source = read_local(name, written, most_rows(config), wanted_of(config, task))
    else:
        try:
            sourced, source = read_for(config, name, wanted_of(config, task))
        except HubUnavailable as error:
            if config.dataset_name or config.revision or config.subset or config.split or not task.builtin:
                raise
            say(_FALLING_BACK.format(error))
            return _builtin(config, task, encoder)
    findings = Findings()
    cutter = open_cutter(config, encoder) if task.plain_text else None
    candidates = read_candidates(sourced, config, task, findings, cutter)
    own = config.keep_splits and any(candidate.split for candidate in candidates.rows)
    if not candidates.read:
        raise UserError(f"{name}: it has no rows")
    if findings.errors and not (config.fix and candidates.rows):
        raise findings.error(candidates.read, fixable=bool(candidates.rows) and not config.strict)
    if config.keep_splits and not own:
        raise UserError(f"--keep-splits: {name} has no splits of its own (no file is named train, valid or test)")
    rows = candidates.rows
    if config.split_by:  # the digits order the two ends as ``connected`` needs it
        groups = splits.connected([(f"30{c.group}", f"31{c.apart.encode().hex()}") for c in rows])
        rows = [replace(c, group=group) for c, group in zip(rows, groups, strict=True)]
    order = splits.sampled(rows, config.seed, lambda c: c.group, lambda c: c.prompt + c.answer)
    if config.keep_splits:  # of two rows alike, the one to train on is dropped
        order.sort(key=lambda candidate: _FIRST_CHOICE.index(candidate.split or "train"))
    selection = select(list(distinct(order, task, findings)), config, task, encoder, findings)
    divided = selection.divided(config)
    _demand_rows(name, candidates.read, divided, config, findings)
    task_name = task.scored_as or task.name
    turns = None if task.scored_as or cutter else selection.turns  # of a pair the last answer alone is learned
    pieces = cutter.record(candidates.documents) if cutter else None
    rule = _split_rule(config, own=own)
    if pieces:
        rule = IN_RANGES if selection.in_ranges else rule.replace("prompt", "document")
    notes = _notes(candidates, encoder, pieces)
    return Dataset(divided, source, rule, candidates.read, task_name, findings, notes, selection.lengths, turns, pieces)


def _notes(candidates: Candidates, encoder: ChatEncoder | None, pieces: Pieces | None) -> list[str]:
    """What is told about how the rows were read."""
    notes = [f"{what} ({counted(count, 'row')})" for what, count in candidates.recognised.most_common()]
    if pieces:
        notes.insert(0, how_cut(pieces))
    notes += candidates.notes
    return [*notes, *_of_template(encoder, candidates)] if encoder else notes


def _configured(config: DatasetConfig, task: RowKind) -> RowKind:
    """The task as its own flags have it. UserError if a flag was given that it does not have."""
    if not task.conversations:
        _refuse(config, ("learn", "thinking"), f"--type {task.name}")
    elif task.scored_as:
        _refuse(config, ("learn",), f"--type {task.name}")
    if task.open_checker is None:
        _refuse(config, ("check_answers",), f"--type {task.name}")
    if task.configured is None:
        _refuse(config, ("dialect", "schema"), f"--type {task.name}")
        return task
    return task.configured(config.dialect, config.schema, check_answers=config.check_answers)


def _of_template(encoder: ChatEncoder, candidates: Candidates) -> list[str]:
    """What the chat template does not show of the rows, and how it is written."""
    thinks = any(thinking.TOLD[mode] in candidates.recognised for mode in ("learn", "keep"))
    return [note for note in (encoder.tool_note, told(encoder.thinking_way) if thinks else "") if note]


def _split_rule(config: DatasetConfig, *, own: bool) -> str:
    if config.split_by:
        return f"random, by seed; no {config.split_by} and no prompt is in two splits"
    return "the source's own" if own else "random, by seed and prompt; no prompt is in two splits"


def _demand_rows(
    name: str, read: int, divided: Mapping[str, Sequence[Row]], config: DatasetConfig, findings: Findings
) -> None:
    """UserError if --strict forbids what was done, or if a split that was asked for is empty."""
    if config.strict and (found := findings.handled):
        what = "; ".join(f"{count} x {reason} ({findings.places[reason][0]})" for reason, count in found.items())
        raise UserError(f"--strict: {what}")
    wanted = {"train": True, "valid": bool(config.valid_fraction), "test": bool(config.test_fraction)}
    if all(divided[split] for split in SPLITS if wanted[split]):
        return
    kept = sum(map(len, divided.values()))
    why = findings.explained(3)
    if not kept:
        none = f"none of its {read} rows is usable" if read > 1 else "its only row is not usable"
        raise UserError(f"{name}: {none}: {why}")
    too_few = f"{kept} usable rows are too few to fill {', '.join(split for split in SPLITS if wanted[split])}"
    remedy = "more rows, or --valid-fraction 0 --test-fraction 0"
    raise UserError(f"{name}: {too_few} ({remedy})" + (f"; dropped: {why}" if why else ""))


def _default_source(config: DatasetConfig, task: RowKind, say: Callable[[str], None]) -> str:
    if task.hub_dataset is None:
        raise UserError(f"--dataset-name: --type {task.name} has no default rows (give a file or a Hub dataset)")
    problem = hub_problem(task.hub_dataset, "dataset", [CARD])  # whether the cache has the rows too, read_hub finds out
    if problem and task.builtin:
        say(_FALLING_BACK.format(f"{task.hub_dataset}: {problem}"))
        return "builtin"
    return task.hub_dataset


def _builtin(config: DatasetConfig, task: RowKind, encoder: ChatEncoder | None) -> Dataset:
    if task.builtin is None:
        raise UserError(f"--dataset-name: --type {task.name} has no builtin rows")
    _refuse(
        config,
        (
            "revision",
            "subset",
            "split",
            "column",
            "ignore",
            "split_by",
            "keep_splits",
            "check_answers",
            "learn",
            "thinking",
            "dialect",
            "schema",
        ),
        "the builtin rows",
    )
    counts = splits.shares(config.sample_size, config.valid_fraction, config.test_fraction)
    if counts["train"] < 1:
        raise UserError("--valid-fraction and --test-fraction leave no rows to train on")
    try:
        generated = task.builtin(counts, config.seed)
    except ValueError as error:
        raise UserError(f"--sample-size: {error}") from None
    made = {split: [{"messages": task.to_messages(row), **row} for row in generated[split]] for split in SPLITS}
    findings, lengths = Findings(), list[int]()
    if encoder:
        for split in SPLITS:
            made[split] = _fitting(split, made[split], encoder, config, findings, lengths)
    read = sum(counts.values())
    _demand_rows("builtin", read, made, config, findings)
    rule = task.split_rule or "random, by seed"
    return Dataset(made, Source("builtin"), rule, read, task.name, findings, lengths=lengths)


def _fitting(
    split: str,
    rows: Sequence[Row],
    encoder: ChatEncoder,
    config: DatasetConfig,
    findings: Findings,
    lengths: list[int],
) -> list[Row]:
    """The builtin rows that the model can learn; their lengths in tokens are added to ``lengths``."""
    fitting = []
    examples = encoder.examples(map(Conversation.of, rows))
    for number, (row, example) in enumerate(zip(rows, examples, strict=True), start=1):
        if problem := token_problem(encoder, example, config.max_seq_length):
            findings.drop(problem, f"builtin {split} row {number}")
        elif isinstance(example, Example):
            fitting.append(row)
            lengths.append(len(example.tokens))
    return fitting


def _refuse(config: DatasetConfig, names: Iterable[str], source: str) -> None:
    """No flag is accepted and then ignored."""
    for name in names:
        if name == "check_answers" and not config.check_answers:
            raise UserError(f"--no-check-answers has no effect with {source} (omit it)")
        if name != "check_answers" and getattr(config, name) not in (None, False, "all"):
            raise UserError(f"{flag(name)} has no effect with {source} (omit it)")
