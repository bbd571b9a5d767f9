"""Is the tuned model better than the base model? The same rows for both, compared row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, sqrt
from statistics import NormalDist

from finetune.records.difference import Difference
from finetune.records.evaluation import Word
from finetune.terminal import counted

_SIGNIFICANT = 0.05
_Z, _Z_POWER = 1.959964, 0.841621  # for 95 % confidence, and for a power of 80 %
_RESAMPLES = 10_000
FEWEST_JUDGED = 6  # right or wrong answers: five that all changed in one direction can be chance
_FEWEST = 10  # rows for an interval of a mean: resampling fewer says nothing


@dataclass(frozen=True)
class Verdict:
    """What the comparison of two models on the same rows says."""

    verdict: Word
    explanation: str
    p: float | None  # two-sided, of the exact McNemar test; None if an interval decided
    fixed: int  # rows that only the tuned model got right, or on which it did better
    broken: int  # rows that only the base model got right, or on which the tuned model did worse
    needed: int | None  # rows that would show a difference as large as the one seen; None if one was shown or none seen


def judge(base: Sequence[bool], tuned: Sequence[bool]) -> Verdict:
    """The verdict on paired right/wrong answers."""
    fixed = sum(after and not before for before, after in zip(base, tuned, strict=True))
    broken = sum(before and not after for before, after in zip(base, tuned, strict=True))
    p = mcnemar_p(fixed, broken)
    word: Word = "no evidence" if p >= _SIGNIFICANT else "better" if fixed > broken else "worse"
    needed = mcnemar_rows(fixed, broken, len(base)) if word == "no evidence" else None
    few = (
        f"; {counted(len(base), 'row')} {'is' if len(base) == 1 else 'are'} too few to compare"
        if len(base) < FEWEST_JUDGED
        else ""
    )
    explanation = f"{counted(fixed, 'answer')} fixed, {broken} broken; exact McNemar test: p = {p:.2g}{few}"
    return Verdict(word, explanation + _to_settle(needed), p, fixed, broken, needed)


def unjudged(by_loss: Verdict) -> Verdict:
    """The verdict if no answer can be judged and the loss cannot take the place of a score: it is told, and decides nothing."""
    explanation = f"No answer could be judged, and the loss does not say whether one is right. {by_loss.explanation}"
    return Verdict("no evidence", explanation, None, 0, 0, None)


def judge_means(
    measure: str,
    base: Sequence[float],
    tuned: Sequence[float],
    weights: Sequence[float],
    *,
    higher_is_better: bool,
) -> Verdict:
    """The verdict on a graded measure. Each row gives a sum and its weight, such as its loss and its number of tokens."""
    found = paired_bootstrap(base, tuned, weights)
    signs = [(after - before) * (1 if higher_is_better else -1) for before, after in zip(base, tuned, strict=True)]
    fixed, broken = sum(sign > 0 for sign in signs), sum(sign < 0 for sign in signs)
    means = f"{measure} {found.base:.3f} and {found.tuned:.3f}: {found.difference:+.3f}"
    if found.low is None or found.high is None:
        return Verdict("no evidence", f"{means}; too few rows ({len(base)}) to compare", None, fixed, broken, _FEWEST)
    rose, fell = found.low > 0, found.high < 0
    word: Word = "no evidence" if not rose and not fell else "better" if rose == higher_is_better else "worse"
    needed = None
    if word == "no evidence" and found.difference:
        error = (found.high - found.low) / (2 * _Z)
        needed = ceil(len(base) * ((_Z + _Z_POWER) * error / found.difference) ** 2)
    explanation = (
        f"{means} (95 % interval {found.low:+.3f} to {found.high:+.3f},"
        f" paired bootstrap over {counted(len(base), 'row')})"
    )
    return Verdict(word, explanation + _to_settle(needed), None, fixed, broken, needed)


def _to_settle(needed: int | None) -> str:
    return f". About {needed:,} scored rows would settle it if the true difference is this large" if needed else ""


def mcnemar_p(fixed: int, broken: int) -> float:
    """Two-sided p of the exact McNemar test: among the rows that changed, is one direction more frequent than chance allows?

    Under "no difference" each changed row is a fair coin (McNemar 1947, in its exact binomial form).
    """
    changed = fixed + broken
    tail = sum(comb(changed, k) for k in range(min(fixed, broken) + 1)) / 2**changed
    return min(1.0, 2 * tail)


def mcnemar_rows(fixed: int, broken: int, n: int) -> int | None:
    """Rows for McNemar's test to find shares like these with a power of 80 % (Connor 1987); None if the two are equal."""
    changed, difference = (fixed + broken) / n if n else 0, abs(fixed - broken) / n if n else 0
    if not difference:
        return None
    root = _Z * sqrt(changed) + _Z_POWER * sqrt(changed - difference**2)
    fewest = ceil(6 / changed)  # five changed rows, even if all in one direction, are not significant in the exact test
    return max(n + 1, fewest, ceil((root / difference) ** 2))


def paired_shares(base: Sequence[bool], tuned: Sequence[bool]) -> Difference:
    """The difference of two shares on the same rows, with its 95 % interval for few rows too (Agresti and Min 2005)."""
    n = len(base)
    fixed = sum(after and not before for before, after in zip(base, tuned, strict=True))
    broken = sum(before and not after for before, after in zip(base, tuned, strict=True))
    b, c = (fixed + 0.5) / (n + 2), (broken + 0.5) / (n + 2)
    half = _Z * sqrt((b + c - (b - c) ** 2) / (n + 2))
    before, after = (sum(side) / n if n else 0.0 for side in (base, tuned))
    return Difference(before, after, after - before, max(-1.0, b - c - half), min(1.0, b - c + half))


def paired_bootstrap(
    base: Sequence[float], tuned: Sequence[float], weights: Sequence[float], candidates: int = 1
) -> Difference:
    """The difference of two weighted means (sum / sum of weights) with its paired bootstrap interval (Efron 1979).

    The percentiles are expanded so that they keep 95 % for few rows too (Hesterberg 2015, arXiv 1411.5279, section 3.2).
    ``candidates``: ``tuned`` is the best of that many on these rows; the interval is corrected for all of them (Bonferroni).
    """
    import numpy

    before, after, weight = (numpy.asarray(values, float) for values in (base, tuned, weights))
    n = len(before)
    total = weight.sum()
    mean_before, mean_after = float(before.sum() / total), float(after.sum() / total)
    if n < _FEWEST:
        return Difference(mean_before, mean_after, mean_after - mean_before, None, None)
    draws = numpy.random.default_rng(0)
    found = []
    for _ in range(_RESAMPLES // 500):
        counts = draws.multinomial(n, numpy.full(n, 1 / n), size=500)
        found.append(counts @ (after - before) / (counts @ weight))
    tail = 100 * NormalDist().cdf(-sqrt(n / (n - 1)) * _student(n - 1, 0.025 / candidates))
    low, high = numpy.percentile(numpy.concatenate(found), [tail, 100 - tail])
    return Difference(mean_before, mean_after, mean_after - mean_before, float(low), float(high))


def _student(freedom: int, tail: float) -> float:
    """The quantile of Student's t with ``tail`` above it, to 0.1 % at 0.025 from 9 degrees of freedom on (Abramowitz and Stegun
    26.7.5)."""
    z = -NormalDist().inv_cdf(tail)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927), within 0..1, for few rows too."""
    if n == 0:
        return 0.0, 1.0
    share = right / n
    centre = (share + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z / (1 + _Z * _Z / n) * sqrt(share * (1 - share) / n + _Z * _Z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
