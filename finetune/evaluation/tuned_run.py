"""A run as the later stages open it: its record, its model and the rows that it is judged on."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.backends import load_backend
from finetune.backends.interface import Backend, Model
from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder
from finetune.models.fingerprint import fingerprint
from finetune.records import files
from finetune.records import run as run_records
from finetune.records.files import Row
from finetune.tasks import TASKS, Task
from finetune.terminal import say


@dataclass(frozen=True)
class TunedRun:
    """A run as train.py recorded it; a later stage takes from here what it is not told."""

    adapter_path: Path
    record: dict[str, Any]
    backend: Backend
    encoder: ChatEncoder
    task: Task

    @property
    def model_path(self) -> Path:
        return Path(self.record["model"]["path"])

    @property
    def data_dir(self) -> Path:
        return Path(self.record["data"]["folder"])

    def load(self, tuned: bool = True) -> Model:
        """The tuned model, which can also answer without its adapter; or the base model alone."""
        adapter = self.adapter_path if tuned else None
        return self.backend.load(self.model_path, self.encoder, adapter, fingerprint(self.model_path))


def open_run(adapter_path: Path) -> TunedRun:
    """The run of an adapter folder; UserError where a part is missing or no longer what was trained with."""
    record = run_records.read(adapter_path)
    try:
        model_path, task = Path(record["model"]["path"]), TASKS[record["task"]]
        backend = record["config"]["backend"]
        _ = record["model"]["name"], record["model"]["weights"], Path(record["data"]["folder"]), record["data"]["files"]
        gone = not model_path.is_dir()
        backend = load_backend(backend)
    except (KeyError, TypeError, ValueError, OSError) as error:
        path = adapter_path / files.RUN_RECORD
        raise UserError(f"{path}: not what train.py of this version wrote: {error!r} (run: python train.py)") from None
    for name in (backend.FORMAT.file, files.ADAPTER_CONFIG):
        if not (adapter_path / name).is_file():
            raise UserError(f"{adapter_path / name}: not found (run: python train.py)")
    if gone:
        raise UserError(f"{model_path}: the model of this run is gone (run: {record['command']})")
    encoder = ChatEncoder(model_path, record.get("template"))
    if files.text_hash(encoder.template) != record["template_sha256"]:
        raise UserError(f"{model_path}: the chat template is not the one of the training", exit_code=3)
    return TunedRun(adapter_path, record, backend, encoder, task)


def open_other(adapter_path: Path, run: TunedRun) -> TunedRun:
    """The run that is to stand in the place of the base model; UserError where it cannot be compared with ``run``."""
    if adapter_path.resolve() == run.adapter_path.resolve():
        raise UserError(f"--against: {adapter_path} is --adapter-path itself (name the folder of other adapters)")
    other = open_run(adapter_path)
    if other.task is not run.task:
        raise UserError(
            f"{adapter_path}: trained on {other.task.name} rows, {run.adapter_path} on {run.task.name} rows"
        )
    if other.record["model"]["weights"] != run.record["model"]["weights"]:
        raise UserError(f"{adapter_path}: trained on another model than {run.adapter_path}")
    return other


def read_rows(run: TunedRun, data_dir: Path, split: str, num_samples: int | None, seed: int) -> list[Row]:
    """The rows of a split, or a draw of them by seed, in the order of the file."""
    data = files.read_dataset_record(data_dir)
    if data["type"] != run.task.name:
        raise UserError(f"{data_dir}: {data['type']} rows, but {run.adapter_path} was trained on {run.task.name} rows")
    rows = [row for _, row in files.read_split(data_dir, split, data)]
    if data["files"] != run.record["data"]["files"]:
        say(f"Note: {data_dir} is not the data that {run.adapter_path} was trained on.")
    if num_samples is not None and num_samples > len(rows):
        path = files.split_file(data_dir, split)
        say(f"Note: {path} has {len(rows)} rows, fewer than {num_samples}; all of them are used.")
    elif num_samples is not None:
        rows = [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), num_samples))]
    return rows


def default_rows(run: TunedRun, count: int, seed: int) -> list[Row]:
    """Builtin rows of the task, for a look at a run whose own rows are gone. UserError where the task has none."""
    if run.task.builtin is None:
        raise UserError(
            f"{run.data_dir}: not found, and --type {run.task.name} has no rows of its own (--data-dir names them)"
        )
    rows = run.task.builtin({"train": 0, "valid": 0, "test": count}, seed)["test"]
    return [{"messages": run.task.to_messages(row), **row} for row in rows]
