"""Speed and memory of a run's models, as benchmark.json has them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.backends import load_backend
from finetune.backends.interface import Backend
from finetune.benchmark.speed import TOKENS, alternate, latencies, latency, lengths, process_mb, ratios, repeats
from finetune.errors import UserError
from finetune.evaluation.tuned_run import TunedRun
from finetune.methods import METHODS, Method, RowSource
from finetune.models.conversation import Conversation
from finetune.models.examples import TrainingRow, as_rows
from finetune.models.new_tokens import NewTokens
from finetune.records import files
from finetune.records.benchmark import Latency, Memory, PromptLength, Repeats
from finetune.records.files import Row
from finetune.settings.config import TrainingConfig
from finetune.settings.recorded import training_config
from finetune.terminal import Progress, say

_LATENCY_ROWS, _QUICK_LATENCY_ROWS = 20, 4
_LENGTHS, _QUICK_LENGTHS = (128, 256, 512, 1024, 2048, 4096), (128, 256)  # tokens


@dataclass(frozen=True)
class Measured:
    """The part of benchmark.json that is about speed and memory; see BenchmarkRecord for the fields."""

    load_seconds: float
    speed: Mapping[str, Mapping[str, Repeats]]
    ratios: Mapping[str, Mapping[str, Repeats]]
    latency_ms: Mapping[str, Latency]
    lengths: list[PromptLength]
    memory_mb: Mapping[str, Memory]


def measure_run(
    run: TunedRun, rows: Sequence[Row], runs: int, max_tokens: int, *, compare: bool, quick: bool
) -> Measured:
    """``compare``: measure the base model and the fused one as well. ``quick``: fewer answers and prompt lengths."""
    conversations = [Conversation.of(row).prompt for row in rows]
    memory = _memory(run, rows)
    started = time.perf_counter()
    tuned = run.load()
    load_seconds = time.perf_counter() - started
    models = {"tuned": tuned}
    if compare:
        models = {"base": tuned.without_adapter(), "tuned": tuned, "fused": tuned.fused()}
    answered = {name: model for name, model in models.items() if name != "fused"}
    timed = conversations[: _QUICK_LATENCY_ROWS if quick else _LATENCY_ROWS]
    context = run.encoder.context_length
    sizes = [size for size in (_QUICK_LENGTHS if quick else _LENGTHS) if size <= (context or size)]
    tokens = [token for prompt in conversations[:64] for token in run.encoder.prompt(prompt)]
    count = (runs + 1) * len(models) + len(timed) * len(answered) + len(sizes)
    with Progress("Speed", count, "measurements") as bar:
        values = alternate(models, conversations[:16], runs, bar.advance)
        milliseconds = latencies(answered, timed, max_tokens, bar.advance)
        scaling = lengths(tuned, run.backend, tokens, sizes, bar.advance)
    return Measured(
        load_seconds=load_seconds,
        speed={name: {key: repeats(found) for key, found in side.items()} for name, side in values.items()},
        ratios={name: ratios(side, values["base"]) for name, side in values.items() if compare and name != "base"},
        latency_ms={name: latency(found) for name, found in milliseconds.items()},
        lengths=scaling,
        memory_mb=memory,
    )


def _memory(run: TunedRun, rows: Sequence[Row]) -> dict[str, Memory]:
    """Memory of the backend and of the process after each stage of a fresh model."""
    found: dict[str, Memory] = {}

    def note(stage: str) -> None:
        found[stage] = Memory(**run.backend.memory_mb(), process=process_mb())
        run.backend.reset_peak_memory()

    run.backend.reset_peak_memory()
    note("start")
    model = run.load()
    note("load")
    longest = max((Conversation.of(row).prompt for row in rows), key=lambda prompt: len(run.encoder.prompt(prompt)))
    stream = model.stream(run.encoder.prompt(longest), TOKENS, stops=False)
    next(stream)
    note("prompt")
    for _ in stream:
        pass
    note("decode")
    model.answers([Conversation.of(row).prompt for row in rows[:16]], max_tokens=TOKENS, stops=False)
    note("batch of 16")
    del model, stream
    note("freed")
    estimate = _training_step(run, rows)
    note("training step")
    found["training step"] = replace(found["training step"], estimate=estimate())
    return found


def _training_step(run: TunedRun, rows: Sequence[Row]) -> Callable[[], float | None]:
    """Run one step with the settings of the run on its longest rows; the result estimates its peak in MB when called, or says
    why it cannot."""
    config = training_config(run.record, run.adapter_path / files.RUN_RECORD)
    examples = (run.encoder.example(Conversation.of(row)) for row in rows)
    longest = as_rows(sorted(examples, key=lambda example: -len(example.tokens)))
    backend = load_backend(config.backend)
    method = METHODS["sft"]  # whatever the method of the run: the rows are whole conversations
    count = config.batch_size * config.grad_accumulation
    source = RowSource(method, longest[:count], config)
    trainer = backend.Trainer(run.load(tuned=False), method, source, config, 1, "")
    trainer.train(lambda: False, lambda step: True)

    new = run.encoder.new_tokens
    return lambda: estimated_peak(backend, run.model_path, method, config, longest[: config.batch_size], new)


def estimated_peak(
    backend: Backend,
    folder: Path,
    method: Method,
    config: TrainingConfig,
    batch: Sequence[TrainingRow],
    new: NewTokens | None = None,
) -> float | None:
    """The peak of a training step in MB as train.py --dry-run estimates it; None if it cannot, which is said: the measurements
    stand without it."""
    try:
        return backend.estimate_memory(
            folder, method, config, batch, batch, backend.device_memory().free, new=new
        ).peak_mb
    except UserError as error:
        say(f"Note: no estimate of the training step: {error}")
        return None
