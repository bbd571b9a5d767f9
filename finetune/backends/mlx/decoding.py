"""Greedy answers to many prompts at once."""

from collections.abc import Callable, Sequence
from typing import Any

from finetune.backends.mlx.runtime import lanes, mx
from finetune.cli import UserError

_READ_TOKENS = 1536  # of prompts read at once: more only makes arrays that fit no cache
_FINISHED = 0.25  # of a batch, and the finished rows are taken out of it


def decode(
    network: Any,
    head: Any,
    prompts: Sequence[Sequence[int]],
    stop_tokens: frozenset[int],
    max_tokens: int,
    on_answer: Callable[[], None],
) -> list[tuple[list[int], bool]]:
    """For each prompt the tokens of the answer, without the one that stops it, and whether one did.

    head: the weight [vocabulary, size] of a plain output head, or None for a model with another one.
    The prompts are read some at a time, padded on the left; then each step adds a token to every row that is not finished.
    Only the largest logit is looked for: a softmax over the vocabulary would cost as much as the layers.
    """

    def last_logits(inputs: Any, cache: list[Any]) -> Any:
        if head is None:
            return network(inputs, cache=cache)[:, -1]
        return network.model(inputs, cache=cache)[:, -1] @ head.T  # of a prompt, the head sees the last position alone

    logits, cache = _read(network, last_logits, prompts)
    answers: list[list[int]] = [[] for _ in prompts]
    stopped = [False] * len(prompts)
    rows = list(range(len(prompts)))  # the prompt of each row of the batch; a row that is finished stays for a while
    live = set(rows)
    while True:
        tokens = mx.argmax(logits, axis=-1)
        chosen: Any = tokens.tolist()
        for row, token in zip(rows, chosen, strict=True):
            if row not in live:
                continue
            stopped[row] = token in stop_tokens
            if not stopped[row]:
                answers[row].append(token)
            if stopped[row] or len(answers[row]) == max_tokens:
                live.remove(row)
                on_answer()
        if not live:
            return list(zip(answers, stopped, strict=True))
        if len(rows) - len(live) >= _FINISHED * len(rows):
            kept = [at for at, row in enumerate(rows) if row in live]
            rows = [rows[at] for at in kept]
            tokens = tokens[mx.array(kept)]
            for part in cache:
                part.filter(mx.array(kept))
        logits = last_logits(tokens[:, None], cache)


def _read(
    network: Any, last_logits: Callable[[Any, list[Any]], Any], prompts: Sequence[Sequence[int]]
) -> tuple[Any, list[Any]]:
    """Logits [rows, vocabulary] after each prompt, and the cache of each layer for all of them."""
    logits, caches = [], []
    group = max(1, _READ_TOKENS // max(len(prompt) for prompt in prompts))
    parts = [prompts[at : at + group] for at in range(0, len(prompts), group)]
    side_by_side = len(lanes(len(parts)))
    for at in range(0, len(parts), side_by_side):
        together = parts[at : at + side_by_side]
        for lane, part in zip(lanes(len(together)), together, strict=True):
            length = max(len(prompt) for prompt in part)
            padding = [length - len(prompt) for prompt in part]
            with mx.stream(lane):
                cache = _batch_caches(network, padding)
                inputs = mx.array([[0] * pad + list(prompt) for pad, prompt in zip(padding, part, strict=True)])
                logits.append(last_logits(inputs, cache))
            caches.append(cache)
        mx.eval(sum(part.sum() for part in logits[at:]))  # one scalar that needs all: see lanes()
        mx.eval(logits[at:], [layer.state for cache in caches[at:] for layer in cache])
    lanes(1)  # all BLAS threads for one batch from here on
    for other in caches[1:]:
        for layer, more in zip(caches[0], other, strict=True):
            layer.extend(more)
    return mx.concatenate(logits), caches[0]


def _batch_caches(network: Any, padding: list[int]) -> list[Any]:
    """The empty cache of each layer, for rows padded on the left. UserError for a model whose cache has no such form."""
    from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache, KVCache, RotatingKVCache, make_prompt_cache

    caches: list[Any] = []
    for cache in make_prompt_cache(network):
        if type(cache) is KVCache:
            caches.append(BatchKVCache(padding))
        elif type(cache) is RotatingKVCache:
            caches.append(BatchRotatingKVCache(cache.max_size, padding))
        else:
            raise UserError(f"models of type {network.model_type} cannot answer several rows at once")
    return caches
