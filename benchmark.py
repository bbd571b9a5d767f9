"""Measure quality, speed and memory of the tuned model, with --compare also of the base model, and write a report.

python benchmark.py --compare             writes results/benchmark.json, benchmark.csv and report.html
python benchmark.py --against other/      compares two adapters
python benchmark.py --history             compares with earlier benchmarks
"""  # PYTHON_ARGCOMPLETE_OK

from finetune import signals

if __name__ == "__main__":  # before the imports, which take a moment
    signals.exit_at_once()

from finetune import scripts
from finetune.settings.config import BenchmarkConfig


def main(config: BenchmarkConfig) -> None:
    from finetune.benchmark.run import run

    run(config)


if __name__ == "__main__":
    scripts.run(main, BenchmarkConfig)
