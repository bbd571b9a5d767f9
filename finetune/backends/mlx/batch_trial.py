"""Rows decoded in one way, their logits compared with those of each text alone: what ``batch_proof`` tries."""

from collections.abc import Callable, Sequence
from typing import Any

from finetune.backends.mlx.batches import LastLogits, Prompt, Single, extend, keep_rows, read
from finetune.backends.mlx.runtime import mx
from finetune.errors import UserError
from finetune.models.foreign import foreign
from finetune.signals import never

from mlx.utils import tree_reduce  # isort: skip  after the runtime

_COMMON = 8  # tokens that the texts begin with
# Tokens of the texts. The first two differ by less than what they have in common: padding cuts into it. _FAR counts from the
# widest window that the prompts go beyond.
_LONG, _SHORT, _OTHER, _FAR = 24, 20, 9, 16
_STEPS = 3  # tokens after each
_MOST_LOGITS = 64  # tokens; of a longer text not all logits are computed
# What ``difference`` may be: with batches other matrix products run, whose rounding leaves less; a token too many or too few
# leaves more.
_ROUNDING = {mx.float32: 2e-3, mx.float16: 2e-2, mx.bfloat16: 8e-2}
_MORE, _MOST = 4, 4  # times what a single row is apart; times that
_TIE = 8  # times that: the best token may be another one if it is so near
_OF_SIZE = 5e-3  # of the size of logits: how much of them is rounding at most
DIFFER = "their answers differ"


class _Different(UserError):
    """Logits of a batch are not those of its rows."""


def problem(texts: "Texts", way: Single, last_logits: LastLogits) -> str:
    """What keeps a network from a way; "" if nothing does."""
    trial, far = _Trial(texts, way, last_logits), _FAR if texts.reach else _SHORT

    def decode() -> None:
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

    return _tried(decode)


def _tried(decode: Callable[[], object]) -> str:
    try:
        with foreign("they fail"):
            decode()
    except UserError as error:
        return str(error).rstrip(".")
    return ""


class Texts:
    """Texts made of the prompts, and the logits after them when each is seen alone: ``whole``, without a cache, or token by
    token."""

    def __init__(self, network: Any, prompts: Sequence[Prompt], reach: int, *, whole: bool):
        self._network, self.reach, self._whole = network, reach, whole
        self.allowed = rounding(network)
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

    def allow_its_rounding(self) -> bool:
        """Allow a few times what a single row is apart from the whole text: some models round more. Returns whether that is
        more than before."""
        trial = _Trial(self, Single(self._network), LastLogits(self._network, apart=False))
        usual = self.allowed
        self.allowed = _MOST * usual

        def decode() -> None:
            trial.begin_together([_SHORT])
            trial.step()

        problem = _tried(decode)
        self.allowed = max(usual, usual if problem else min(self.allowed, _MORE * trial.apart))
        return self.allowed > usual


class _Trial:
    """Rows that are decoded in one way, while their logits are compared."""

    def __init__(self, texts: Texts, way: Single, last_logits: LastLogits):
        self._texts, self._way, self._last_logits = texts, way, last_logits
        self._rows: list[list[int]] = []  # of each the kind of its text, and how many tokens it has had since
        self._caches: list[Any] = []
        self.apart = 0.0  # the largest difference so far

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
        if found.shape != wanted.shape:
            raise _Different(DIFFER)
        apart = difference(found, wanted)
        self.apart = max(self.apart, apart)
        if not (apart <= self._texts.allowed and _same_tokens(found, wanted, self._texts.allowed)):
            raise _Different(DIFFER)


def rounding(network: Any) -> float:
    """How far logits may differ that were computed in another order: ``difference`` in the precision of the weights."""
    kinds: set[Any] = tree_reduce(lambda kinds, array: kinds | {array.dtype}, network.parameters(), set())
    return max((allowed for kind, allowed in _ROUNDING.items() if kind in kinds), default=_ROUNDING[mx.float32])


def difference(found: Any, wanted: Any) -> float:
    """Root mean square of the differences between the logits of a row, by their standard deviation; of the worst row. Where
    logits are nearly all the same, by their size: what then differs is rounding."""
    found, wanted = _finite(found, wanted)
    spread = mx.sqrt(wanted.var(axis=-1)) + _OF_SIZE * mx.sqrt((wanted**2).mean(axis=-1)) + 1e-6
    worst: Any = (mx.sqrt(((found - wanted) ** 2).mean(axis=-1)) / spread).max().item()
    return float(worst)


def _same_tokens(found: Any, wanted: Any, allowed: float) -> bool:
    """Whether the best token of each row is the same, unless two are as good."""
    found, wanted = _finite(found, wanted)
    best = mx.take_along_axis(wanted, found.argmax(axis=-1)[:, None], axis=-1).squeeze(-1)
    behind = wanted.max(axis=-1) - best
    return bool((behind <= _TIE * allowed * mx.sqrt(wanted.var(axis=-1)) + 1e-5).all().item())


def _finite(found: Any, wanted: Any) -> tuple[Any, Any]:
    """Tokens that can never come have no finite logit."""
    there = mx.isfinite(wanted)
    return mx.where(there, found.astype(mx.float32), 0), mx.where(there, wanted.astype(mx.float32), 0)
