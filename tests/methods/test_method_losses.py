"""What each method makes of log-probabilities: by hand, gradients by differences, and as TRL has it."""

import math
from dataclasses import replace
from typing import Any

import pytest

from finetune.backends.mlx.runtime import mx  # isort: skip  the first import of MLX
from finetune.methods import METHODS, RowSource
from finetune.methods.grpo import advantages
from finetune.models.examples import as_rows
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig
from finetune.signals import never


def example(learned: int, **terms: Any) -> Example:
    return Example([1] * (2 + learned), [False] * 2 + [True] * learned, terms)


# log-probabilities of two pairs: chosen of 2 and 1 tokens, rejected of 1 and 3
PAIR = [
    *(example(2, reference=-1.5), example(1, reference=-0.5)),
    *(example(1, reference=-2.0), example(3, reference=-3.0)),
]
LOGPROBS = [-0.3, -0.7, -0.9, -1.1, -0.8, -1.6, -0.6]
# how far each answer has moved from the reference: 0.5, -0.4 and 0.9, 0.0
MARGINS = [0.9, 0.9]
MEAN_MARGINS = [0.5 / 2 + 0.4 / 1, 0.9 / 1 - 0.0 / 3]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def odds_loss(chosen: float, rejected: float, weight: float) -> float:
    """From the mean log-probabilities of the tokens."""
    odds = [math.exp(mean) / (1 - math.exp(mean)) for mean in (chosen, rejected)]
    return -chosen - weight * math.log(sigmoid(math.log(odds[0] / odds[1])))


@pytest.mark.parametrize(
    ("method", "settings", "wanted"),
    [
        ("dpo", {}, sum(-math.log(sigmoid(0.1 * margin)) for margin in MARGINS)),
        ("dpo", {"dpo_beta": 2.0, "dpo_loss": "hinge"}, sum(max(0.0, 1 - 2 * margin) for margin in MARGINS)),
        ("dpo", {"dpo_beta": 0.5, "dpo_loss": "hinge"}, sum(1 - 0.5 * margin for margin in MARGINS)),
        ("dpo", {"dpo_beta": 0.5, "dpo_loss": "ipo"}, sum((margin - 1.0) ** 2 for margin in MEAN_MARGINS)),
        (
            "dpo",
            {"dpo_length_normalised": True, "dpo_beta": 3.0},
            sum(-math.log(sigmoid(3 * margin)) for margin in MEAN_MARGINS),
        ),
        (
            "dpo",
            {"dpo_sft_weight": 0.2},
            sum(-math.log(sigmoid(0.1 * margin)) for margin in MARGINS) + 0.2 * (1.0 / 2 + 1.1),
        ),
        ("orpo", {"orpo_weight": 0.25}, odds_loss(-0.5, -0.9, 0.25) + odds_loss(-1.1, -1.0, 0.25)),
    ],
)
def test_preference_losses_by_hand(method: str, settings: dict[str, Any], wanted: float) -> None:
    config = TrainingConfig(method=method, **settings)
    found = METHODS[method].loss(mx, mx.array(LOGPROBS), PAIR, config)
    assert found.total.item() == pytest.approx(wanted, rel=1e-5)
    assert found.weight == 2
    preferred = found.metrics["preferred"]
    assert preferred.total.item() / preferred.count == (1.0 if method == "dpo" else 0.5)


ANSWERS = [example(2, advantage=1.0, old=[-0.5, -1.0]), example(1, advantage=-2.0, old=[-1.0])]
NOW = [-0.2, -1.1, -0.5]
RATIOS = [math.exp(0.3), math.exp(-0.1), math.exp(0.5)]  # with a clip of 0.2: above, inside, above with a bad answer


@pytest.mark.parametrize(
    ("settings", "wanted", "weight"),
    [
        ({}, -1.2 - RATIOS[1] + 2 * RATIOS[2], 3),
        ({"grpo_clip_high": 0.5}, -RATIOS[0] - RATIOS[1] + 2 * RATIOS[2], 3),
        ({"grpo_loss": "grpo"}, (-1.2 - RATIOS[1]) / 2 + 2 * RATIOS[2], 2),
        ({"grpo_loss": "dr_grpo", "grpo_max_tokens": 10}, (-1.2 - RATIOS[1] + 2 * RATIOS[2]) / 10, 2),
    ],
)
def test_grpo_loss_by_hand(settings: dict[str, Any], wanted: float, weight: float) -> None:
    found = METHODS["grpo"].loss(mx, mx.array(NOW), ANSWERS, TrainingConfig(method="grpo", **settings))
    assert (found.total.item(), found.weight) == (pytest.approx(wanted, rel=1e-5), weight)
    assert found.metrics["clip_fraction"].total.item() == (0 if "grpo_clip_high" in settings else 1)


def test_grpo_keeps_near_the_reference() -> None:
    answers = [replace(one, terms={**one.terms, "reference": [-0.3] * one.learned}) for one in ANSWERS]
    plain, kept = (
        METHODS["grpo"].loss(mx, mx.array(NOW), answers, TrainingConfig(method="grpo", grpo_kl=kl)).total.item()
        for kl in (0.0, 0.5)
    )
    ahead = [-0.3 - now for now in NOW]
    assert kept - plain == pytest.approx(0.5 * sum(math.exp(value) - value - 1 for value in ahead), rel=1e-4)


def test_own_answers_of_this_moment_have_the_gradient_of_their_advantage() -> None:
    """Where the sampling model is the one that learns, r is 1, and its gradient that of log p."""
    answers = [replace(one, terms={"advantage": one.terms["advantage"]}) for one in ANSWERS]
    config = TrainingConfig(method="grpo")
    loss = METHODS["grpo"].loss
    gradient = mx.grad(lambda logprobs: loss(mx, logprobs, answers, config).total)(mx.array(NOW))
    assert gradient.tolist() == pytest.approx([-1.0, -1.0, 2.0])


@pytest.mark.parametrize("method", ["dpo", "orpo", "grpo"])
def test_gradients_by_differences(method: str) -> None:
    examples, at = (ANSWERS, NOW) if method == "grpo" else (PAIR, LOGPROBS)
    examples = (
        [replace(one, terms={**one.terms, "reference": [-0.3] * one.learned}) for one in examples]
        if (method == "grpo")
        else examples
    )
    config = TrainingConfig(method=method, grpo_kl=0.3, grpo_clip=0.4, dpo_sft_weight=0.2)

    def loss(logprobs: Any) -> Any:
        return METHODS[method].loss(mx, logprobs, examples, config).total

    found = mx.grad(loss)(mx.array(at)).tolist()
    step = 1e-2
    for index, gradient in enumerate(found):
        sides = [loss(mx.array([*at[:index], at[index] + sign * step, *at[index + 1 :]])).item() for sign in (1, -1)]
        assert gradient == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=0.02, abs=2e-3)


def test_advantages() -> None:
    assert advantages([0.0, 1.0, 1.0, 0.0], scale=False) == [-0.5, 0.5, 0.5, -0.5]
    scaled = advantages([0.0, 1.0, 1.0, 0.0], scale=True)
    assert scaled == pytest.approx([-0.866, 0.866, 0.866, -0.866], abs=1e-3)
    assert advantages([0.3] * 4, scale=True) == [0.0] * 4  # never a rounding error made large


def test_a_pair_stays_together() -> None:
    """In every batch, whatever its size, each chosen answer is followed by its own rejected one."""
    pairs = as_rows([Example([0] * length, [False] * length) for length in (3, 9, 4, 4, 8, 2, 5, 5, 1, 7)], 2)
    source = RowSource(METHODS["dpo"], pairs, TrainingConfig(batch_size=2, method="dpo"))
    assert sorted(row for batch in source.epoch(0) for row in batch) == list(range(5))
    assert [len(batch) for batch in source.epoch(0)].count(1) == 1  # five pairs in batches of two
    taken = [row for step in range(3) for row in source.next_step(step, None, never).batches[0]]
    assert all(row in pairs and len(row.examples) == 2 for row in taken)
