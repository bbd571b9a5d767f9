"""Speed and memory of a run's models, beside their quality: what benchmark.json says."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune import report
from finetune.backends import load_backend
from finetune.benchmark import history, tables
from finetune.benchmark.speed import TOKENS, alternate, latencies, lengths, percentiles, process_mb, ratios, spread
from finetune.errors import UserError
from finetune.evaluation import scorecard
from finetune.evaluation.tuned_run import TunedRun
from finetune.methods import METHODS, RowSource
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import as_rows
from finetune.records import files, machine
from finetune.records.dataset import read_dataset_record
from finetune.records.files import Row
from finetune.records.record import as_json
from finetune.settings.recorded import training_config
from finetune.terminal import Progress

FORMAT = 2
_LATENCY_ROWS = {False: 20, True: 4}  # by quick or not
_LENGTHS = {False: (128, 256, 512, 1024, 2048, 4096), True: (128, 256)}
Record = dict[str, Any]


def measured(run: TunedRun, rows: Sequence[Row], runs: int, max_tokens: int, *, compare: bool, quick: bool) -> Record:
    """The part of benchmark.json that is about speed and memory; ``compare``: of the base and the fused model as well."""
    conversations = [row["messages"][:-1] for row in rows]
    memory = _memory(run, rows)
    started = time.perf_counter()
    tuned = run.load()
    load_seconds = time.perf_counter() - started
    models = {"tuned": tuned}
    if compare:
        models = {"base": tuned.without_adapter(), "tuned": tuned, "fused": tuned.fused()}
    answered = {name: models[name] for name in models if name != "fused"}
    timed = conversations[: _LATENCY_ROWS[quick]]
    sizes = [size for size in _LENGTHS[quick] if size <= (run.encoder.context_length or size)]
    tokens = [token for messages in conversations[:64] for token in run.encoder.prompt(messages)]
    count = (runs + 1) * len(models) + len(timed) * len(answered) + len(sizes)
    with Progress("Speed", count, "measurements") as bar:
        values = alternate(models, conversations[:16], runs, bar.advance)
        milliseconds = latencies(answered, timed, max_tokens, bar.advance)
        scaling = lengths(tuned, run.backend, tokens, sizes, bar.advance)
    return {
        "load_seconds": load_seconds,
        "speed": {name: {key: spread(found) for key, found in side.items()} for name, side in values.items()},
        "ratios": {name: ratios(values, name, "base") for name in values if compare and name != "base"},
        "latency_ms": {name: percentiles(found) | {"all": found} for name, found in milliseconds.items()},
        "lengths": scaling,
        "memory_mb": memory,
    }


def _memory(run: TunedRun, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """MLX's active, peak and cached memory, and the process's, after each stage of a fresh model."""
    found: dict[str, dict[str, float]] = {}

    def note(stage: str) -> None:
        found[stage] = {**run.backend.memory_mb(), "process": process_mb()}
        run.backend.reset_peak_memory()

    run.backend.reset_peak_memory()
    found["start"] = {**run.backend.memory_mb(), "process": process_mb()}
    model = run.load()
    note("load")
    longest = max((row["messages"][:-1] for row in rows), key=lambda messages: len(run.encoder.prompt(messages)))
    stream = model.stream(run.encoder.prompt(longest), TOKENS, stops=False)
    next(stream)
    note("prompt")
    for _ in stream:
        pass
    note("decode")
    model.answers([row["messages"][:-1] for row in rows[:16]], max_tokens=TOKENS, stops=False)
    note("batch of 16")
    del model, stream
    note("freed")
    estimate = _training_step(run, rows)
    note("training step")
    found["training step"]["estimate"] = estimate()
    return found


def _training_step(run: TunedRun, rows: Sequence[Row]) -> Callable[[], float]:
    """One step with the settings of the run, on its longest rows; what returns the estimate of its peak in MB."""
    config = training_config(run.record, run.adapter_path / files.RUN_RECORD)
    encoder: ChatEncoder = run.encoder
    longest = as_rows(
        sorted((encoder.example(row["messages"]) for row in rows), key=lambda example: -len(example.tokens))
    )
    backend, method = (
        load_backend(config.backend),
        METHODS["sft"],
    )  # whatever the run's: the rows to compare on are whole
    count = config.batch_size * config.grad_accumulation
    source = RowSource(method, longest[:count], config)
    trainer = backend.Trainer(run.load(tuned=False), method, source, config, 1, "")
    trainer.train(lambda: False, lambda step: True)

    def estimate() -> float:
        batch, free = longest[: config.batch_size], machine.memory_bytes()[1]
        found = backend.estimate_memory(run.model_path, method, config, batch, batch, free)
        return float(found.peak_mb)

    return estimate


def described(run: TunedRun, runs: int) -> Record:
    """What was measured, and where."""
    return {
        "format": FORMAT,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": as_json(machine.describe()),
        "device": run.backend.describe(),
        "model": run.record.model.name,
        "adapter_path": str(run.adapter_path),
        "runs": runs,
    }


def check_results(folder: Path) -> None:
    """UserError (exit 4), before any work is done, where the results could not be written."""
    names = (files.BENCHMARK, files.BENCHMARK_TABLE, files.REPORT, files.BENCHMARK_ANSWERS)
    files.check_targets(folder, names)
    files.make_folder(folder / files.HISTORY)


def write(
    record: Record,
    run: TunedRun,
    data_dir: Path,
    folder: Path,
    metrics: Sequence[Mapping[str, Any]],
    *,
    with_history: bool,
) -> None:
    """benchmark.json, after the one before went into the history; the same as CSV; the report.

    ``with_history`` adds to the record what changed since. UserError (exit 4) where something cannot be written.
    """
    try:
        history.keep(folder)
        if with_history:
            record["history"] = history.since(folder, record, FORMAT)
        files.write_json(folder / files.BENCHMARK, record)
        files.write_text(folder / files.BENCHMARK_TABLE, tables.as_csv(record))
        page = report.render(
            record["quality"], record, as_json(run.record), metrics, as_json(read_dataset_record(data_dir))
        )
        files.write_text(folder / files.REPORT, page)
    except UserError as error:
        raise UserError(f"{error} (the answers are kept: go on with --resume)", error.exit_code) from None


def show(record: Record, *, as_json: bool) -> None:
    """The record as JSON and nothing else, or as tables."""
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
        return
    tables.print_benchmark(record)
    scorecard.print_comparison(record["quality"], examples=0)
