"""Is the tuned model better than the base model? The same rows for both, compared row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt

_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Verdict:
    verdict: str  # "better", "worse" or "no evidence"
    explanation: str
    p: float  # two-sided, of the exact McNemar test
    fixed: int  # rows that only the tuned model got right
    broken: int  # rows that only the base model got right


def judge(base: Sequence[bool], tuned: Sequence[bool]) -> Verdict:
    """The verdict on paired right/wrong answers."""
    fixed = sum(after and not before for before, after in zip(base, tuned, strict=True))
    broken = sum(before and not after for before, after in zip(base, tuned, strict=True))
    p = mcnemar_p(fixed, broken)
    word = "no evidence" if p >= _SIGNIFICANT else "better" if fixed > broken else "worse"
    return Verdict(word, f"{fixed} answers fixed, {broken} broken; exact McNemar test: p = {p:.2g}", p, fixed, broken)


def mcnemar_p(fixed: int, broken: int) -> float:
    """Two-sided p of the exact McNemar test: of the rows that changed, does either direction come up too often?

    Under "no difference" each changed row is a fair coin (McNemar 1947, in its exact binomial form).
    """
    changed = fixed + broken
    tail = sum(comb(changed, k) for k in range(min(fixed, broken) + 1)) / 2**changed
    return min(1.0, 2 * tail)


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); it stays inside 0..1 and holds for few rows too."""
    if n == 0:
        return 0.0, 1.0
    z = 1.959964
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
