"""benchmark.json: speed, memory and quality of a run's models, and what changed since earlier benchmarks. MB is 10^6 bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from finetune.records.evaluation import EvaluationRecord, Word
from finetune.records.machine import Machine
from finetune.records.record import Record


@dataclass(frozen=True)
class Repeats:
    """A measure over the repeats."""

    median: float  # of all repeats but the warm-up
    min: float  # the least
    max: float  # the most


@dataclass(frozen=True)
class Latency:
    """Milliseconds of whole answers, one prompt after the other."""

    p50: float  # 50 % of the answers take no longer
    p95: float  # 95 %
    p99: float  # 99 %
    all: list[float]  # every answer


@dataclass(frozen=True)
class PromptLength:
    """The tuned model with a prompt of one length."""

    tokens: int  # of the prompt
    first_token_ms: float  # time to first token
    peak_above_weights_mb: float  # most memory held, above what the weights take


@dataclass(frozen=True)
class Memory:
    """Memory after one stage of the measurement, in MB. The stages: `start`, `load` (the model), `prompt` (the longest prompt
    processed), `decode` (32 tokens after it), `batch of 16`, `freed` (the model released) and `training step` (one step with
    the settings of the run on its longest rows)."""

    active: float  # arrays of the backend that are held at the end of the stage
    peak: float  # the most that was held within the stage
    cache: float  # freed arrays that the backend keeps to use again
    process: float  # resident memory of the whole process
    estimate: float | None = None  # of "training step" alone: the peak that train.py --dry-run estimates


@dataclass(frozen=True)
class ListedBenchmark:
    """One of the benchmarks of a history."""

    created: str  # when it was written, ISO 8601
    adapter_path: str  # folder of the adapters
    same_rows: bool  # it asked the rows of this benchmark
    same_setting: bool  # it has the machine, device and model of this benchmark
    accuracy: float | None  # of its tuned model
    interval: tuple[float, float]  # 95 % interval of the accuracy
    decode_tokens_per_second: Repeats  # of its tuned model
    first_token_ms: Repeats  # of its tuned model


@dataclass(frozen=True)
class AnswersSince:
    """The tuned model now and in the last benchmark of the same rows."""

    created: str  # of that benchmark
    adapter_path: str  # of that benchmark
    scored: int  # rows that were scored both times
    then: float  # share of right answers then
    now: float  # and now
    verdict: Word  # of now against then
    explanation: str  # the reason in words


@dataclass(frozen=True)
class SpeedChange:
    """A measure of speed then and now."""

    then: float  # median
    now: float  # median
    changed: bool  # the repeats of then and of now do not overlap, and there are enough of them


@dataclass(frozen=True)
class SpeedsSince:
    """Speeds now and in the last benchmark of the same rows, machine, device and model."""

    created: str  # of that benchmark
    adapter_path: str  # of that benchmark
    runs: tuple[int, int]  # repeats then and now
    enough: bool  # false if the repeats are so few that chance looks like a change
    measures: Mapping[str, Mapping[str, SpeedChange]]  # side -> measure -> then and now

    @property
    def changed(self) -> list[tuple[str, str, SpeedChange]]:
        """Side, measure and change, for those that changed."""
        return [(side, key, at) for side, found in self.measures.items() for key, at in found.items() if at.changed]

    @property
    def total(self) -> int:
        """How many measures were compared."""
        return sum(map(len, self.measures.values()))


@dataclass(frozen=True)
class HistoryRecord:
    """This benchmark and the earlier ones, of results/history."""

    made: list[ListedBenchmark]  # the newest 20, the oldest first and this one last
    older: int  # how many are not listed
    left_out: list[str]  # names of files that could not be read as benchmarks
    answers: AnswersSince | None  # null if no earlier benchmark asked the same rows
    speeds: SpeedsSince | None  # null if no earlier benchmark had the same rows and setting


@dataclass(frozen=True, kw_only=True)
class BenchmarkRecord(Record):
    """Speed, memory and quality of a run's models. The measures of `speed` and `ratios` are taken from answers of 32 tokens:
    `first_token_ms` (one prompt alone), `prompt_tokens_per_second` (tokens of the prompt by that time),
    `decode_tokens_per_second` (tokens after the first by their time), and `batch_1_`, `batch_4_` and
    `batch_16_tokens_per_second` (tokens of as many answers at once by the whole time, prompts included)."""

    FORMAT: ClassVar[int] = 3
    MADE_BY: ClassVar[str] = "python benchmark.py"

    created: str  # when it was written, ISO 8601
    machine: Machine  # the machine and its software
    device: str  # what the backend computed on
    model: str  # name of the model
    adapter_path: str  # folder of the adapters
    runs: int  # repeats of each speed measure; one more, the warm-up, is not counted
    load_seconds: float  # loading the model with its adapter
    speed: Mapping[str, Mapping[str, Repeats]]  # side ("tuned", "base", "fused") -> measure -> its repeats
    ratios: Mapping[
        str, Mapping[str, Repeats]
    ]  # side -> measure -> side / base within each repeat; empty without --compare
    latency_ms: Mapping[str, Latency]  # side -> latency of whole answers
    lengths: list[PromptLength]  # long prompts, tuned model
    memory_mb: Mapping[str, Memory]  # stage -> memory
    quality: EvaluationRecord  # the evaluation, as in evaluation.json
    history: HistoryRecord | None = None  # what changed since earlier benchmarks; only with --history
