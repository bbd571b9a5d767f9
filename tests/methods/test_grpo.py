"""A model that learns from its own answers: it does learn, exactly so again after a stop, and only where rewards differ."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.backends import load_backend
from finetune.rollouts.rewards import Judge, Reward
from finetune.settings.config import TrainingConfig
from tiny_grpo import CONFIG, check_draws, letters, new_trainer

mlx = load_backend("mlx")

from finetune.backends.mlx import adapters  # noqa: E402
from finetune.backends.mlx.model import load_network  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402


def new(folder: Path, config: TrainingConfig = CONFIG, judge: Judge = letters) -> Any:
    return new_trainer(mlx, folder, config, judge)


def finish(trainer: Any) -> str:
    for _ in trainer.run(lambda: False):
        pass
    return adapters.digest(adapters.trainable(trainer.network))


def test_what_is_rewarded_becomes_more_frequent(tiny_model: Path) -> None:
    config = replace(CONFIG, iters=9, grpo_updates=1, grpo_kl=0.0, grpo_group_size=16, schedule="constant")
    config = replace(config, grpo_temperature=0.2, batch_size=2)  # a new model else says everything equally often
    rewards = [step.metrics["reward"] for step in new(tiny_model, config).run(lambda: False)]
    assert rewards[-1] > rewards[0] + 0.3


@pytest.fixture(scope="module")
def whole(tiny_model: Path) -> str:
    return finish(new(tiny_model))


@pytest.mark.parametrize("after", [5, 14, 20])
def test_from_any_place_to_the_same_bit(tiny_model: Path, whole: str, tmp_path: Path, after: int) -> None:
    """Also from the middle of a rollout, of the batches of a step, and between two updates on the same answers."""
    trainer = new(tiny_model)
    calls = iter([False] * after)
    for _ in trainer.run(lambda: next(calls, True)):
        pass
    position = json.loads(json.dumps(trainer.save(tmp_path)))
    assert position["step"] < CONFIG.iters
    again = new(tiny_model)
    again.restore(tmp_path, position)
    steps = list(again.run(lambda: False))
    assert ["reward" in step.metrics for step in steps] == [step.step % 2 == 1 for step in steps]  # none is lost
    assert adapters.digest(adapters.trainable(again.network)) == whole


def test_equal_rewards_change_nothing(tiny_model: Path) -> None:
    trainer = new(tiny_model, replace(CONFIG, grpo_kl=0.0), lambda *_, **__: Reward(0.5, {}))
    before = adapters.digest(adapters.trainable(trainer.network))
    steps = list(trainer.run(lambda: False))
    assert [step.learned for step in steps] == [0] * CONFIG.iters and steps[0].metrics["frac_reward_zero_std"] == 1
    assert adapters.digest(adapters.trainable(trainer.network)) == before


def test_rows_that_cannot_be_judged_teach_nothing(tiny_model: Path) -> None:
    def judge(row: dict[str, Any], answer: str, *, stopped: bool) -> Reward:
        return Reward(None, {}) if len(row["messages"][0]["content"]) > 2 else letters(row, answer, stopped=stopped)

    trainer = new(tiny_model, replace(CONFIG, batch_size=7), judge)
    step = next(trainer.run(lambda: False))
    assert 0 < step.learned <= 3 * 4 * 7


def test_sampled_logprobs_are_the_models(tiny_model: Path) -> None:
    """At the temperature they are drawn at, alone or in company."""
    config = replace(CONFIG, grpo_temperature=0.7)
    trainer = new(tiny_model, config)
    finish(trainer)
    check_draws(trainer)


@pytest.mark.parametrize("precise", [True, False])
def test_answers_are_sampled_from_fused_weights_only_in_float32(tiny_model: Path, precise: bool) -> None:
    """In bfloat16 what a step has changed would be rounded away."""
    network = load_network(tiny_model, mx.float32 if precise else mx.bfloat16)
    adapters.attach(network, adapters.settings(network, CONFIG))
    before = [type(module) for module in network.modules()]
    with adapters.fused_for_a_while(network):
        assert any("lora_b" in module for module in network.modules()) is not precise
    assert [type(module) for module in network.modules()] == before


def test_draws_follow_the_softmax() -> None:
    from finetune.backends.mlx.decoding import _sampled

    logits = mx.array([[0.0, 3.0, -1e30, 1.0] + [-1e30] * 400 + [2.0]])
    wanted = mx.softmax(logits, axis=-1)[0].tolist()
    draws = [(number + 0.5) / 2000 for number in range(2000)]
    tokens, logprobs = _sampled(mx.broadcast_to(logits, (2000, logits.shape[1])), mx.array(draws))
    found: list[int] = tokens.tolist()
    for token in (0, 1, 3, 404):
        assert found.count(token) / 2000 == pytest.approx(wanted[token], abs=1e-3)
    assert set(found) == {0, 1, 3, 404}
    assert mx.allclose(mx.exp(logprobs), mx.array([wanted[token] for token in found]), rtol=1e-4)
    edge, _ = _sampled(mx.broadcast_to(logits, (2, logits.shape[1])), mx.array([0.0, 1.0]))
    assert edge.tolist() == [0, 404]  # never a token that cannot come
