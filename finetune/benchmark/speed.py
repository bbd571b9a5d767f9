"""How fast a model of any backend answers, and what memory it takes."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

from finetune.backends.interface import Backend, Model
from finetune.models.conversation import Conversation
from finetune.records import mac
from finetune.records.benchmark import Latency, PromptLength, Repeats

TOKENS = 32  # of every answer that a rate is taken from, so that a model's answers do not change its own rates
BATCHES = (1, 4, 16)  # prompts at once
Conversations = Sequence[Conversation]
Values = dict[str, list[float]]  # measure -> a value for each repeat


def measure(model: Model, conversations: Conversations) -> dict[str, float]:
    """One repeat: the first conversation alone, then batches of ``BATCHES``, repeating conversations if there are fewer."""
    prompt = model.encoder.prompt(conversations[0])
    started = time.perf_counter()
    stream = model.stream(prompt, TOKENS, stops=False)
    next(stream)
    first = time.perf_counter()
    tokens = sum(1 for _ in stream)
    decoded = time.perf_counter()
    found = {
        "first_token_ms": (first - started) * 1e3,
        "prompt_tokens_per_second": len(prompt) / (first - started),
        "decode_tokens_per_second": tokens / (decoded - first),
    }
    for size in BATCHES:
        started = time.perf_counter()
        answers = model.answers(list(islice(cycle(conversations), size)), max_tokens=TOKENS, stops=False)
        found[f"batch_{size}_tokens_per_second"] = sum(answer.tokens for answer in answers) / (
            time.perf_counter() - started
        )
    return found


def alternate(
    models: Mapping[str, Model], conversations: Conversations, runs: int, on_run: Callable[[], None]
) -> dict[str, Values]:
    """``runs`` repeats of each model, after one warm-up. The models take turns, so that a drift of the machine affects all."""
    measured: dict[str, Values] = {name: {} for name in models}
    for repeat in range(runs + 1):
        for name, model in models.items():
            for key, value in measure(model, conversations).items():
                if repeat > 0:
                    measured[name].setdefault(key, []).append(value)
            on_run()
    return measured


def latencies(
    models: Mapping[str, Model], conversations: Conversations, max_tokens: int, on_run: Callable[[], None]
) -> dict[str, list[float]]:
    """Milliseconds of a whole answer to each conversation, one at a time; the models take turns."""
    found: dict[str, list[float]] = {name: [] for name in models}
    for conversation in conversations:
        for name, model in models.items():
            started = time.perf_counter()
            for _ in model.stream(model.encoder.prompt(conversation), max_tokens):
                pass
            found[name].append((time.perf_counter() - started) * 1e3)
            on_run()
    return found


def lengths(
    model: Model, backend: Backend, tokens: Sequence[int], sizes: Sequence[int], on_run: Callable[[], None]
) -> list[PromptLength]:
    """Time to first token and memory above the weights for prompts of each size, made by repeating ``tokens``.

    The better of two times: other work on the machine can only add to it.
    """
    found = []
    for size in sizes:
        prompt = list(islice(cycle(tokens), size))
        times = []
        for _ in range(2):
            backend.reset_peak_memory()
            before = backend.memory_mb()["active"]
            started = time.perf_counter()
            next(model.stream(prompt, 1, stops=False))
            times.append((time.perf_counter() - started) * 1e3)
            peak = backend.memory_mb()["peak"] - before
        found.append(PromptLength(size, min(times), peak))
        on_run()
    return found


def repeats(values: Sequence[float]) -> Repeats:
    return Repeats(statistics.median(values), min(values), max(values))


def ratios(values: Values, base: Values) -> dict[str, Repeats]:
    """Each measure by that of ``base`` in the same repeat.

    The range of n such ratios holds the true median with probability 1 - 2 / 2^n: 97 % for 6 (sign test).
    """
    return {key: repeats([a / b for a, b in zip(found, base[key], strict=True)]) for key, found in values.items()}


def latency(values: Sequence[float]) -> Latency:
    """The percentiles are measured values: of those that are at least as slow as the share, the fastest."""
    ordered = sorted(values)
    p50, p95, p99 = (ordered[min(len(ordered) - 1, -(-share * len(ordered) // 100) - 1)] for share in (50, 95, 99))
    return Latency(p50, p95, p99, list(values))


def process_mb() -> float:
    """Memory of this process now, in 10^6 bytes: what is resident, and on a Mac what the Activity Monitor shows."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    if (found := mac.footprint(os.getpid())) is not None:
        return found / 1e6
    resident = mac.said("ps", "-o", "rss=", "-p", str(os.getpid())).split()
    return int(resident[0]) * 1024 / 1e6 if resident else 0.0
