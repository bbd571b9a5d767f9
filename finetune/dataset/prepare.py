"""A source's rows, checked one by one and divided into train, valid and test."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import repeat

from finetune.dataset import preflight, splits
from finetune.dataset.candidates import Candidate, distinct, read_candidates
from finetune.dataset.preflight import Findings
from finetune.dataset.sources import looks_local, read_hub, read_local
from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder, Example
from finetune.models.hub import hub_problem
from finetune.records.dataset import DatasetRecord, Source
from finetune.records.files import REJECTED, SPLITS, Row, split_file
from finetune.settings.config import DatasetConfig
from finetune.settings.fields import flag
from finetune.tasks.base import RowKind
from finetune.terminal import Progress

_LISTED = 20  # errors that are printed
_FIRST_CHOICE = ("test", "valid", "train")


@dataclass(frozen=True)
class Dataset:
    splits: dict[str, list[Row]]  # each row: messages, and the task's own fields
    source: Source
    split_rule: str
    read: int
    task: str  # whose score holds for the rows
    findings: Findings
    notes: list[str] = field(default_factory=list)  # what was recognised
    lengths: list[int] = field(default_factory=list)  # of the kept rows in tokens, where the tokenizer is at hand

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
            blank_lines=self.findings.blank_lines,
            first_places={reason: tuple(places) for reason, places in self.findings.places.items()},
            recognised=tuple(self.notes),
        )


def prepare(
    config: DatasetConfig, task: RowKind, say: Callable[[str], None], encoder: ChatEncoder | None = None
) -> Dataset:
    """Read, check, draw and divide; with ``encoder`` the tokens are checked too. UserError where a row cannot be trained on."""
    name = config.dataset_name or _default_source(task, say)
    if name == "builtin":
        return _builtin(config, task, encoder)
    if task.open_checker is None:
        _refuse(config, ("check_answers",), f"--type {task.name}")
    if looks_local(name):
        _refuse(config, ("revision",), "a local file")
        written = [split_file(config.output_dir, split) for split in SPLITS]
        sourced, source = read_local(name, [*written, config.output_dir / REJECTED])
    else:
        sourced, source = read_hub(name, config.revision, config.keep_splits)
    findings, recognised = Findings(), Counter[str]()
    candidates, read = read_candidates(sourced, config, task, findings, recognised)
    if not read:
        raise UserError(f"{name}: no rows in it")
    if config.keep_splits and not any(candidate.split for candidate in candidates):
        raise UserError(f"--keep-splits: {name} has no splits of its own (no file is named train, valid or test)")
    if findings.errors and not config.fix:
        raise UserError(_listed(findings, read))
    if config.split_by:
        links = [(b"0" + c.group, b"1" + c.apart.encode()) for c in candidates]
        groups = splits.connected(links)
        candidates = [replace(c, group=group) for c, group in zip(candidates, groups, strict=True)]
    order = splits.drawn(candidates, config.seed, lambda c: c.group.hex(), lambda c: (c.prompt + c.answer).hex())
    if config.keep_splits:  # of two alike rows the one to train on goes
        order.sort(key=lambda candidate: _FIRST_CHOICE.index(candidate.split or "train"))
    divided, lengths = _divided(distinct(order, task, findings), config, task, encoder, findings)
    _demand_rows(name, divided, config, findings)
    own = config.keep_splits and any(candidate.split for candidate in candidates)
    rule = "the source's own" if own else "drawn by seed and prompt; no prompt is in two splits"
    if config.split_by:
        rule = f"drawn by seed; no {config.split_by} and no prompt is in two splits"
    notes = [f"{what} ({count} rows)" for what, count in recognised.most_common()]
    task_name = task.scored_as or task.name
    return Dataset({s: divided[s] for s in SPLITS}, source, rule, read, task_name, findings, notes, lengths)


def _demand_rows(name: str, divided: Mapping[str, Sequence[Row]], config: DatasetConfig, findings: Findings) -> None:
    """UserError where --strict forbids what was done, or where a split that was asked for is empty."""
    if config.strict and (found := findings.handled):
        what = "; ".join(f"{count} x {reason} ({findings.places[reason][0]})" for reason, count in found.items())
        raise UserError(f"--strict: {what}")
    wanted = {"train": True, "valid": bool(config.valid_fraction), "test": bool(config.test_fraction)}
    if any(not divided[split] for split in SPLITS if wanted[split]):
        kept = sum(map(len, divided.values()))
        why = "; ".join(f"{count} x {reason}" for reason, count in findings.dropped.most_common(3))
        raise UserError(
            f"{name}: {kept} usable rows are too few to divide into"
            f" {', '.join(s for s in SPLITS if wanted[s])}" + (f" (left out: {why})" if why else "")
        )


_NOT_DRAWN = "not drawn (--sample-size)"
_OTHER_ANSWER = "the same prompt with another answer"


def _default_source(task: RowKind, say: Callable[[str], None]) -> str:
    if task.hub_dataset is None:
        raise UserError(f"--dataset-name: --type {task.name} has no rows of its own (name your file)")
    problem = hub_problem(task.hub_dataset, "dataset")
    if problem and task.builtin:
        say(
            f"{task.hub_dataset}: {problem}. Using the builtin rows instead (--dataset-name builtin says so by itself)."
        )
        return "builtin"
    return task.hub_dataset


def _builtin(config: DatasetConfig, task: RowKind, encoder: ChatEncoder | None) -> Dataset:
    if task.builtin is None:
        raise UserError(f"--dataset-name: there are no builtin rows for --type {task.name}")
    _refuse(config, ("revision", "column", "split_by", "keep_splits", "check_answers"), "the builtin rows")
    counts = splits.shares(config.sample_size, config.valid_fraction, config.test_fraction)
    if counts["train"] < 1:
        raise UserError("--valid-fraction and --test-fraction leave no rows to train on")
    try:
        generated = task.builtin(counts, config.seed)
    except ValueError as error:
        raise UserError(f"--sample-size: {error}") from None
    made = [
        Candidate(f"builtin {split} row {number}", {"messages": task.to_messages(row), **row}, split, b"", b"", b"")
        for split in SPLITS
        for number, row in enumerate(generated[split], start=1)
    ]
    findings = Findings()
    lengths = []
    if encoder:
        fitting = []
        examples = encoder.examples(candidate.row["messages"] for candidate in made)
        for candidate, example in zip(made, examples, strict=True):
            if problem := preflight.token_problem(encoder, example, config.max_seq_length):
                findings.drop(problem, candidate.place)
            elif isinstance(example, Example):
                fitting.append(candidate)
                lengths.append(len(example.tokens))
        made = fitting
    divided = {split: [candidate.row for candidate in made if candidate.split == split] for split in SPLITS}
    _demand_rows("builtin", divided, config, findings)
    rule = task.split_rule or "drawn by seed"
    return Dataset(divided, Source("builtin"), rule, sum(counts.values()), task.name, findings, lengths=lengths)


def _refuse(config: DatasetConfig, names: Iterable[str], source: str) -> None:
    """No flag is accepted and then ignored."""
    for name in names:
        if name == "check_answers" and not config.check_answers:
            raise UserError(f"--no-check-answers: means nothing for {source}")
        if name != "check_answers" and getattr(config, name):
            raise UserError(f"{flag(name)}: means nothing for {source}")


def _divided(
    order: list[Candidate],
    config: DatasetConfig,
    task: RowKind,
    encoder: ChatEncoder | None,
    findings: Findings,
) -> tuple[dict[str, list[Row]], list[int]]:
    """The splits of rows in drawn order, and the lengths in tokens of their rows. The slow checks see drawn rows alone.

    Of several answers to a prompt the first that passes the checks is kept.
    """
    own = config.keep_splits and any(candidate.split for candidate in order)
    sizes = splits.shares(config.sample_size, config.valid_fraction, config.test_fraction)
    kept: dict[str, list[Candidate]] = {split: [] for split in sizes}
    lengths: list[int] = []
    where: dict[bytes, str] = {}
    prompts: set[bytes] = set()
    checker = task.open_checker() if task.open_checker and config.check_answers else nullcontext(_no_problem)
    slow = encoder is not None or not isinstance(checker, nullcontext)
    encoded: Iterator[Example | ValueError | None] = repeat(None)
    if encoder:
        encoded = encoder.examples(candidate.row["messages"] for candidate in order)
    with checker as problem_of, Progress("Checking", len(order), "rows", silent=not slow) as bar:
        for position, (candidate, example) in enumerate(zip(order, encoded, strict=False)):
            bar.advance()
            split = (candidate.split or "train") if own else "train"
            if not own and len(kept["train"]) == config.sample_size:
                for left in order[position:]:
                    if left.prompt in prompts:
                        findings.drop(_OTHER_ANSWER, left.place)
                    else:
                        findings.dropped[_NOT_DRAWN] += 1
                    prompts.add(left.prompt)
                break
            if candidate.prompt in prompts:
                findings.drop(_OTHER_ANSWER, candidate.place)
                continue
            if own and len(kept[split]) >= sizes[split]:
                findings.dropped[_NOT_DRAWN] += 1
                continue
            if own and where.setdefault(candidate.group, split) != split:
                findings.drop("the prompt is in another split too", candidate.place)
                continue
            problem = problem_of(candidate.row)
            if encoder and example and not problem:
                problem = preflight.token_problem(encoder, example, config.max_seq_length)
            if problem:
                findings.drop(problem, candidate.place)
                continue
            if encoder and encoder.types_controls(candidate.row["messages"]):
                findings.mend("special tokens typed in a text stay text", candidate.place)
            prompts.add(candidate.prompt)
            kept[split].append(candidate)
            if isinstance(example, Example):
                lengths.append(len(example.tokens))
    # what the source does not divide is drawn from its rows to train on
    sizes = splits.shares(len(kept["train"]), config.valid_fraction, config.test_fraction)
    missing = {split: 0 if kept[split] else size for split, size in sizes.items()}
    kept |= {
        split: rows
        for split, rows in splits.divided(kept["train"], missing, lambda candidate: candidate.group).items()
        if missing[split] or split == "train"
    }
    return {split: [candidate.row for candidate in rows] for split, rows in kept.items()}, lengths


def _no_problem(row: Row) -> str | None:
    return None


def _listed(findings: Findings, read: int) -> str:
    """All errors in one message: the first on its first line, up to twenty in all."""
    first, *more = [f"{place}: {problem}" for place, problem, _ in findings.errors]
    if not more:
        return f"{first} (--fix leaves such rows out)"
    lines = [f"{len(findings.errors)} of {read} rows cannot be trained on; nothing was written (--fix leaves them out)"]
    lines += [f"  {line}" for line in [first, *more][:_LISTED]]
    if len(findings.errors) > _LISTED:
        lines.append(f"  ... and {len(findings.errors) - _LISTED} more")
    return "\n".join(lines)
