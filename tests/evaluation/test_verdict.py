import pytest

from finetune.evaluation.verdict import judge, mcnemar_p, mcnemar_rows, paired_bootstrap, paired_shares, wilson_interval


def test_mcnemar_by_hand() -> None:
    assert mcnemar_p(0, 0) == 1.0
    assert mcnemar_p(5, 0) == pytest.approx(2 / 32)
    assert mcnemar_p(9, 1) == mcnemar_p(1, 9) == pytest.approx(2 * 11 / 1024)
    assert mcnemar_p(3, 3) == 1.0


def test_wilson_by_hand() -> None:
    low, high = wilson_interval(5, 10)
    assert (low, high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson_interval(0, 20)[0] == 0.0 and wilson_interval(20, 20)[1] == 1.0


@pytest.mark.parametrize(
    "base, tuned, word",
    [
        ("0000000", "1111111", "better"),
        ("1111111", "0000000", "worse"),
        ("0000", "1111", "no evidence"),
        ("10", "10", "no evidence"),
    ],
)
def test_verdict_words(base: str, tuned: str, word: str) -> None:
    verdict = judge([c == "1" for c in base], [c == "1" for c in tuned])
    assert verdict.verdict == word


def test_paired_shares_by_hand() -> None:
    base, tuned = [False] * 10 + [True] * 90, [True] * 10 + [True] * 90
    found = paired_shares(base, tuned)
    assert (found.base, found.tuned, found.difference) == (0.9, 1.0, pytest.approx(0.1))
    # (10.5 - 0.5) / 102 -+ 1.96 sqrt((11 / 102 - (10 / 102) ** 2) / 102), Agresti and Min 2005
    assert (found.low, found.high) == (pytest.approx(0.0372, abs=1e-3), pytest.approx(0.1589, abs=1e-3))


def test_rows_that_would_settle_it() -> None:
    # Connor 1987: shares 0.15 and 0.05 of discordant pairs need about 155 of them for 80 % power
    assert mcnemar_rows(15, 5, 100) == pytest.approx(155, abs=3)
    assert mcnemar_rows(3, 3, 10) is None and mcnemar_rows(0, 0, 10) is None


@pytest.mark.slow
def test_bootstrap_covers_what_it_should() -> None:
    numpy = pytest.importorskip("numpy")
    draws, covered = numpy.random.default_rng(1), 0
    for _ in range(100):
        base = draws.normal(2.0, 1.0, 60)
        tuned = base - 0.3 + draws.normal(0.0, 0.5, 60)
        found = paired_bootstrap(base, tuned, [1.0] * 60)
        covered += found.low <= -0.3 <= found.high
    assert 88 <= covered <= 99


@pytest.mark.slow
def test_the_best_of_several_has_to_show_more() -> None:
    numpy = pytest.importorskip("numpy")
    draws, once, corrected = numpy.random.default_rng(1), 0, 0
    for _ in range(60):
        base = draws.normal(0.0, 1.0, 40)
        best = max((base + draws.normal(0.0, 1.0, 40) for _ in range(8)), key=lambda tuned: tuned.mean())
        once += paired_bootstrap(base, best, [1.0] * 40).low > 0
        corrected += paired_bootstrap(base, best, [1.0] * 40, candidates=8).low > 0
    assert once > 6 and corrected <= 4
