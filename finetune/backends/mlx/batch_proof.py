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

from finetune.backends.mlx import batch_trial as trial
from finetune.backends.mlx.batch_trial import Texts, difference, rounding
from finetune.backends.mlx.batches import LastLogits, Prompt, Single, ways, windows
from finetune.backends.mlx.layout import layout_of
from finetune.backends.mlx.runtime import is_leader, mx
from finetune.errors import UserError
from finetune.models.foreign import foreign
from finetune.terminal import say

_OTHER_MODEL = 5  # times what rounding may be: no rounding
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
    try:
        with foreign("it cannot answer"):  # which does not keep it from being trained
            last_logits(tokens[:, :4], caches)
            cached = last_logits(tokens[:, 4:], caches)
            mx.eval(cached)
    except UserError:
        return
    if difference(cached, network(tokens)[:, -1]) > _OTHER_MODEL * rounding(network):
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
    texts = Texts(network, prompts, reach, whole=True)
    found, problem = _fastest(network, texts)
    if (found is None or not found.fastest) and texts.allow_its_rounding():
        found, problem = _fastest(network, texts)
    if found is not None:
        return found
    # not even one row at a time, token by token, as the whole text without a cache
    cached, _ = _fastest(network, Texts(network, prompts, reach, whole=False))
    proven = cached or Proven(
        Single,
        apart=False,
        reach=reach,
        words=f"{Single.words}: {Single.instead} {problem}",
        fastest=False,
        prefix=False,
    )
    if problem == trial.DIFFER:
        return replace(proven, words=f"{proven.words}, but {_OTHERWISE}", fastest=False)
    return proven


def _fastest(network: Any, texts: Texts) -> tuple[Proven | None, str]:
    """The first way that is right, and what kept the network from the last one that is not."""
    possible, first, problem = ways(network), "", ""
    choices = [True, False] if layout_of(network).trunk is not None else [False]
    for apart in choices:
        for way in possible:
            problem = trial.problem(texts, way(network), LastLogits(network, apart=apart))
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
