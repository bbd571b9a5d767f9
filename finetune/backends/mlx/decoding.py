"""Greedy answers to many prompts at once: the batch is kept full, and what all prompts begin with is read once."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.backends.mlx.runtime import lanes, mx
from finetune.cli import UserError

_MOST_ROWS = 128  # at once: each step reads all weights, however many rows there are
_CACHE_BYTES = 2e9  # of keys and values at once, prompts and answers at their longest
_READ_TOKENS = 1536  # of prompts read at once: more only makes arrays that fit no cache
_FINISHED = 0.25  # of a batch, and others take their places
_SHARED = 8  # tokens at the beginning of all prompts that are worth reading apart


@dataclass(frozen=True)
class Finished:
    index: int  # of the prompt
    tokens: list[int]  # of the answer, without the one that stops it
    stopped: bool  # by such a token, not by the limit
    seconds: float  # since its prompt was read


@dataclass
class _Row:
    index: int
    started: float
    tokens: list[int] = field(default_factory=list)
    live: bool = True


class _Batch:
    """Rows that are decoded together: the last token [rows] of each and the caches of all layers."""

    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self.tokens: Any = None
        self.cache: list[Any] = []

    def drop_finished(self) -> None:
        live = [at for at, row in enumerate(self.rows) if row.live]
        if len(self.rows) - len(live) < max(1, _FINISHED * len(self.rows)):
            return
        self.rows = [self.rows[at] for at in live]
        self.tokens = self.tokens[mx.array(live)] if live else None
        for layer in self.cache if live else []:
            layer.filter(mx.array(live))

    def add(self, rows: list[_Row], tokens: Any, cache: list[Any]) -> None:
        if self.rows:
            self.tokens = mx.concatenate([self.tokens, tokens])
            for layer, more in zip(self.cache, cache, strict=True):
                layer.extend(more)
        else:
            self.cache, self.tokens = cache, tokens
        self.rows += rows


class Decoder:
    """``head`` is the weight [vocabulary, size] of a plain output head, or None for a model with another one.

    Each step adds a token to every row. Only the largest logit is looked for: a softmax over the vocabulary would cost as
    much as the layers.
    """

    def __init__(self, network: Any, head: Any, stop_tokens: frozenset[int], max_tokens: int):
        self.network, self.head, self.stop_tokens, self.max_tokens = network, head, stop_tokens, max_tokens
        self._prefix: list[tuple[Any, Any]] = []  # keys and values [1, heads, length, size] of each layer
        self._shared = 0  # length of the prefix

    def run(self, prompts: Sequence[Sequence[int]]) -> Iterator[Finished]:
        """The answer to each prompt, as they are finished."""
        waiting = sorted(
            range(len(prompts)), key=lambda index: len(prompts[index])
        )  # taken from the end: the longest first
        most = self._read_shared(prompts)
        batches = [_Batch() for _ in lanes(most)]  # side by side, each on a core of its own
        size = max(1, min(most, len(prompts)) // len(batches))
        while waiting or any(batch.rows for batch in batches):
            for batch in batches:
                batch.drop_finished()
                if waiting and len(batch.rows) <= (1 - _FINISHED) * size:
                    chosen = [waiting.pop() for _ in range(min(len(waiting), size - len(batch.rows)))]
                    rows = [_Row(index, time.perf_counter()) for index in chosen]
                    tokens, cache = self._read([prompts[index] for index in chosen])
                    yield from self._note(rows, tokens)
                    batch.add(rows, tokens, cache)
            busy = [batch for batch in batches if any(row.live for row in batch.rows)]
            for lane, batch in zip(lanes(len(busy)) if busy else [], busy, strict=True):
                with mx.stream(lane):
                    batch.tokens = mx.argmax(self._last_logits(batch.tokens[:, None], batch.cache), axis=-1)
            if busy:
                mx.eval(sum(batch.tokens.sum() for batch in busy))  # one scalar that needs all: see lanes()
            for batch in busy:
                yield from self._note(batch.rows, batch.tokens)

    def _note(self, rows: Sequence[_Row], tokens: Any) -> Iterator[Finished]:
        """Give each live row its next token; the answers that end with it."""
        chosen: Any = tokens.tolist()
        for row, token in zip(rows, chosen, strict=True):
            if not row.live:
                continue
            stopped = token in self.stop_tokens
            if not stopped:
                row.tokens.append(token)
            if stopped or len(row.tokens) == self.max_tokens:
                row.live = False
                yield Finished(row.index, row.tokens, stopped, time.perf_counter() - row.started)

    def _last_logits(self, inputs: Any, cache: list[Any]) -> Any:
        """Logits [rows, vocabulary] after the last of the inputs: of a prompt, the head sees no other position."""
        if self.head is None:
            return self.network(inputs, cache=cache)[:, -1]
        return self.network.model(inputs, cache=cache)[:, -1] @ self.head.T

    def _read_shared(self, prompts: Sequence[Sequence[int]]) -> int:
        """Read what all prompts begin with; returns how many rows there is room for at once.

        UserError for a model whose cache has no form for many rows.
        """
        from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache

        if not prompts:
            return 1
        ordered = sorted(map(list, prompts))  # what the first and the last share, all share
        first, last = ordered[0], ordered[-1]
        most = min(len(first), len(last)) - 1
        shared = next((at for at in range(most) if first[at] != last[at]), most)
        caches = make_prompt_cache(self.network)
        if any(type(cache) not in (KVCache, RotatingKVCache) for cache in caches):
            raise UserError(f"models of type {self.network.model_type} cannot answer several rows at once")
        # a layer that sees a window of tokens keeps no more of them
        shared = min([shared, *(cache.max_size for cache in caches if hasattr(cache, "max_size"))])
        if len(prompts) == 1 or shared < _SHARED:
            shared = 0
        lanes(1)
        mx.eval(self._last_logits(mx.array([first[: max(1, shared)]]), caches))
        if shared:
            self._prefix = [(cache.keys[..., :shared, :], cache.values[..., :shared, :]) for cache in caches]
            self._shared = shared
            mx.eval(self._prefix)
        per_token = sum((cache.keys.nbytes + cache.values.nbytes) / cache.keys.shape[2] for cache in caches)
        longest = max(map(len, prompts)) + self.max_tokens
        return int(min(_MOST_ROWS, max(1, _CACHE_BYTES // (per_token * longest))))

    def _read(self, prompts: Sequence[Sequence[int]]) -> tuple[Any, list[Any]]:
        """The first token [rows] after each prompt, and the cache of each layer for all of them."""
        logits, caches = [], []
        group = max(1, _READ_TOKENS // (max(len(prompt) for prompt in prompts) - self._shared))
        parts = [prompts[at : at + group] for at in range(0, len(prompts), group)]
        side_by_side = len(lanes(len(parts)))
        for at in range(0, len(parts), side_by_side):
            together = parts[at : at + side_by_side]
            for lane, part in zip(lanes(len(together)), together, strict=True):
                length = max(len(prompt) for prompt in part)
                padding = [length - len(prompt) for prompt in part]
                with mx.stream(lane):
                    cache = self._batch_caches(padding)
                    inputs = mx.array([[0] * pad + list(prompt) for pad, prompt in zip(padding, part, strict=True)])
                    logits.append(self._last_logits(inputs[:, self._shared :], cache))
                caches.append(cache)
            mx.eval(sum(part.sum() for part in logits[at:]))  # one scalar that needs all: see lanes()
            mx.eval(logits[at:], [layer.state for cache in caches[at:] for layer in cache])
        lanes(1)  # all BLAS threads for one batch from here on
        for other in caches[1:]:
            for layer, more in zip(caches[0], other, strict=True):
                layer.extend(more)
        return mx.argmax(mx.concatenate(logits), axis=-1), caches[0]

    def _batch_caches(self, padding: Sequence[int]) -> list[Any]:
        """The cache of each layer, for rows padded on the left, the shared prefix in it."""
        from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache, make_prompt_cache

        caches = [
            BatchRotatingKVCache(cache.max_size, list(padding))
            if hasattr(cache, "max_size")
            else BatchKVCache(list(padding))
            for cache in make_prompt_cache(self.network)
        ]
        if self._shared:
            # a padded row's prefix begins later: its end is read again, in place of what would be padding
            columns = mx.maximum(mx.arange(self._shared)[None] - mx.array(list(padding))[:, None], 0)
            for cache, (keys, values) in zip(caches, self._prefix, strict=True):
                cache.update_and_fetch(*(mx.take(part[0], columns, axis=1).swapaxes(0, 1) for part in (keys, values)))
        return caches
