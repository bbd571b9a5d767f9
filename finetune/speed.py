"""How fast a model answers: first token, prompt and decode rate, batch rate. Measures any backend's model."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from finetune.encoding import Message

TOKENS = 64  # of every answer: a model that stops early or rambles must not change its own rates


def measure(model: Any, conversations: Sequence[Sequence[Message]]) -> dict[str, float]:
    """One repeat: the first conversation alone, then all of them as a batch."""
    prompt = model.encoder.prompt(conversations[0])
    started = time.perf_counter()
    stream = model.stream(prompt, TOKENS, stops=False)
    next(stream)
    first = time.perf_counter()
    tokens = sum(1 for _ in stream)
    decoded = time.perf_counter()
    answers = model.answers(conversations, max_tokens=TOKENS, stops=False)
    batched = time.perf_counter()
    return {
        "first_token_ms": (first - started) * 1e3,
        "prompt_tokens_per_second": len(prompt) / (first - started),
        "decode_tokens_per_second": tokens / (decoded - first),
        "batch_tokens_per_second": sum(answer.tokens for answer in answers) / (batched - decoded),
    }


def alternate(
    models: dict[str, Any], conversations: Sequence[Sequence[Message]], runs: int, on_run: Callable[[], None]
) -> dict[str, dict[str, list[float]]]:
    """``runs`` repeats of each model in turn, so that a drift of the machine meets all alike; a warm-up is not counted.

    Returns for each model the values of each measure, one a repeat.
    """
    measured: dict[str, dict[str, list[float]]] = {name: {} for name in models}
    for repeat in range(runs + 1):
        for name, model in models.items():
            for key, value in measure(model, conversations).items():
                if repeat > 0:
                    measured[name].setdefault(key, []).append(value)
            on_run()
    return measured


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
