"""A source's rows, checked one by one and divided into train, valid and test."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from finetune.artifacts import SPLITS, Row, text_hash
from finetune.cli import UserError
from finetune.config import DatasetConfig
from finetune.hub import hub_problem
from finetune.rows.kind import RowKind
from finetune.rows.sources import SourcedRow, looks_local, read_hub, read_local


@dataclass(frozen=True)
class Dataset:
    splits: dict[str, list[Row]]  # each row: messages, and the task's own fields
    source: dict[str, str]
    split_rule: str
    read: int
    dropped: Counter[str]  # how many rows, by reason


def prepare(config: DatasetConfig, task: RowKind, say: Callable[[str], None]) -> Dataset:
    """Read, check, draw and divide. Raises UserError for bad rows, naming the first and counting them all."""
    counts = {
        "valid": max(1, round(config.sample_size * config.valid_fraction)),
        "test": max(1, round(config.sample_size * config.test_fraction)),
    }
    counts["train"] = config.sample_size - sum(counts.values())
    if counts["train"] < 1:
        raise UserError("--valid-fraction and --test-fraction leave no rows to train on")
    name = config.dataset_name or _default_source(task, say)
    if name == "builtin":
        return _builtin(task, counts, config.seed)
    rows, source = read_local(name) if looks_local(name) else read_hub(name)
    kept, dropped = _checked(rows, task)
    kept.sort(key=lambda row: hashlib.sha256(f"{config.seed} {row['messages']}".encode()).digest())
    dropped["not drawn (--sample-size)"] = max(0, len(kept) - config.sample_size)
    return Dataset(
        _divided(kept[: config.sample_size], config, name),
        source,
        "drawn by seed and prompt",
        len(rows),
        +dropped,
    )


def _default_source(task: RowKind, say: Callable[[str], None]) -> str:
    if task.hub_dataset is None:
        raise UserError(f"--dataset-name: --type {task.name} has no rows of its own (name your JSONL file)")
    problem = hub_problem(task.hub_dataset, "dataset")
    if problem and task.builtin:
        say(
            f"{task.hub_dataset}: {problem}. Using the builtin rows instead (--dataset-name builtin says so by itself)."
        )
        return "builtin"
    return task.hub_dataset


def _builtin(task: RowKind, counts: dict[str, int], seed: int) -> Dataset:
    if task.builtin is None:
        raise UserError(f"--dataset-name: there are no builtin rows for --type {task.name}")
    try:
        generated = task.builtin(counts, seed)
    except ValueError as error:
        raise UserError(f"--sample-size: {error}") from None
    splits = {split: [{"messages": task.to_messages(row), **row} for row in generated[split]] for split in SPLITS}
    return Dataset(splits, {"source": "builtin"}, "no domain is in two splits", sum(counts.values()), Counter())


def _checked(rows: list[SourcedRow], task: RowKind) -> tuple[list[Row], Counter[str]]:
    """The rows in the form that the stages share, each prompt once."""
    kept: dict[str, Row] = {}
    dropped: Counter[str] = Counter()
    problems = []
    for place, row in rows:
        missing = [name for name in task.required if not isinstance(row.get(name), str) or not row[name].strip()]
        try:
            if missing:
                raise ValueError(f"no text in {', '.join(missing)} (fields: {', '.join(row) or 'none'})")
            messages = task.to_messages(row)
        except ValueError as error:
            problems.append(f"{place}: {error}")
            continue
        prompt = text_hash(str(messages[:-1]))
        dropped["duplicate prompt"] += prompt in kept
        kept.setdefault(prompt, {**row, "messages": messages})
    if problems:
        more = f" ... and {len(problems) - 1} more of {len(rows)} rows are not {task.name} rows" if problems[1:] else ""
        raise UserError(problems[0] + more)
    return list(kept.values()), dropped


def _divided(rows: list[Row], config: DatasetConfig, name: str) -> dict[str, list[Row]]:
    valid = max(1, round(len(rows) * config.valid_fraction))
    test = max(1, round(len(rows) * config.test_fraction))
    if len(rows) < valid + test + 1:
        raise UserError(f"{name}: {len(rows)} usable rows are too few (at least 3: train, valid and test)")
    return {"test": rows[:test], "valid": rows[test : test + valid], "train": rows[test + valid :]}
