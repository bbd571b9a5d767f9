"""Measure quality, speed and memory of the tuned model, with --compare also of the base model, and write a report.

python benchmark.py --compare             writes results/benchmark.json, benchmark.csv and report.html
python benchmark.py --against other/      compares two adapters
python benchmark.py --history             compares with earlier benchmarks
"""  # PYTHON_ARGCOMPLETE_OK

from signal import SIGINT

from finetune import scripts
from finetune.errors import Stopped
from finetune.records import files
from finetune.settings.config import QUICK_ROWS, BenchmarkConfig
from finetune.settings.conflicts import QUICK_RUNS


def main(config: BenchmarkConfig) -> None:
    from finetune.benchmark import run as benchmarking
    from finetune.evaluation import compare, tuned_run
    from finetune.records.run import read_metrics
    from finetune.terminal import say

    run = tuned_run.open_run(config.adapter_path)
    other = tuned_run.open_other(config.against, run) if config.against else None
    data_dir = config.data_dir or run.data_dir
    num_samples = config.num_samples or (QUICK_ROWS if config.quick else None)
    split = "valid" if config.use_validation else "test"
    rows = tuned_run.read_rows(run, data_dir, split, num_samples, config.seed)
    benchmarking.check_results(config.results_dir)
    metrics = read_metrics(config.adapter_path)
    say(run.backend.describe())
    runs = min(config.runs, QUICK_RUNS) if config.quick else config.runs
    log = config.results_dir / files.BENCHMARK_ANSWERS
    quality = compare.compare(
        run,
        rows,
        split,
        config.max_tokens,
        log,
        base=config.compare,
        other=other,
        ask_general=config.compare and not config.quick,
        resume=config.resume,
    )
    try:
        speed = benchmarking.measured(run, rows, runs, config.max_tokens, compare=config.compare, quick=config.quick)
    except KeyboardInterrupt:
        raise Stopped(f"stopped: all answers are kept in {log} (go on with --resume)", SIGINT) from None
    record = {**benchmarking.described(run, runs), **speed, "quality": quality}
    try:
        benchmarking.write(record, run, data_dir, config.results_dir, metrics, with_history=config.history)
        log.unlink(missing_ok=True)
    finally:  # a full disk takes the files, not the numbers on the screen
        benchmarking.show(record, as_json=config.json)
    if not config.json:
        print(f"\nNumbers: {config.results_dir / files.BENCHMARK}\nReport:  {config.results_dir / files.REPORT}")


if __name__ == "__main__":
    scripts.run(main, BenchmarkConfig)
