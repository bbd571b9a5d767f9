"""Greedy answers to many prompts at once."""

from collections.abc import Callable, Sequence
from typing import Any

from finetune.backends.mlx.runtime import lanes, mx
from finetune.cli import UserError

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
    The prompts are padded on the left and read together; then each step adds a token to every row that is not finished.
    Only the largest logit is looked for: a softmax over the vocabulary would cost as much as the layers.
    """
    lanes(1)  # all BLAS threads for one batch
    length = max(len(prompt) for prompt in prompts)
    padding = [length - len(prompt) for prompt in prompts]
    cache = _batch_caches(network, padding)

    def last_logits(inputs: Any) -> Any:
        if head is None:
            return network(inputs, cache=cache)[:, -1]
        return network.model(inputs, cache=cache)[:, -1] @ head.T  # of a prompt, the head sees the last position alone

    inputs = mx.array([[0] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)])
    answers: list[list[int]] = [[] for _ in prompts]
    stopped = [False] * len(prompts)
    rows = list(range(len(prompts)))  # the prompt of each row of the batch; a row that is finished stays for a while
    live = set(rows)
    while True:
        tokens = mx.argmax(last_logits(inputs), axis=-1)
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
        inputs = tokens[:, None]


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
