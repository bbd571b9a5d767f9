from itertools import islice

import pytest

from finetune.methods import METHODS, RowSource, steps_per_epoch
from finetune.methods.schedules import SCHEDULES, learning_rate
from finetune.models.examples import as_rows
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig

ROWS = as_rows(Example([0] * (5 + i % 37), [True] * (5 + i % 37)) for i in range(103))


def source(accumulation: int = 1) -> RowSource:
    return RowSource(METHODS["sft"], ROWS, TrainingConfig(batch_size=4, grad_accumulation=accumulation, seed=1))


def epoch(number: int) -> list[list[int]]:
    return source().epoch(number)


def test_every_row_once_per_epoch_with_the_partial_batch() -> None:
    for number in (0, 1):
        assert sorted(row for batch in epoch(number) for row in batch) == list(range(len(ROWS)))
    assert sorted(len(batch) for batch in epoch(0))[0] == 103 % 4


def test_each_epoch_is_drawn_anew_and_repeats_by_seed() -> None:
    assert epoch(0) != epoch(1)
    assert epoch(1) == epoch(1)


def test_buckets_keep_padding_small() -> None:
    lengths = [[ROWS[row].tokens for row in batch] for batch in epoch(0)]
    padded = sum(max(batch) * len(batch) for batch in lengths)
    assert padded < 1.15 * sum(sum(batch) for batch in lengths)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_run_goes_on_from_any_step(accumulation: int) -> None:
    per_epoch = steps_per_epoch(len(ROWS), 4, accumulation)
    whole = list(islice(source(accumulation).steps(), 2 * per_epoch + 3))
    for first in (1, per_epoch - 1, per_epoch, 2 * per_epoch + 1):
        rest = source(accumulation).steps(first)
        assert list(islice(rest, len(whole) - first)) == whole[first:]
    first_epoch = [row for step in whole[:per_epoch] for batch in step for row in batch]
    assert sorted(first_epoch) == list(range(len(ROWS)))  # the last step of an epoch may have fewer batches


def test_learning_rate_warms_up_and_ends_low() -> None:
    rates = [learning_rate(step, 100, 1.0, 10, SCHEDULES["cosine"]) for step in range(1, 101)]
    assert rates[:10] == sorted(rates[:10]) and max(rates) == rates[10] <= 1.0
    assert 0 < rates[-1] < 0.01
