"""One benchmark from the settings to the page: answers, then speed and memory, then benchmark.json, the CSV and the report."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from finetune import report
from finetune.benchmark import history, tables
from finetune.benchmark.measure import measure_run
from finetune.errors import Stopped, UserError
from finetune.evaluation import by_grammar, scorecard
from finetune.evaluation.by_grammar import Restriction
from finetune.evaluation.compare import Comparison, compare
from finetune.evaluation.tuned_run import (
    HeldOut,
    TunedRun,
    answer_limit,
    check_results,
    held_out_rows,
    open_other,
    open_run,
)
from finetune.records import blind, files, machine
from finetune.records.benchmark import BenchmarkRecord
from finetune.records.dataset import DatasetRecord, read_dataset_record
from finetune.records.evaluation import EvaluationRecord
from finetune.records.record import as_json
from finetune.records.run import read_metrics
from finetune.settings.config import BenchmarkConfig
from finetune.settings.conflicts import QUICK_RUNS
from finetune.signals import number_of
from finetune.tasks.own_scorer import check_scorer
from finetune.terminal import say, show, show_json


def run(config: BenchmarkConfig) -> None:
    """Measure, write the files and print the tables.

    UserError before anything is measured if a part of the run is missing or the results cannot be written.
    """
    tuned = open_run(config.adapter_path)
    other = open_other(config.against, tuned) if config.against else None
    held_out = held_out_rows(tuned, config, quick=config.quick)
    written = (files.BENCHMARK, files.BENCHMARK_TABLE, files.REPORT)
    restriction = by_grammar.restriction(tuned, held_out, asked=config.restrict)
    check_results(config.results_dir, tuned, held_out.data_dir, BenchmarkRecord, written, files.BENCHMARK_ANSWERS)
    files.make_folder(config.results_dir / files.HISTORY)
    metrics = read_metrics(config.adapter_path)
    dataset = read_dataset_record(held_out.data_dir)
    check_scorer(config.scorer, config.scorer_seconds, held_out.rows)
    say(tuned.backend.describe())
    by_grammar.tell_cut(tuned, held_out.rows, config.max_tokens)
    max_tokens = answer_limit(tuned, held_out.rows, config)
    quality = _compared(tuned, other, held_out, config, max_tokens, restriction)
    runs = min(config.runs, QUICK_RUNS) if config.quick else config.runs
    try:
        measured = measure_run(tuned, held_out.rows, runs, max_tokens, compare=config.compare, quick=config.quick)
    except KeyboardInterrupt as interrupt:
        kept = f"stopped: all answers are kept in {_log(config)} (resume with --resume)"
        raise Stopped(kept, number_of(interrupt)) from None
    record = BenchmarkRecord(
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        machine=machine.describe(),
        device=tuned.backend.describe(),
        model=tuned.record.model.name,
        adapter_path=str(tuned.adapter_path),
        runs=runs,
        quality=quality,
        **vars(measured),
    )
    try:
        record = _kept(record, config)
        _write(record, tuned, metrics, dataset, config.results_dir)
        _log(config).unlink(missing_ok=True)
    except UserError as error:
        with suppress(OSError):  # a full disk takes the files, not the numbers on the screen
            _print(record, config.results_dir, as_json_only=config.json)
        raise UserError(f"{error} (the answers are kept: resume with --resume)", error.exit_code) from None
    _print(record, config.results_dir, as_json_only=config.json)
    if not config.json:
        folder = config.results_dir
        show("", f"Numbers: {folder / files.BENCHMARK}", f"Report:  {folder / files.REPORT}")


def _log(config: BenchmarkConfig) -> Path:
    return config.results_dir / files.BENCHMARK_ANSWERS


def _compared(
    tuned: TunedRun,
    other: TunedRun | None,
    held_out: HeldOut,
    config: BenchmarkConfig,
    max_tokens: int,
    restriction: Restriction,
) -> EvaluationRecord:
    return compare(
        Comparison(
            run=tuned,
            rows=held_out.rows,
            split=held_out.split,
            max_tokens=max_tokens,
            log=_log(config),
            resume=config.resume,
            base=config.compare,
            other=other,
            general=config.compare and not config.quick,
            scorer=config.scorer,
            scorer_seconds=config.scorer_seconds,
            **restriction,
        )
    )


def _kept(record: BenchmarkRecord, config: BenchmarkConfig) -> BenchmarkRecord:
    """The record, after the one before it went into the history; with ``--history``, what changed since is in it."""
    history.keep(config.results_dir)
    return replace(record, history=history.since(config.results_dir, record)) if config.history else record


def _write(
    record: BenchmarkRecord,
    tuned: TunedRun,
    metrics: Sequence[files.Row],
    dataset: DatasetRecord,
    folder: Path,
) -> None:
    record.write(folder / files.BENCHMARK)
    files.write_text(folder / files.BENCHMARK_TABLE, tables.as_csv(record))
    page = report.render(record, tuned.record, metrics, dataset, blind.of_evaluation(folder, record.quality))
    files.write_text(folder / files.REPORT, page)


def _print(record: BenchmarkRecord, folder: Path, *, as_json_only: bool) -> None:
    if as_json_only:
        show_json(as_json(record))
        return
    tables.print_benchmark(record)
    scorecard.print_comparison(record.quality, examples=0, blind=blind.of_evaluation(folder, record.quality))
