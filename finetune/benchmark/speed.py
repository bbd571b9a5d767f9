"""How fast a model answers, and what memory it takes. Measures any backend's model; the clock is the only judge."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

from finetune.backends.interface import Backend, Model
from finetune.models.encoder import Message

TOKENS = (
    32  # of every answer that a rate is taken from: a model that stops early or rambles must not change its own rates
)
BATCHES = (1, 4, 16)  # prompts at once
Conversations = Sequence[Sequence[Message]]
Values = dict[str, list[float]]  # measure -> one value a repeat


def measure(model: Model, conversations: Conversations) -> dict[str, float]:
    """One repeat: the first conversation alone, then as many together as ``BATCHES`` says, some twice where there are fewer."""
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
    """``runs`` repeats of each model in turn, so that a drift of the machine meets all alike; a warm-up is not counted."""
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
    """Milliseconds of a whole answer to each conversation, one after the other, the models in turn."""
    found: dict[str, list[float]] = {name: [] for name in models}
    for messages in conversations:
        for name, model in models.items():
            started = time.perf_counter()
            for _ in model.stream(model.encoder.prompt(messages), max_tokens):
                pass
            found[name].append((time.perf_counter() - started) * 1e3)
            on_run()
    return found


def lengths(
    model: Model, backend: Backend, tokens: Sequence[int], sizes: Sequence[int], on_run: Callable[[], None]
) -> list[dict[str, float]]:
    """First-token time and memory above the weights at prompts of each size, made of ``tokens`` over and over.

    The better of two times: what else the machine does can only add to it.
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
        found.append({"tokens": size, "first_token_ms": min(times), "peak_above_weights_mb": peak})
        on_run()
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(measured: Mapping[str, Values], side: str, to: str) -> dict[str, dict[str, float]]:
    """Of each measure, ``side`` by ``to`` within each repeat: the median, and the least and the most.

    From the least to the most of n pairs holds the true median with probability 1 - 2 / 2^n: 97 % for 6 (sign test).
    """
    return {
        key: spread([a / b for a, b in zip(values, measured[to][key], strict=True)])
        for key, values in measured[side].items()
    }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """50, 95 and 99 in a hundred are no slower: the value at that rank, so that each is one that was measured."""
    ordered = sorted(values)
    return {f"p{share}": ordered[min(len(ordered) - 1, -(-share * len(ordered) // 100) - 1)] for share in (50, 95, 99)}


def process_mb() -> float:
    """Resident memory of this process now, in 10^6 bytes."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True).stdout
    return int(shown.split()[0]) * 1024 / 1e6 if shown.split() else 0.0
