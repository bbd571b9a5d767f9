"""Answers to many prompts at once: the batch is kept full, a prefix that all prompts share is read once, and so is each prompt
that has several completions. A model answers so only where that is proven to change nothing."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.backends.mlx.batch_proof import way_of
from finetune.backends.mlx.batches import extend, keep_rows, read, row_bytes
from finetune.backends.mlx.cpu_math import exp
from finetune.backends.mlx.mending import whole_texts
from finetune.backends.mlx.proofs import has_float16
from finetune.backends.mlx.runtime import GPU_STEP, evaluate, mx, streams
from finetune.backends.mlx.wired import wired
from finetune.errors import UserError
from finetune.models.constraint import Constraint, Restrict, allowed_rows
from finetune.settings import environment
from finetune.signals import Stop, never

_MOST_ROWS = 128  # at once: each step reads all weights, however many rows there are
_CACHE_BYTES = 2e9  # of keys, values and states at once, prompts and answers at their longest
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
    constraint: Constraint | None = None  # of what the answer may be


class _Batch:
    """Rows that are decoded together: the last token [rows] of each and the caches of all layers.

    The tokens may still be computed: ``unread`` until each row has its own.
    """

    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self.tokens: Any = None
        self.logprobs: Any = None  # [rows] of the last tokens, if they are sampled
        self.cache: list[Any] = []
        self.unread = False

    @property
    def live(self) -> int:
        return sum(row.live for row in self.rows)

    def has_finished(self, share: float = _FINISHED) -> bool:
        """Whether at least this share of the rows has, and one."""
        return len(self.rows) - self.live >= max(1, share * len(self.rows))

    def drop_finished(self, share: float = _FINISHED) -> None:
        """If they are at least this share of the rows."""
        if not self.has_finished(share):
            return
        live = [at for at, row in enumerate(self.rows) if row.live]
        self.rows = [self.rows[at] for at in live]
        self.tokens = self.tokens[mx.array(live)] if live else None
        if live:
            keep_rows(self.cache, live)

    def add(self, rows: list[_Row], tokens: Any, cache: list[Any]) -> None:
        if self.rows:
            self.tokens = mx.concatenate([self.tokens, tokens])
            extend(self.cache, cache)
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
    """Answers of ``network``, until one of the ``stop_tokens`` or ``max_tokens``.

    Each step adds a token to every row. Without ``sampling`` only the largest logit is looked for: a softmax over the
    vocabulary would cost as much as the layers. ``restrict`` says what each answer may be.
    """

    def __init__(
        self,
        network: Any,
        stop_tokens: frozenset[int],
        max_tokens: int,
        sampling: Sampling | None = None,
        restrict: Restrict | None = None,
    ):
        self.network, self.stop_tokens, self.max_tokens = network, stop_tokens, max_tokens
        self.sampling, self.restrict = sampling, restrict
        self._may_overflow = has_float16(network)

    def run(self, prompts: Sequence[Sequence[int]], stop: Stop = never) -> Iterator[Finished]:
        """The answer to each prompt, as soon as it is finished; none after ``stop`` has returned True.

        ``stop`` is called at every token, and between the batches of prompts that are read.
        """
        if prompts:
            with wired(_CACHE_BYTES), whole_texts(self.network, max(map(len, prompts)) + self.max_tokens):
                yield from self._run(prompts, stop)

    def _run(self, prompts: Sequence[Sequence[int]], stop: Stop) -> Iterator[Finished]:
        # taken from the end: the longest first, and the same prompts one after the other
        waiting = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), prompts[index]))
        self._way, self._last_logits = way_of(self.network, prompts, self.max_tokens)
        at_once = min(self._read_shared(prompts), len(prompts))
        # A GPU computes the next token of each row while the last one is read: that a row is finished is known one token late,
        # which changes nothing. A grammar must have read the last one.
        ahead = GPU_STEP and self.restrict is None
        # side by side, each on a core of its own
        side_by_side = 1 if ahead else max(1, at_once // _STREAM_ROWS if self._way.joins else 1)
        batches = [_Batch() for _ in streams(side_by_side)]
        size = max(1, at_once // len(batches))
        while not stop() and (waiting or any(batch.rows for batch in batches)):
            if not waiting:
                _join(batches)
            for batch in batches:
                if batch.unread and (
                    batch.has_finished() or (waiting and self._has_room(batch, size))
                ):  # rows may change
                    yield from self._note(batch.rows, batch.tokens, batch.logprobs)
                    batch.unread = False
                batch.drop_finished()
                if waiting and self._has_room(batch, size):
                    chosen = self._take(waiting, size - len(batch.rows), prompts)
                    rows = [self._row(index) for index in chosen]
                    found = read(self._way, self._last_logits, [prompts[index] for index in chosen], stop)
                    if found is None:
                        return
                    logits, cache = found
                    tokens, logprobs = self._next(logits, rows)
                    yield from self._note(rows, tokens, logprobs)
                    batch.add(rows, tokens, cache)
            busy = [batch for batch in batches if batch.live]
            yield from self._step(busy, ahead=ahead)

    def _step(self, batches: Sequence[_Batch], *, ahead: bool) -> Iterator[Finished]:
        """Give each row of the batches one more token; ``ahead``: of that the device computes, the last one is read."""
        last = [(batch.rows, batch.tokens, batch.logprobs) for batch in batches if batch.unread]
        for stream, batch in zip(streams(len(batches)) if batches else [], batches, strict=True):
            with mx.stream(stream):
                logits = self._last_logits(batch.tokens[:, None], batch.cache)
                batch.tokens, batch.logprobs = self._next(logits, batch.rows)
                batch.unread = ahead
        if ahead:
            mx.async_eval([(batch.tokens, batch.logprobs) for batch in batches])
        elif batches:
            evaluate([batch.tokens for batch in batches])
            last = [(batch.rows, batch.tokens, batch.logprobs) for batch in batches]
        for rows, tokens, logprobs in last:
            yield from self._note(rows, tokens, logprobs)

    def _has_room(self, batch: _Batch, size: int) -> bool:
        """Whether prompts that wait can be put to the rows of a batch."""
        return len(batch.rows) <= (1 - _FINISHED) * size if self._way.joins else not batch.rows

    def _take(self, waiting: list[int], most: int, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Prompts that can be in one batch, taken out of those that wait."""
        chosen = [waiting.pop()]
        length = len(prompts[chosen[0]])
        while waiting and len(chosen) < most and (self._way.joins or len(prompts[waiting[-1]]) == length):
            chosen.append(waiting.pop())
        return chosen

    def _note(self, rows: Sequence[_Row], tokens: Any, logprobs: Any) -> Iterator[Finished]:
        """Give each live row its next token; the answers that end with it."""
        chosen: Any = tokens.tolist()
        if self._may_overflow and min(chosen) < 0:
            raise UserError(
                f"{environment.PRECISION}=float16: numbers of this model are too large for it (unset it: bfloat16 has room)"
            )
        likely: Any = [None] * len(rows) if logprobs is None else logprobs.tolist()
        for row, token, logprob in zip(rows, chosen, likely, strict=True):
            if not row.live:
                continue
            if logprob is not None:
                row.logprobs.append(logprob)
            stopped = token in self.stop_tokens
            if not stopped:
                row.tokens.append(token)
                if row.constraint:
                    row.constraint.accept(token)
            if stopped or len(row.tokens) == self.max_tokens:
                row.live = False
                seconds = time.perf_counter() - row.started
                yield Finished(row.index, row.tokens, token if stopped else None, seconds, row.logprobs)

    def _row(self, index: int) -> _Row:
        generator = random.Random(f"{self.sampling.seed} {index}") if self.sampling else None
        constraint = self.restrict(index) if self.restrict else None
        return _Row(index, time.perf_counter(), generator, constraint=constraint)

    def _next(self, logits: Any, rows: Sequence[_Row]) -> tuple[Any, Any]:
        """The next token [rows] after logits [rows, vocabulary] and, if it is sampled, its log-probability [rows]."""
        if self.restrict:
            open_rows = [row.constraint if row.live else None for row in rows]
            allowed = allowed_rows(open_rows, logits.shape[-1], self.stop_tokens)
            logits = mx.where(mx.array(allowed), logits, mx.array(-mx.inf, logits.dtype))
        if self.sampling is None:
            best = mx.argmax(logits, axis=-1)
            if self._may_overflow:
                best = mx.where(mx.isnan(logits.max(axis=-1)), -1, best.astype(mx.int32))
            return best, None
        numbers = [row.generator.random() if row.generator else 0.0 for row in rows]
        return _sampled(logits.astype(mx.float32) / self.sampling.temperature, mx.array(numbers))

    def _read_shared(self, prompts: Sequence[Sequence[int]]) -> int:
        """Read what all prompts begin with; returns how many rows there is room for at once."""
        ordered = sorted(map(list, prompts))  # what the first and the last share, all share
        first, last = ordered[0], ordered[-1]
        most = min(len(first), len(last)) - 1
        shared = next((at for at in range(most) if first[at] != last[at]), most)
        caches = self._way.caches()
        shared = int(min(shared, self._way.sharable(caches)))
        if len(prompts) == 1 or shared < _SHARED:
            shared = 0
        if self._way.alone and not shared:
            return 1
        streams(1)
        tokens = max(1, shared)
        mx.eval(self._last_logits(mx.array([first[:tokens]]), caches), [cache.state for cache in caches])
        if shared:
            self._way.keep_prefix(caches, shared)
        if self._way.alone:
            return 1
        longest = max(map(len, prompts)) + self.max_tokens
        return int(min(_MOST_ROWS, max(1, _CACHE_BYTES // max(1, row_bytes(caches, tokens, longest)))))


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
