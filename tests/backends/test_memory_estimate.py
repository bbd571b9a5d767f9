"""The arithmetic of the memory estimate, without a model."""

from collections.abc import Callable, Sequence

import pytest

from finetune.backends.interface import Step
from finetune.backends.memory_estimate import Measured, Sizes, choose_layers, extrapolate, measure_steps


def sizes(layers: int, period: int = 1) -> Sizes:
    return Sizes(layers, None, 10**6, 10**3, 4 * 10**6, 4000, 8000, period)


@pytest.mark.parametrize(
    ("layers", "period", "trained", "available", "whole", "wanted"),
    [
        (30, 1, 30, 1e12, False, [1, 7]),  # six more than the fewest
        (30, 1, 30, 1000, False, [1, 5]),  # of which the weights take less than a fifth: 180 of 1000 bytes
        (30, 1, 30, 1, False, [1, 3]),  # nothing fits: the smallest pair, and the caller refuses it
        (30, 6, 30, 1e12, False, [6, 12]),  # every kind of layer has to occur
        (30, 1, 4, 1e12, False, [1, 4]),  # no more than are trained
        (30, 6, 4, 1e12, False, [6, 12]),  # unless these are fewer than the smaller model has
        (4, 6, 4, 1e12, False, [4]),  # a small model is measured as a whole
        (30, 1, 30, 1e12, True, [30]),
    ],
)
def test_layers_to_measure(
    layers: int, period: int, trained: int, available: float, whole: bool, wanted: list[int]
) -> None:
    found = choose_layers(sizes(layers, period), trained, lambda count: 36 * count, available, whole=whole)
    assert found == wanted


def test_memory_and_time_grow_with_the_layers() -> None:
    """Two layers take 30 bytes and 3 s, six take 70 bytes and 5 s: 10 bytes and half a second each, and 10 bytes beside."""
    runs = [Measured(2, 30.0, 3.0), Measured(6, 70.0, 5.0)]
    step = extrapolate(runs, sizes(20), trained=20)
    assert (step.layers, step.head_and_loss, step.seconds) == (200.0, 10.0, 5.0 + 14 * 0.5)


def test_a_layer_that_is_not_trained_costs_half_the_time_and_no_memory() -> None:
    runs = [Measured(2, 30.0, 3.0), Measured(6, 70.0, 5.0)]
    step = extrapolate(runs, sizes(20), trained=10)
    assert (step.layers, step.head_and_loss, step.seconds) == (100.0, 10.0, 5.0 + (4 + 10 / 2) * 0.5)


def test_layers_that_were_all_measured_are_not_extrapolated() -> None:
    runs = [Measured(6, 60.0, 3.0), Measured(12, 50.0, 6.0)]
    step = extrapolate(runs, sizes(20, period=6), trained=4)
    assert (step.layers, step.head_and_loss, step.seconds) == (0.0, 60.0, 6.0 + 8 * 0.5)
    whole = extrapolate([Measured(20, 99.0, 7.0)], sizes(20), trained=20, whole=True)
    assert (whole.layers, whole.head_and_loss, whole.seconds) == (0.0, 99.0, 7.0)


def test_noise_never_makes_more_layers_cheaper() -> None:
    step = extrapolate([Measured(2, 71.0, 5.1), Measured(6, 70.0, 5.0)], sizes(20), trained=20)
    assert (step.layers, step.head_and_loss, step.seconds) == (0.0, 70.0, 5.0)


def test_memory_taken_ahead_does_not_grow_with_the_layers() -> None:
    runs = [Measured(2, 30.0, 3.0, ahead=9.0), Measured(6, 70.0, 5.0, ahead=4.0)]
    step = extrapolate(runs, sizes(20), trained=20)
    assert (step.layers, step.head_and_loss) == (200.0, 10.0 + 4.0)
    assert extrapolate(runs[1:], sizes(6), trained=6, whole=True).head_and_loss == 74.0


@pytest.mark.parametrize(
    ("ordered", "seconds", "run", "wanted"),
    [
        (True, [2.0, 4.0, 4.0, 1.0], 4, Measured(3, 50.0, 1.0, ahead=20.0)),  # the second step is the one in order
        (True, [6.0, 9.0, 9.0, 5.0], 3, Measured(3, 50.0, 6.0, ahead=20.0)),  # slow: the time of the first is enough
        (False, [2.0, 4.0, 4.0, 1.0], 4, Measured(3, 60.0, 1.0)),
        (False, [6.0, 9.0, 9.0, 5.0], 2, Measured(3, 50.0, 6.0)),
    ],
)
def test_a_step_in_order_tells_the_layers_from_what_is_taken_ahead(
    ordered: bool,
    seconds: Sequence[float],
    run: int,
    wanted: Measured,
) -> None:
    peaks, modes, done = iter([40.0, 50.0, 70.0, 45.0]), [], []

    def train(on_step: Callable[[Step], bool]) -> None:
        for number, each in enumerate(seconds, 1):
            done.append(number)
            if not on_step(Step(number, 1.0, 1.0, True, 1e-4, [0], 1, 1, each, 0.0)):
                return

    assert measure_steps(3, train, lambda: next(peaks), modes.append if ordered else None) == wanted
    assert len(done) == run and modes == [True, False, False, False][: run if ordered else 0]
