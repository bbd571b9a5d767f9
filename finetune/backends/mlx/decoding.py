"""Answers to many prompts at once: the batch is kept full, a prefix that all prompts share is read once, and so is each prompt
that has several completions."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from finetune.backends.mlx.cpu_math import exp
from finetune.backends.mlx.layout import layout_of
from finetune.backends.mlx.runtime import mx, streams
from finetune.errors import UserError
from finetune.signals import Stop, never

_MOST_ROWS = 128  # at once: each step reads all weights, however many rows there are
_CACHE_BYTES = 2e9  # of keys and values at once, prompts and answers at their longest
_READ_TOKENS = 1536  # of prompts read at once: more only makes arrays that fit no cache
_FINISHED = 0.25  # of a batch, and others take their places
_STREAM_ROWS = 20  # fewer are no batch of their own: each batch reads all weights, and that is then most of its time
_SHARED = 8  # tokens at the beginning of all prompts that are worth reading apart


_PIECE = 256  # tokens of the vocabulary among which the last choice is made


@dataclass(frozen=True)
class Finished:
    index: int  # of the prompt
    tokens: list[int]  # of the answer, without the one that stops it
    stop: int | None  # that token; None if the answer was cut off at the token limit
    seconds: float  # since its prompt was read
    logprobs: list[float]  # of each token, the stopping one too; none unless they are sampled

    @property
    def stopped(self) -> bool:
        return self.stop is not None


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled. What a row samples depends on the seed and its index alone, not on the rows beside it."""

    temperature: float
    seed: str


@dataclass
class _Row:
    index: int
    started: float
    generator: random.Random | None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    live: bool = True


class _Batch:
    """Rows that are decoded together: the last token [rows] of each and the caches of all layers."""

    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self.tokens: Any = None
        self.logprobs: Any = None  # [rows] of the last tokens, if they are sampled
        self.cache: list[Any] = []

    @property
    def live(self) -> int:
        return sum(row.live for row in self.rows)

    def drop_finished(self, share: float = _FINISHED) -> None:
        """If they are at least this share of the rows."""
        live = [at for at, row in enumerate(self.rows) if row.live]
        if len(self.rows) - len(live) < max(1, share * len(self.rows)):
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


def _join(batches: list[_Batch]) -> None:
    """As few batches as the live rows fill."""
    while len(batches) > max(1, sum(batch.live for batch in batches) // _STREAM_ROWS):
        first, last = batches[0], batches.pop()
        for batch in (first, last):
            batch.drop_finished(share=0)
        if last.rows:
            first.add(last.rows, last.tokens, last.cache)


class Decoder:
    """``head`` is the weight [vocabulary, size] of a plain output head, or None for a model with another one.

    Each step adds a token to every row. Without ``sampling`` only the largest logit is looked for: a softmax over the
    vocabulary would cost as much as the layers.
    """

    def __init__(
        self,
        network: Any,
        head: Any,
        stop_tokens: frozenset[int],
        max_tokens: int,
        sampling: Sampling | None = None,
    ):
        self.network, self.head, self.stop_tokens, self.max_tokens = network, head, stop_tokens, max_tokens
        self.sampling = sampling
        self._trunk = None if head is None else layout_of(network).trunk
        self._prefix: list[tuple[Any, Any]] = []  # keys and values [1, heads, length, size] of each layer
        self._shared = 0  # length of the prefix

    def run(self, prompts: Sequence[Sequence[int]], stop: Stop = never) -> Iterator[Finished]:
        """The answer to each prompt, as soon as it is finished; none after ``stop`` has returned True.

        ``stop`` is called at every token, and between the batches of prompts that are read.
        """
        # taken from the end: the longest first, and the same prompts one after the other
        waiting = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), prompts[index]))
        most = self._read_shared(prompts)
        at_once = min(most, len(prompts))
        batches = [
            _Batch() for _ in streams(max(1, at_once // _STREAM_ROWS))
        ]  # side by side, each on a core of its own
        size = max(1, at_once // len(batches))
        while not stop() and (waiting or any(batch.rows for batch in batches)):
            if not waiting:
                _join(batches)
            for batch in batches:
                batch.drop_finished()
                if waiting and len(batch.rows) <= (1 - _FINISHED) * size:
                    chosen = [waiting.pop() for _ in range(min(len(waiting), size - len(batch.rows)))]
                    rows = [self._row(index) for index in chosen]
                    read = self._read([prompts[index] for index in chosen], stop)
                    if read is None:
                        return
                    logits, cache = read
                    tokens, logprobs = self._next(logits, rows)
                    yield from self._note(rows, tokens, logprobs)
                    batch.add(rows, tokens, cache)
            busy = [batch for batch in batches if batch.live]
            for stream, batch in zip(streams(len(busy)) if busy else [], busy, strict=True):
                with mx.stream(stream):
                    batch.tokens, batch.logprobs = self._next(
                        self._last_logits(batch.tokens[:, None], batch.cache), batch.rows
                    )
            if busy:
                mx.eval(sum(batch.tokens.sum() for batch in busy))  # one scalar that needs all: see streams()
            for batch in busy:
                yield from self._note(batch.rows, batch.tokens, batch.logprobs)

    def _note(self, rows: Sequence[_Row], tokens: Any, logprobs: Any) -> Iterator[Finished]:
        """Give each live row its next token; the answers that end with it."""
        chosen: Any = tokens.tolist()
        likely: Any = [None] * len(rows) if logprobs is None else logprobs.tolist()
        for row, token, logprob in zip(rows, chosen, likely, strict=True):
            if not row.live:
                continue
            if logprob is not None:
                row.logprobs.append(logprob)
            stopped = token in self.stop_tokens
            if not stopped:
                row.tokens.append(token)
            if stopped or len(row.tokens) == self.max_tokens:
                row.live = False
                seconds = time.perf_counter() - row.started
                yield Finished(row.index, row.tokens, token if stopped else None, seconds, row.logprobs)

    def _row(self, index: int) -> _Row:
        generator = random.Random(f"{self.sampling.seed} {index}") if self.sampling else None
        return _Row(index, time.perf_counter(), generator)

    def _next(self, logits: Any, rows: Sequence[_Row]) -> tuple[Any, Any]:
        """The next token [rows] after logits [rows, vocabulary] and, if it is sampled, its log-probability [rows]."""
        if self.sampling is None:
            return mx.argmax(logits, axis=-1), None
        numbers = [row.generator.random() if row.generator else 0.0 for row in rows]
        return _sampled(logits.astype(mx.float32) / self.sampling.temperature, mx.array(numbers))

    def _last_logits(self, inputs: Any, cache: list[Any]) -> Any:
        """Logits [rows, vocabulary] after the last of the inputs: of a prompt, the head sees no other position."""
        if self._trunk is None:
            return self.network(inputs, cache=cache)[:, -1]
        return self._trunk(inputs, cache=cache)[:, -1] @ self.head.T

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
        streams(1)
        mx.eval(self._last_logits(mx.array([first[: max(1, shared)]]), caches))
        if shared:
            self._prefix = [(cache.keys[..., :shared, :], cache.values[..., :shared, :]) for cache in caches]
            self._shared = shared
            mx.eval(self._prefix)
        per_token = sum((cache.keys.nbytes + cache.values.nbytes) / cache.keys.shape[2] for cache in caches)
        longest = max(map(len, prompts)) + self.max_tokens
        return int(min(_MOST_ROWS, max(1, _CACHE_BYTES // (per_token * longest))))

    def _read(self, prompts: Sequence[Sequence[int]], stop: Stop) -> tuple[Any, list[Any]] | None:
        """The logits [rows, vocabulary] after each prompt, and the cache of each layer for all of them; of several prompts in a
        row that are the same, the first is read. None if ``stop`` interrupted it."""
        copies = [0]
        for before, prompt in pairwise(prompts):
            copies.append(copies[-1] + (prompt != before))
        prompts = [prompt for at, prompt in enumerate(prompts) if at == 0 or prompt != prompts[at - 1]]
        logits, caches = [], []
        group = max(1, _READ_TOKENS // (max(len(prompt) for prompt in prompts) - self._shared))
        parts = [prompts[at : at + group] for at in range(0, len(prompts), group)]
        side_by_side = len(streams(len(parts)))
        for at in range(0, len(parts), side_by_side):
            if stop():
                return None
            together = parts[at : at + side_by_side]
            for stream, part in zip(streams(len(together)), together, strict=True):
                length = max(len(prompt) for prompt in part)
                padding = [length - len(prompt) for prompt in part]
                with mx.stream(stream):
                    cache = self._batch_caches(padding)
                    inputs = mx.array([[0] * pad + list(prompt) for pad, prompt in zip(padding, part, strict=True)])
                    logits.append(self._last_logits(inputs[:, self._shared :], cache))
                caches.append(cache)
            mx.eval(sum(part.sum() for part in logits[at:]))  # one scalar that needs all: see streams()
            mx.eval(logits[at:], [layer.state for cache in caches[at:] for layer in cache])
        streams(1)  # all BLAS threads for one batch from here on
        for other in caches[1:]:
            for layer, more in zip(caches[0], other, strict=True):
                layer.extend(more)
        if len(copies) == len(prompts):
            return mx.concatenate(logits), caches[0]
        for layer in caches[0]:
            layer.filter(mx.array(copies))
        return mx.concatenate(logits)[mx.array(copies)], caches[0]

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


def _sampled(logits: Any, numbers: Any) -> tuple[Any, Any]:
    """One token [rows] for each row of logits [rows, vocabulary], sampled from the softmax by a number in [0, 1), and its
    log-probability [rows].

    First the piece of the vocabulary in which the number falls, then the token in it: sums over a whole vocabulary one value
    after the other would take longer than the layers, and noise for every token too.
    """
    rows, vocabulary = logits.shape
    weights = exp(logits - logits.max(axis=-1, keepdims=True))
    if rest := -vocabulary % _PIECE:
        weights = mx.pad(weights, [(0, 0), (0, rest)])
    pieces = weights.reshape(rows, -1, _PIECE)
    ends = mx.cumsum((pieces @ mx.ones((_PIECE, 1))).squeeze(-1), axis=-1)
    wanted = mx.minimum(numbers[:, None], 1 - 2**-24) * ends[:, -1:]  # 1 would lie beyond the last token
    piece = mx.minimum((ends <= wanted).sum(axis=-1, keepdims=True), ends.shape[-1] - 1)
    before = mx.where(piece > 0, mx.take_along_axis(ends, mx.maximum(piece - 1, 0), axis=-1), 0.0)
    chosen = mx.take_along_axis(pieces, piece[..., None], axis=1).squeeze(1)
    inside = before + mx.cumsum(chosen, axis=-1)
    # rounding may leave the number beyond the last sum: then the last token that can come is meant, never one of weight 0
    possible = mx.where(chosen > 0, mx.arange(_PIECE), -1).max(axis=-1)
    token = mx.minimum((inside <= wanted).sum(axis=-1), possible)
    weight = mx.take_along_axis(chosen, token[:, None], axis=-1).squeeze(-1)
    return piece.squeeze(-1) * _PIECE + token, mx.log(weight / ends[:, -1])
