"""How fast a model answers: first token, prompt and decode rate, batch rate, memory. Measures any backend's model."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from finetune.encoding import Message

Measured = dict[str, list[float]]  # one value per repeat


def measure(model: Any, conversations: Sequence[Sequence[Message]], max_tokens: int) -> dict[str, float]:
    """One repeat: the first conversation alone, then all of them as a batch.

    The answers run to their own end: a tuned model that stops early is quicker in use, its rates are not changed by it.
    """
    prompt = model.encoder.prompt(conversations[0])
    started = time.perf_counter()
    stream = model.stream(prompt, max_tokens)
    tokens = 1 if next(stream, None) is not None else 0
    first = time.perf_counter()
    tokens += sum(1 for _ in stream)
    decoded = time.perf_counter()
    answers = model.answers(conversations, max_tokens=max_tokens)
    batched = time.perf_counter()
    return {
        "first_token_ms": (first - started) * 1e3,
        "prompt_tokens_per_second": len(prompt) / (first - started),
        "decode_tokens_per_second": max(tokens - 1, 1) / (decoded - first),
        "batch_tokens_per_second": sum(answer.tokens for answer in answers) / (batched - decoded),
    }


def alternate(
    models: dict[str, Any],
    conversations: Sequence[Sequence[Message]],
    max_tokens: int,
    runs: int,
    on_run: Callable[[], None],
) -> dict[str, Measured]:
    """``runs`` repeats of each model in turn, so that a drift of the machine meets all alike; one warm-up is not counted."""
    measured: dict[str, Measured] = {name: {} for name in models}
    for repeat in range(runs + 1):
        for name, model in models.items():
            for key, value in measure(model, conversations, max_tokens).items():
                if repeat > 0:
                    measured[name].setdefault(key, []).append(value)
            on_run()
    return measured


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
