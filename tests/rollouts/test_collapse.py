"""When a run that learns from its own answers is stopped, and when it goes on."""

import pytest

from finetune.rollouts.collapse import CollapseWatch

GOOD = {"entropy": 0.4, "length": 30.0, "cut": 0.1}


def watched(*later: dict[str, float]) -> CollapseWatch:
    watch = CollapseWatch()
    for figures in [GOOD] * 5 + [{**GOOD, **figures} for figures in later for _ in range(5)]:
        watch.take(figures)
    return watch


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"cut": 0.7, "length": 120.0}, "no longer end: 70% are cut off, 10% at the beginning"),
        ({"length": 3.0}, "shrunk to 3.0 tokens, from 30.0"),
        ({"entropy": 0.004}, "all alike: entropy 0.0040"),
        ({"entropy": 6.0}, "noise"),
    ],
)
def test_a_collapse_is_named(figures: dict[str, float], message: str) -> None:
    watch = watched(figures)
    assert message in str(watch.problem) and watch.drifting


@pytest.mark.parametrize("figures", [{}, {"entropy": 0.05}, {"length": 12.0}, {"length": 90.0, "cut": 0.3}])
def test_what_training_is_for_is_no_collapse(figures: dict[str, float]) -> None:
    watch = watched(figures)
    assert watch.problem is None and not watch.drifting


def test_adapters_are_not_kept_before_the_end_is_sure() -> None:
    watch = watched({"cut": 0.4})
    assert watch.problem is None and watch.drifting


def test_one_bad_rollout_stops_nothing() -> None:
    watch = watched()
    watch.take({"entropy": 0.0, "length": 1.0, "cut": 1.0})
    assert watch.problem is None
    watch.take({})  # the second of two updates on the same answers has no figures of its own
    assert len(watch.last) == 5
