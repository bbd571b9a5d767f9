"""Base against tuned on the rows of a run: reads the records, asks the models, keeps what was found."""

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from finetune import artifacts, run_record
from finetune.backends import load_backend
from finetune.cli import UserError
from finetune.encoding import ChatEncoder
from finetune.evaluation import Evaluated, evaluate, result
from finetune.models import fingerprint
from finetune.progress import Progress, results, say
from finetune.tasks import TASKS, Task


@dataclass(frozen=True)
class TunedRun:
    """A run as train.py recorded it; a later stage takes from here what it is not told."""

    adapter_path: Path
    record: dict[str, Any]
    backend: ModuleType
    encoder: ChatEncoder
    task: Task

    @property
    def model_path(self) -> Path:
        return Path(self.record["model"]["path"])

    @property
    def data_dir(self) -> Path:
        return Path(self.record["data"]["folder"])

    def load(self, tuned: bool) -> Any:
        adapter = self.adapter_path if tuned else None
        return self.backend.load(self.model_path, self.encoder, adapter, fingerprint(self.model_path))


def open_run(adapter_path: Path) -> TunedRun:
    """The run of an adapter folder; UserError where a part is missing or no longer what was trained with."""
    record = run_record.read(adapter_path)
    if not (adapter_path / artifacts.ADAPTERS).exists():
        raise UserError(f"{adapter_path / artifacts.ADAPTERS}: not found (run: python train.py)")
    model_path = Path(record["model"]["path"])
    if not model_path.is_dir():
        raise UserError(f"{model_path}: the model of this run is gone (run: {record['command']})")
    encoder = ChatEncoder(model_path, record.get("template"))
    if artifacts.text_hash(encoder.template) != record["template_sha256"]:
        raise UserError(f"{model_path}: the chat template is not the one of the training", exit_code=3)
    return TunedRun(adapter_path, record, load_backend(record["config"]["backend"]), encoder, TASKS[record["task"]])


def read_rows(run: TunedRun, data_dir: Path, split: str, num_samples: int | None, seed: int) -> list[artifacts.Row]:
    """The rows of a split, or a draw of them by seed, in the order of the file."""
    data = artifacts.read_dataset_record(data_dir)
    if data["type"] != run.task.name:
        raise UserError(f"{data_dir}: {data['type']} rows, but {run.adapter_path} was trained on {run.task.name} rows")
    rows = [row for _, row in artifacts.read_split(data_dir, split, data)]
    if data["files"] != run.record["data"]["files"]:
        say(f"Note: {data_dir} is not the data that {run.adapter_path} was trained on.")
    if num_samples is not None and num_samples < len(rows):
        rows = [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), num_samples))]
    return rows


def compare(run: TunedRun, rows: list[artifacts.Row], split: str, max_tokens: int, base: bool) -> dict[str, Any]:
    """The record of evaluation.json: the tuned model's answers to the rows and, where ``base``, the base model's."""
    evaluated: dict[str, Evaluated] = {}
    with run.task.open_scorer() as score:
        for name in ("tuned", "base") if base else ("tuned",):  # an adapter that does not fit is refused at once
            model = run.load(tuned=name == "tuned")
            with Progress(f"Answers of the {name} model", len(rows), "rows") as bar:
                generate = partial(model.answers, max_tokens=max_tokens)
                evaluated[name] = evaluate(generate, score, rows, bar.advance)
            del model, generate  # one model in memory at a time
    return {
        "format": 1,
        "task": run.task.name,
        "metric": run.task.metric,
        "split": split,
        "model": run.record["model"]["name"],
        "adapter_path": str(run.adapter_path),
        **result(rows, evaluated, run.task.question),
    }


_WIDE = 72  # columns of a terminal
_VERDICTS = {
    "better": "the tuned model is better than the base model.",
    "worse": "the tuned model is worse than the base model.",
    "no evidence": "no evidence that the tuned model differs from the base model.",
}


def print_comparison(record: dict[str, Any], examples: int) -> None:
    """The result for people: the verdict last, where the eye rests."""
    from rich import box
    from rich.table import Table

    console = results()
    sides = [name for name in ("base", "tuned") if name in record]
    for row in record["rows"][:examples]:
        table = Table(
            box=box.HORIZONTALS,
            show_header=False,
            title=row["question"],
            title_justify="left",
            title_style="bold",
        )
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row("reference", row["reference"])
        for name in sides:
            side = row[name]
            mark = {1.0: "right", None: "not scored"}.get(side["value"], "wrong")
            table.add_row(name, f"{side['answer'][:400]}\n[{mark}: {side['kind']}] {side['reason'][:160]}".rstrip())
        console.print(table)
    table = Table(box=box.SIMPLE_HEAD)
    headings = ("", record["metric"], "95 % interval", "right", "stopped by itself", "tokens per answer")
    columns = len(headings) if console.width >= _WIDE else 4  # a narrow terminal keeps what decides
    for heading in headings[:columns]:
        table.add_column(heading, justify="right" if heading else "left", min_width=6)
    for name in sides:
        side = record[name]
        low, high = side["interval"]
        accuracy = "-" if side["accuracy"] is None else f"{side['accuracy']:.1%}"
        interval, right = f"{low:.0%} to {high:.0%}", f"{side['right']} of {record['scored']}"
        cells = (name, accuracy, interval, right, f"{side['stopped']:.0%}", f"{side['mean_tokens']:.0f}")
        table.add_row(*cells[:columns])
    console.print(table)
    if record["unscored"]:
        left_out = ", ".join(f"{count} {kind}" for kind, count in record["unscored"].items())
        console.print(f"Left out, because the row itself cannot be judged: {left_out}.")
    for name in sides:
        kinds = ", ".join(f"{kind} {count}" for kind, count in record[name]["kinds"].items())
        console.print(f"{name}: {kinds}")
    if "verdict" in record:
        console.print(f"\nVerdict: {_VERDICTS[record['verdict']]}", style="bold")
        console.print(record["explanation"])
