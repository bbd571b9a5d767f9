import pytest

from finetune.verdict import judge, mcnemar_p, wilson_interval


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
