"""Quality, speed and memory of the tuned model, against the base model with --compare; and one page worth sending.

python benchmark.py --compare       results/benchmark.json, results/report.html
"""

from finetune import artifacts, cli
from finetune.config import BenchmarkConfig


def main(config: BenchmarkConfig) -> None:
    from finetune import benchmarking, comparison, report
    from finetune.progress import say

    run = comparison.open_run(config.adapter_path)
    artifacts.make_folder(config.results_dir)
    rows = comparison.read_split(
        run, config.data_dir, "test", config.num_samples or (10 if config.quick else None), config.seed
    )
    say(run.backend.describe())
    quality = comparison.compare(run, rows, "test", config.max_tokens, base=config.compare)
    runs = min(config.runs, 2) if config.quick else config.runs
    speed = benchmarking.measure_speed(run, rows, config.max_tokens, runs, base=config.compare)
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
    comparison.print_comparison(quality, examples=0)
    benchmarking.print_speed(speed)

    metrics = [row for _, row in artifacts.read_jsonl(config.adapter_path / artifacts.METRICS)]
    html = report.render(
        quality, record, run.record, metrics, comparison.dataset_record(run, config.data_dir)
    )
    artifacts.write_text(config.results_dir / artifacts.REPORT, html)
    print(
        f"\nNumbers: {config.results_dir / artifacts.BENCHMARK}   Report: {config.results_dir / artifacts.REPORT}"
    )


if __name__ == "__main__":
    cli.run(main, BenchmarkConfig)
