"""When a run that learns from its own answers is stopped, and when it goes on."""

import pytest

from finetune.rollouts.collapse import CollapseWatch

GOOD = {"entropy": 0.4, "completion_length": 30.0, "clipped_ratio": 0.1}


def watched(*later: dict[str, float]) -> CollapseWatch:
    watch = CollapseWatch()
    for metrics in [GOOD] * 5 + [{**GOOD, **metrics} for metrics in later for _ in range(5)]:
        watch.add(metrics)
    return watch


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (
            {"clipped_ratio": 0.7, "completion_length": 120.0},
            "no longer end: 70% are cut off at the token limit, 10% at the beginning",
        ),
        ({"completion_length": 3.0}, "shrunk to 3.0 tokens, from 30.0"),
        ({"entropy": 0.004}, "all alike: entropy 0.0040"),
        ({"entropy": 6.0}, "noise"),
    ],
)
def test_a_collapse_is_named(metrics: dict[str, float], message: str) -> None:
    watch = watched(metrics)
    assert message in str(watch.problem) and watch.drifting


@pytest.mark.parametrize(
    "metrics", [{}, {"entropy": 0.05}, {"completion_length": 12.0}, {"completion_length": 90.0, "clipped_ratio": 0.3}]
)
def test_what_training_is_for_is_no_collapse(metrics: dict[str, float]) -> None:
    watch = watched(metrics)
    assert watch.problem is None and not watch.drifting


def test_adapters_are_not_kept_before_the_end_is_sure() -> None:
    watch = watched({"clipped_ratio": 0.4})
    assert watch.problem is None and watch.drifting


def test_one_bad_rollout_stops_nothing() -> None:
    watch = watched()
    watch.add({"entropy": 0.0, "completion_length": 1.0, "clipped_ratio": 1.0})
    assert watch.problem is None
    watch.add({})  # the second of two updates on the same answers has no metrics of its own
    assert len(watch.last) == 5
