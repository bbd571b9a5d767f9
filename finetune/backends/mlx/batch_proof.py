"""Proof, before a model's first batch, that it answers in a batch as it answers alone.

Nothing in a model says whether it does: Gemma 2 lays the mask of a padded batch over the wrong axis, AFM turns the queries of
some layers by the length of the padding, and other models raise. So two short texts of different lengths are read together,
with a beginning in common; others join them; one leaves; and after each of these steps all logits must be those of the model
that sees a text alone, whole and without a cache. That takes about ten forward passes of some twenty tokens each, once for a
model in memory; where a layer sees a window of the text, and rows go beyond it, one text is as long as the window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.backends.mlx.batches import LastLogits, Prompt, Single, extend, keep_rows, read, ways, windows
from finetune.backends.mlx.layout import layout_of
from finetune.backends.mlx.runtime import is_leader, mx
from finetune.errors import UserError
from finetune.models.foreign import foreign
from finetune.signals import never
from finetune.terminal import say

_COMMON = 8  # tokens that the texts begin with
# Tokens of the texts. The first two differ by less than what they have in common: padding cuts into it. _FAR counts from the
# widest window that the prompts go beyond.
_LONG, _SHORT, _OTHER, _FAR = 24, 20, 9, 16
_STEPS = 3  # tokens after each
_MOST_LOGITS = 64  # tokens; of a longer text not all logits are computed
# Root mean square of the differences of a row's logits, by their standard deviation: rounding leaves less (with batches, other
# matrix products run), a token too many or too few leaves more.
_TOLERANCE = {mx.float32: 2e-3, mx.float16: 2e-2, mx.bfloat16: 8e-2}
_TIE = 8  # times that: the best token may be another one if it is so near
_DIFFER = "their answers differ"
_OTHERWISE = "compute otherwise than in training: mlx_lm gives them other logits with a cache than without one"


@dataclass(frozen=True)
class Proven:
    """The way in which a model in memory may answer."""

    way: type[Single]
    apart: bool  # whether trunk and head may be called apart
    reach: int  # the widest window that was gone beyond
    words: str  # how it answers, and why no faster way is right
    fastest: bool = True
    prefix: bool = True  # whether what all prompts begin with may be read once


class _Different(UserError):
    """Logits of a batch are not those of its rows."""


def way_of(network: Any, prompts: Sequence[Prompt], max_tokens: int) -> tuple[Single, LastLogits]:
    """The fastest way in which a network answers these prompts as it answers each alone, and its logits.

    What keeps a model from the fastest way is said in a line, once.
    """
    if len(prompts) == 1:
        return Single(network), LastLogits(network, apart=True)
    longest = max(map(len, prompts)) + max_tokens
    reach = max((size for size in _windows(network) if size < longest), default=0)
    known: Proven | None = getattr(network, "_finetune_way", None)
    if known is None or reach > known.reach:
        before = known.words if known else ""
        network._finetune_way = known = _proven(network, prompts, reach)
        if not known.fastest and known.words != before and is_leader():
            say(f"Note: models of type {network.model_type} answer {known.words}.")
    return known.way(network, shares=known.prefix), LastLogits(network, apart=known.apart)


def refuse_otherwise(network: Any) -> None:
    """UserError if a network gives other logits without a cache, as it is trained, than with one, as it answers."""
    tokens = mx.array([[1, 2, 3, 4, 5, 6]])
    caches, last_logits = Single(network).caches(), LastLogits(network, apart=False)
    with foreign("mlx_lm has no cache for this model that works"):
        last_logits(tokens[:, :4], caches)
        cached = last_logits(tokens[:, 4:], caches)
    if not agree(cached, network(tokens)[:, -1]):
        raise UserError(
            f"models of type {network.model_type} cannot be trained: mlx_lm gives them other logits without a cache, as in"
            " training, than with one, as in their answers (choose another model)"
        )


def described(network: Any) -> str:
    """How a network has answered several prompts, for the record; "" if it was not asked for so many."""
    known: Proven | None = getattr(network, "_finetune_way", None)
    return "" if known is None else known.words


def _windows(network: Any) -> list[int]:
    """After how many tokens layers begin to leave some out."""
    found = list(windows(Single(network).caches()))
    for part in (network, getattr(network, "language_model", None)):
        size = getattr(getattr(part, "args", None), "index_topk", None)  # the best of all tokens
        found += [size] if isinstance(size, int) else []
    return found


def _proven(network: Any, prompts: Sequence[Prompt], reach: int) -> Proven:
    found, problem = _fastest(network, _Texts(network, prompts, reach, whole=True))
    if found is not None:
        return found
    # not even one row at a time, token by token, as the whole text without a cache
    cached, _ = _fastest(network, _Texts(network, prompts, reach, whole=False))
    proven = cached or Proven(
        Single, apart=False, reach=reach, words=f"{Single.words}: {Single.instead} {problem}", prefix=False
    )
    if problem == _DIFFER:
        return replace(proven, words=f"{proven.words}, but {_OTHERWISE}", fastest=False)
    return proven


def _fastest(network: Any, texts: "_Texts") -> tuple[Proven | None, str]:
    """The first way that is right, and what kept the network from the last one that is not."""
    possible, first, problem = ways(network), "", ""
    choices = [True, False] if layout_of(network).trunk is not None else [False]
    for apart in choices:
        for way in possible:
            problem = _problem(texts, way(network), LastLogits(network, apart=apart))
            if not problem:
                return _described(
                    Proven(way, apart, reach=texts.reach, words=way.words),
                    possible[0],
                    first,
                    whole=apart != choices[0],
                ), ""
            first = first or problem
    return None, problem


def _described(proven: Proven, fastest: type[Single], problem: str, *, whole: bool) -> Proven:
    if proven.words != fastest.words:
        return replace(proven, words=f"{proven.words}: {proven.way.instead} {problem}", fastest=False)
    if whole:
        words = f"{proven.words}, by the model as a whole: with its output head apart {problem}"
        return replace(proven, words=words, fastest=False)
    return proven


def _problem(texts: "_Texts", way: Single, last_logits: LastLogits) -> str:
    """What keeps a network from a way; "" if nothing does."""
    trial, far = _Trial(texts, way, last_logits), _FAR if texts.reach else _SHORT
    try:
        with foreign("they fail"):
            if way.alone:
                trial.begin_together([far])
            elif not way.joins:
                trial.begin_together([far, -far])
                trial.step()
                trial.keep([1])
            else:
                trial.begin_together([_LONG, _SHORT])
                trial.step()
                trial.join([_OTHER, far])
                trial.step()
                trial.keep([1, 2, 3])
            trial.step()
    except UserError as error:
        return str(error).rstrip(".")
    return ""


class _Texts:
    """Texts made of the prompts, and the logits after them when each is seen alone: ``whole``, without a cache, or token by
    token."""

    def __init__(self, network: Any, prompts: Sequence[Prompt], reach: int, *, whole: bool):
        self._network, self.reach, self._whole = network, reach, whole
        ordered = sorted(map(list, prompts), key=len)
        self._shortest, self._longest = ordered[0], ordered[-1]
        self._known: dict[int, Any] = {}

    def tokens(self, kind: int) -> list[int]:
        """A text and the tokens after it; one of another ``kind`` has another length, and of the negative kind other tokens."""
        length = abs(kind) + (self.reach if abs(kind) == _FAR else 0) + _STEPS
        source = self._longest if kind in (_LONG, _FAR, -_SHORT) else self._shortest[::-1]
        start = [] if kind == _OTHER else (self._longest * _COMMON)[:_COMMON]
        return (start + source * length)[:length]

    def prompt(self, kind: int) -> list[int]:
        return self.tokens(kind)[:-_STEPS]

    def logits(self, kind: int) -> Any:
        """[steps + 1, vocabulary], after the text and after each further token."""
        if kind not in self._known:
            self._known[kind] = self._alone(self.tokens(kind))
            mx.eval(self._known[kind])
        return self._known[kind]

    def _alone(self, tokens: list[int]) -> Any:
        if self._whole and len(tokens) <= _MOST_LOGITS:
            return self._network(mx.array([tokens]))[0, -_STEPS - 1 :]
        caches, last_logits = Single(self._network).caches(), LastLogits(self._network, apart=False)
        parts = [tokens[:-_STEPS], *([token] for token in tokens[-_STEPS:])]
        return mx.concatenate([last_logits(mx.array([part]), caches) for part in parts])


class _Trial:
    """Rows that are decoded in one way, while their logits are compared."""

    def __init__(self, texts: _Texts, way: Single, last_logits: LastLogits):
        self._texts, self._way, self._last_logits = texts, way, last_logits
        self._rows: list[list[int]] = []  # of each the kind of its text, and how many tokens it has had since
        self._caches: list[Any] = []

    def begin_together(self, kinds: list[int]) -> None:
        """Read texts that have their beginning in common."""
        caches = self._way.caches()
        shared = int(min(_COMMON, self._way.sharable(caches)))
        mx.eval(self._last_logits(mx.array([self._texts.prompt(kinds[0])[:shared]]), caches))
        self._way.keep_prefix(caches, shared)
        self._read(kinds)

    def join(self, kinds: list[int]) -> None:
        """Read texts that have nothing in common, and put them to the others."""
        self._way.keep_prefix([], 0)
        self._read(kinds)

    def step(self) -> None:
        """Give each row its next token."""
        tokens = [[self._texts.tokens(kind)[at - _STEPS]] for kind, at in self._rows]
        self._rows = [[kind, at + 1] for kind, at in self._rows]
        self._compare(self._last_logits(mx.array(tokens), self._caches), self._rows)

    def keep(self, rows: list[int]) -> None:
        keep_rows(self._caches, rows)
        self._rows = [self._rows[row] for row in rows]

    def _read(self, kinds: list[int]) -> None:
        found = read(self._way, self._last_logits, [self._texts.prompt(kind) for kind in kinds], never)
        assert found is not None
        logits, caches = found
        self._compare(logits, [[kind, 0] for kind in kinds])
        if self._rows:
            extend(self._caches, caches)
        else:
            self._caches = caches
        self._rows += [[kind, 0] for kind in kinds]

    def _compare(self, found: Any, rows: list[list[int]]) -> None:
        wanted = mx.stack([self._texts.logits(kind)[at] for kind, at in rows])
        if found.shape != wanted.shape or not agree(found, wanted):
            raise _Different(_DIFFER)


def agree(found: Any, wanted: Any) -> bool:
    """Whether logits [rows, vocabulary] differ by no more than rounding, and mean the same token unless two are as good."""
    tolerance = _TOLERANCE.get(wanted.dtype, _TOLERANCE[mx.float32])
    # tokens that can never come have no finite logit
    there = mx.isfinite(wanted)
    found, wanted = (mx.where(there, logits.astype(mx.float32), 0) for logits in (found, wanted))
    allowed = tolerance * mx.sqrt(wanted.var(axis=-1)) + 1e-6
    near = mx.sqrt(((found - wanted) ** 2).mean(axis=-1)) <= allowed
    best = mx.take_along_axis(wanted, found.argmax(axis=-1)[:, None], axis=-1).squeeze(-1)
    tied = wanted.max(axis=-1) - best <= _TIE * allowed
    return bool((near & tied).all().item())
