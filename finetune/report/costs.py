"""What a benchmark says of speed and memory, as the page and the terminal show it."""

from collections.abc import Mapping
from dataclasses import dataclass

from finetune.records.benchmark import BenchmarkRecord, Repeats
from finetune.report.curve import Metrics
from finetune.report.texts import Cell, fixed, number

_ENOUGH = 6  # repeats: all of them agree by chance in 3 of 100 cases (sign test, 2 / 2^6)
_ANSWERING = ("load", "prompt", "decode", "batch of 16")  # stages of memory_mb


@dataclass(frozen=True)
class Speed:
    """A measure of speed in benchmark.json."""

    label: str
    unit: str
    more_is_better: bool = True


SPEEDS = {
    "first_token_ms": Speed("time to first token", "ms", more_is_better=False),
    "prompt_tokens_per_second": Speed("prompt processing", "tokens/s"),
    "decode_tokens_per_second": Speed("decode", "tokens/s"),
    "batch_1_tokens_per_second": Speed("batch of 1", "tokens/s"),
    "batch_4_tokens_per_second": Speed("batch of 4", "tokens/s"),
    "batch_16_tokens_per_second": Speed("batch of 16", "tokens/s"),
}
LATENCIES = {"p50": "latency p50", "p95": "latency p95", "p99": "latency p99"}
MEMORY = {"active": "held", "peak": "peak", "cache": "cached", "process": "process"}


@dataclass(frozen=True)
class SpeedRow:
    """A measure: for each side its median with the range of the repeats, and its ratio to the base model's."""

    measure: Speed
    cells: dict[str, Cell]
    ratios: dict[str, Cell]


def speed(benchmark: BenchmarkRecord) -> dict[str, SpeedRow]:
    """A row for each measure of ``SPEEDS``."""
    return {
        key: SpeedRow(
            measure,
            {name: _repeats(side[key]) for name, side in benchmark.speed.items()},
            {name: _ratio(side[key], measure, benchmark.runs) for name, side in benchmark.ratios.items()},
        )
        for key, measure in SPEEDS.items()
    }


def _repeats(found: Repeats) -> Cell:
    detail = f"{number(found.min)} to {number(found.max)}" if found.min != found.max else ""
    return Cell(number(found.median), detail)


def _ratio(found: Repeats, measure: Speed, runs: int) -> Cell:
    """It is good or bad if all pairs of repeats, and enough of them, lie on one side of 1."""
    colour = ""
    if runs >= _ENOUGH and (found.min > 1 or found.max < 1):
        colour = "good" if (found.min > 1) == measure.more_is_better else "bad"
    return Cell(f"{fixed(found.median, 2)} × base", f"{fixed(found.min, 2)} to {fixed(found.max, 2)}", colour)


def decode(rows: Mapping[str, SpeedRow]) -> Cell:
    """The decode speed in short: against the base model, if it was measured too."""
    row = rows["decode_tokens_per_second"]
    speed = f"{row.cells['tuned'].text} {row.measure.unit}"
    if "tuned" not in row.ratios:
        return Cell(speed)
    ratio = row.ratios["tuned"]
    fused = f"; fused {row.ratios['fused'].text}" if "fused" in row.ratios else ""
    return Cell(ratio.text, f"{speed}; {ratio.detail}{fused}", ratio.css_class)


def memory(benchmark: BenchmarkRecord, metrics: Metrics) -> Cell:
    """Peak memory of answering and of training."""
    answering = max(benchmark.memory_mb[stage].peak for stage in _ANSWERING if stage in benchmark.memory_mb)
    training = [row["peak_memory_mb"] for row in metrics if "peak_memory_mb" in row]
    (most, what), *others = [(answering, "answering"), *([(max(training), "training")] if training else [])]
    return Cell(f"{number(most)} MB", what + "".join(f"; {number(value)} MB {name}" for value, name in others))
