"""Ways to decode rows together. Models differ in what they keep of the tokens they have read: keys and values
of all, of a window or of a chunk, states of a recurrence or a convolution.

============  ============================================================================  ==========================
way           prompts are read                                                              rows of a batch
============  ============================================================================  ==========================
``Padded``    together, padded on the left                                                  of any lengths
``Grouped``   the same, for attention that has its heads in groups (one axis more)          of any lengths
``Merged``    each alone; what the model kept of each is put together: padding would be     of any lengths
              read by a recurrence as tokens
``Level``     together, if they are of the same length: nothing is padded                   of the same length
``Single``    each alone                                                                    one
============  ============================================================================  ==========================

Which of them a model answers in rightly is proven by ``batch_proof``.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from finetune.backends.mlx.layout import layout_of, logits_of
from finetune.backends.mlx.runtime import evaluate, mx, streams
from finetune.signals import Stop

Prompt = Sequence[int]

_READ_TOKENS = 1536  # of prompts read at once: more only makes arrays that fit no cache


class LastLogits:
    """Logits [rows, vocabulary] after the last of the inputs [rows, length]: the output head sees no other position.

    With ``apart``, trunk and head are called apart, if ``layout_of`` has found them in the network.
    """

    def __init__(self, network: Any, *, apart: bool):
        self._network = network
        self._layout = layout_of(network) if apart else None

    def __call__(self, inputs: Any, caches: list[Any]) -> Any:
        layout = self._layout
        if layout is not None and layout.trunk is not None:
            logits = logits_of(layout.matrix, layout.trunk(inputs, cache=caches)[:, -1])
            return layout.cap * mx.tanh(logits / layout.cap) if layout.cap else logits
        if inputs.shape[1] > 1:  # MLX computes what the caches need of this, and no logits
            self._network(inputs[:, :-1], cache=caches)
        return self._network(inputs[:, -1:], cache=caches)[:, -1]


class Single:
    """One row at a time, on the model's own caches: what the other ways must be equal to."""

    words, instead = "one by one", "in a batch"  # how it answers, for people, and where it does not
    joins = False  # whether other rows can take the places of those that are finished
    alone = True  # whether a batch is one row

    def __init__(self, network: Any, *, shares: bool = True):
        self.network, self._shares = network, shares
        self.shared = 0  # tokens that all prompts begin with
        self._prefix: list[Any] = []  # the caches of a row that has read them

    def caches(self) -> list[Any]:
        """New caches for one row, as mlx_lm makes them; for several rows of the same length too."""
        from mlx_lm.models.cache import make_prompt_cache

        return make_prompt_cache(self.network)

    def sharable(self, caches: list[Any]) -> float:
        """The most tokens that prompts can share."""
        return float("inf") if self._shares else 0

    def keep_prefix(self, caches: list[Any], shared: int) -> None:
        """Let each prompt go on from caches that have read its first ``shared`` tokens."""
        self._prefix, self.shared = caches, shared

    def parts(self, prompts: Sequence[Prompt]) -> list[Sequence[Prompt]]:
        """Prompts that are read together."""
        return [[prompt] for prompt in prompts]

    def begin(self, prompts: Sequence[Prompt]) -> tuple[Any, list[Any]]:
        """What is to be read of the prompts [rows, length] of one part, and the caches that it goes to."""
        caches = copy.deepcopy(self._prefix) if self.shared else self.caches()
        if self.shared and len(prompts) > 1:
            keep_rows(caches, [0] * len(prompts))
        return mx.array([list(prompt[self.shared :]) for prompt in prompts]), caches

    def join(self, parts: list[list[Any]]) -> list[Any]:
        """The caches of all parts in one."""
        (caches,) = parts
        return caches


class Level(Single):
    words, instead = "only prompts of the same length together", "in a batch of several lengths"
    alone = False

    def parts(self, prompts: Sequence[Prompt]) -> list[Sequence[Prompt]]:
        return [prompts]


class Merged(Single):
    words, instead = "together, but prompts are read one at a time", "read together"
    joins, alone = True, False

    def join(self, parts: list[list[Any]]) -> list[Any]:
        for cache in _leaves(parts[0]):
            if not hasattr(cache, "merge"):
                raise TypeError(f"mlx_lm has no {type(cache).__name__} for rows of several lengths")
        return [type(rows[0]).merge(list(rows)) for rows in zip(*parts, strict=True)]


class Padded(Single):
    words, instead = "together", ""
    joins, alone = True, False

    def sharable(self, caches: list[Any]) -> float:
        # a layer that sees a window of tokens keeps no more of them
        return min((cache.max_size for cache in caches if hasattr(cache, "max_size")), default=float("inf"))

    def parts(self, prompts: Sequence[Prompt]) -> list[Sequence[Prompt]]:
        group = max(1, _READ_TOKENS // (max(map(len, prompts)) - self.shared))
        return [prompts[at : at + group] for at in range(0, len(prompts), group)]

    def begin(self, prompts: Sequence[Prompt]) -> tuple[Any, list[Any]]:
        length = max(map(len, prompts))
        padding = [length - len(prompt) for prompt in prompts]
        caches = self.padded_caches(padding)
        if self.shared:
            # a padded row's prefix begins later: its end is read again, in place of what would be padding
            columns = mx.maximum(mx.arange(self.shared)[None] - mx.array(padding)[:, None], 0)
            for cache, kept in zip(caches, self._prefix, strict=True):
                parts = (kept.keys[..., : self.shared, :], kept.values[..., : self.shared, :])
                cache.update_and_fetch(*(mx.take(part[0], columns, axis=1).swapaxes(0, 1) for part in parts))
        inputs = mx.array([[0] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)])
        return inputs[:, self.shared :], caches

    def padded_caches(self, padding: list[int]) -> list[Any]:
        """The cache of each layer, for rows padded on the left."""
        from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache

        return [
            BatchRotatingKVCache(cache.max_size, padding) if hasattr(cache, "max_size") else BatchKVCache(padding)
            for cache in self.caches()
        ]

    def join(self, parts: list[list[Any]]) -> list[Any]:
        first, *others = parts
        for other in others:
            extend(first, other)
        return first


class Grouped(Padded):
    """For attention that lays its mask [rows, 1, length, length] on scores [rows, groups, heads, length, length] (Gemma 2)."""

    def padded_caches(self, padding: list[int]) -> list[Any]:
        caches = super().padded_caches(padding)
        for cache in caches:
            cache.make_mask = _with_an_axis(cache.make_mask)
        return caches


def _with_an_axis(make_mask: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **named: mx.expand_dims(make_mask(*arguments, **named), 2)


def ways(network: Any) -> list[type[Single]]:
    """All ways that may be right for a network, the fastest first and ``Single`` last."""
    from mlx_lm.models.cache import KVCache, RotatingKVCache

    plain = all(type(cache) in (KVCache, RotatingKVCache) for cache in Single(network).caches())
    return [*((Padded, Grouped) if plain else ()), Merged, Level, Single]


def read(way: Single, last_logits: LastLogits, prompts: Sequence[Prompt], stop: Stop) -> tuple[Any, list[Any]] | None:
    """The logits [rows, vocabulary] after each prompt, and the cache of each layer for all of them; of several prompts in a
    row that are the same, the first is read. None if ``stop`` interrupted it."""
    copies = [0]
    for before, prompt in pairwise(prompts):
        copies.append(copies[-1] + (prompt != before))
    prompts = [prompt for at, prompt in enumerate(prompts) if at == 0 or prompt != prompts[at - 1]]
    logits, caches = [], []
    parts = way.parts(prompts)
    side_by_side = len(streams(len(parts)))
    for at in range(0, len(parts), side_by_side):
        if stop():
            return None
        together = parts[at : at + side_by_side]
        for stream, part in zip(streams(len(together)), together, strict=True):
            with mx.stream(stream):
                inputs, cache = way.begin(part)
                logits.append(last_logits(inputs, cache))
            caches.append(cache)
        evaluate(logits[at:])
        mx.eval(logits[at:], [layer.state for cache in caches[at:] for layer in cache])
    streams(1)  # all BLAS threads for one batch from here on
    joined = way.join(caches)
    if len(copies) == len(prompts):
        return mx.concatenate(logits), joined
    keep_rows(joined, copies)
    return mx.concatenate(logits)[mx.array(copies)], joined


def keep_rows(caches: Sequence[Any], rows: Sequence[int]) -> None:
    """Keep these rows of a batch, in this order; one may stand there several times."""
    indices = mx.array(list(rows))
    for cache in _leaves(caches):
        if hasattr(cache, "filter"):
            cache.filter(indices)
        elif not hasattr(cache, "keys"):
            raise TypeError(f"mlx_lm has no {type(cache).__name__} for several rows")
        elif cache.keys is not None:
            cache.keys, cache.values = cache.keys[indices], cache.values[indices]


def extend(caches: Sequence[Any], others: Sequence[Any]) -> None:
    """Put the rows of another batch below those of this one."""
    for cache, more in zip(caches, others, strict=True):
        cache.extend(more)


def row_bytes(caches: Sequence[Any], read: int, length: int) -> float:
    """What caches of one row take when they have read ``length`` tokens, from what they take after ``read`` of them.

    States do not grow; keys and values do, up to the window or chunk of their layer.
    """
    from mlx.utils import tree_reduce
    from mlx_lm.models.cache import ArraysCache

    total = 0.0
    for cache in _leaves(caches):
        taken = tree_reduce(lambda total, leaf: total + getattr(leaf, "nbytes", 0), cache.state, 0)
        if isinstance(cache, ArraysCache):
            total += taken
            continue
        keys = getattr(cache, "keys", None)
        keys = keys[0] if isinstance(keys, (list, tuple)) else keys  # quantised: with their scales
        has_room_for = read if keys is None else keys.shape[-2]
        window = getattr(cache, "max_size", None) or getattr(cache, "chunk_size", None) or length
        total += taken / max(1, has_room_for) * min(length, window)
    return total


def windows(caches: Sequence[Any]) -> Iterator[int]:
    """How many tokens the layers see that do not see all."""
    for cache in _leaves(caches):
        for name in ("max_size", "chunk_size", "window_size"):
            if isinstance(size := getattr(cache, name, None), int):
                yield size


def _leaves(caches: Sequence[Any]) -> Iterator[Any]:
    for cache in caches:
        if hasattr(cache, "caches"):  # of a layer that keeps several things
            yield from _leaves(cache.caches)
        else:
            yield cache
