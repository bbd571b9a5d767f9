"""Quality, speed and memory of the tuned model, against the base model with --compare; and one page worth sending.

python benchmark.py --compare       results/benchmark.json, results/report.html
"""

from finetune import artifacts, cli
from finetune.config import QUICK_ROWS, BenchmarkConfig


def main(config: BenchmarkConfig) -> None:
    from finetune import benchmarking, comparison, report, run_record, scorecard
    from finetune.progress import say

    run = comparison.open_run(config.adapter_path)
    data_dir = config.data_dir or run.data_dir
    num_samples = config.num_samples or (QUICK_ROWS if config.quick else None)
    rows = comparison.read_rows(run, data_dir, "test", num_samples, config.seed)
    artifacts.make_folder(config.results_dir)
    say(run.backend.describe())
    log = config.results_dir / artifacts.ANSWERS
    quality = comparison.compare(
        run, rows, "test", config.max_tokens, log, base=config.compare, ask_general=not config.quick
    )
    log.unlink(missing_ok=True)
    runs = min(config.runs, 2) if config.quick else config.runs
    speed = benchmarking.measure_speed(run, rows, runs, base=config.compare)
    record = {
        "format": 1,
        "machine": artifacts.machine_and_versions(),
        "device": run.backend.describe(),
        "model": run.record["model"]["name"],
        "adapter_path": str(config.adapter_path),
        "runs": runs,
        "speed": speed,
        "quality": quality,
    }
    artifacts.write_json(config.results_dir / artifacts.BENCHMARK, record)
    scorecard.print_comparison(quality, examples=0)
    benchmarking.print_speed(speed)

    metrics = run_record.read_metrics(config.adapter_path)
    page = report.render(quality, record, run.record, metrics, artifacts.read_dataset_record(data_dir))
    artifacts.write_text(config.results_dir / artifacts.REPORT, page)
    print(f"\nNumbers: {config.results_dir / artifacts.BENCHMARK}")
    print(f"Report:  {config.results_dir / artifacts.REPORT}")


if __name__ == "__main__":
    cli.run(main, BenchmarkConfig)
