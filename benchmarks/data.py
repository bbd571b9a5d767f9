"""How fast rows are prepared, and in how much memory: dataset.py's work on many rows, against ``datasets.map``.

    python benchmarks/data.py [--rows 106000] [--more-rows 1000000] [--works "rows alone,rows and SQL"] [--json FILE]

Rows have the shape of gretel's: builtin ones, each told apart by a number, in the question and in a table of its own. Each line
comes from a process of its own: load, checks, messages, sampling, splits and files; then the same with every row's SQL run, and
with every row's tokens checked. For ``datasets.map`` the work is to load, make the messages, render the template, split into
tokens and write. ``--more-rows``: a second size, to see whether memory grows.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in which ru_maxrss counts
sys.path.insert(0, str(ROOT))

from finetune.records import files  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.config import DatasetConfig  # noqa: E402
from finetune.settings.fields import option  # noqa: E402
from finetune.tasks import TASKS  # noqa: E402

_GENERATED = 20_000


@dataclass(frozen=True)
class DataConfig:
    rows: int = option(106_000, "rows", at_least=1000)
    more_rows: int | None = option(None, "a second number of rows", at_least=1000)
    works: str = option("rows alone,rows and SQL,rows and tokens,datasets.map", "what is measured")
    model: str = option("builtin", "whose tokenizer")
    json: Path | None = option(None, "write the result to this file")
    child: str | None = option(None, "internal: what this process does", choices="works")
    file: Path | None = option(None, "internal: the rows")


def main(config: DataConfig) -> None:
    if config.child:
        assert config.file
        started = time.perf_counter()
        kept = _WORKS[config.child](config, config.file)
        seconds = time.perf_counter() - started
        peaks = {
            "peak_mb": _peak_mb(),
            "children_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _UNIT / 1e6,
        }
        print(json.dumps({"kept": kept, "seconds": seconds, "rows_per_second": config.rows / seconds, **peaks}))
        return
    record = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in filter(None, (config.rows, config.more_rows)):
            path = Path(folder) / f"{rows}.jsonl"
            _make(path, rows)
            for work in config.works.split(","):
                record[f"{work}, {rows}"] = result = _measured(config, work, path, rows)
                print(
                    f"{work:<24}{rows:>8} rows {result['seconds']:>7.1f} s {result['rows_per_second']:>7.0f} rows/s"
                    f" {result['peak_mb']:>6.0f} MB, and {result['children_mb']:.0f} MB in the largest other process",
                    flush=True,
                )
    if config.json:
        files.write_json(config.json, record)


def _peak_mb() -> float:
    """The peak of this process; on Linux ru_maxrss would be that of the one that started it if that was larger."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT / 1e6
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def _make(path: Path, count: int) -> None:
    from finetune.tasks.sql.rows import generate

    generated = list(generate(min(count, _GENERATED), 1))
    with path.open("w") as file:
        for number in range(count):
            row = generated[number % len(generated)]
            context = f"{row['sql_context']} CREATE TABLE case_{number} (a INT);"
            row = {**row, "sql_prompt": f"{row['sql_prompt']} (Case {number}.)", "sql_context": context}
            file.write(json.dumps(row) + "\n")


def _measured(config: DataConfig, work: str, path: Path, rows: int) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        "--child",
        work,
        "--file",
        str(path),
        "--rows",
        str(rows),
        "--model",
        config.model,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _ours(*, check_answers: bool, tokens: bool) -> Callable[[DataConfig, Path], int]:
    def work(config: DataConfig, path: Path) -> int:
        from finetune.dataset.prepare import prepare
        from finetune.models.encoder import ChatEncoder
        from finetune.models.find import find_model
        from finetune.records.dataset import write_dataset

        settings = DatasetConfig(dataset_name=str(path), check_answers=check_answers)
        encoder = ChatEncoder(find_model(config.model, print).path) if tokens else None
        dataset = prepare(settings, TASKS["sql"], print, encoder)
        with tempfile.TemporaryDirectory() as folder:
            write_dataset(Path(folder), dataset.splits, [], dataset.record(settings))
        return sum(map(len, dataset.splits.values()))

    return work


def _datasets_map(config: DataConfig, path: Path) -> int:
    import datasets

    from finetune.models.encoder import ChatEncoder
    from finetune.models.find import find_model

    tokenizer = ChatEncoder(find_model(config.model, print).path).tokenizer
    to_messages = TASKS["sql"].to_messages

    def prepare(row: dict[str, Any]) -> dict[str, Any]:
        messages = to_messages(row)
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        return {"messages": messages, "input_ids": tokenizer(text)["input_ids"]}

    with tempfile.TemporaryDirectory() as folder:
        datasets.disable_progress_bars()
        table = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=f"{folder}/cache")
        table = table.map(prepare).shuffle(42)
        table.to_json(f"{folder}/train.jsonl")
        return len(table)


_WORKS = {
    "rows alone": _ours(check_answers=False, tokens=False),
    "rows and SQL": _ours(check_answers=True, tokens=False),
    "rows and tokens": _ours(check_answers=False, tokens=True),
    "datasets.map": _datasets_map,
}

if __name__ == "__main__":
    command_line.run(main, DataConfig, choices={"works": _WORKS})
