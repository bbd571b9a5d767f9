"""GRPO on PyTorch: draws that follow the model, the gradients of MLX, and a run that goes on to the same bit."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.backends import load_backend
from finetune.methods.batches import StepBatches
from finetune.methods.grpo import ADVANTAGE, OLD, REFERENCE
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import as_rows
from finetune.models.loss_mask import Example
from finetune.rollouts.rewards import Judge, Reward
from finetune.settings.config import TrainingConfig
from same_lora import same_lora
from tiny_grpo import CONFIG, ROWS, check_draws, letters, new_trainer

pytest.importorskip("trl", reason="PyTorch, PEFT and TRL are not installed (run: make setup-torch)")
mlx = load_backend("mlx")
pytorch = load_backend("torch")

import torch  # noqa: E402

torch.set_num_threads(1)  # beside the threads of the BLAS that MLX has loaded, its own take several times as long

from finetune.backends.torch import adapters  # noqa: E402
from finetune.backends.torch.processors import TokenSampler  # noqa: E402


def new(folder: Path, config: TrainingConfig = CONFIG, judge: Judge = letters, backend: Any = pytorch) -> Any:
    return new_trainer(backend, folder, config, judge)


def run(trainer: Any, stop: Callable[[], bool] = lambda: False, steps: int = 10**6) -> list[Any]:
    found: list[Any] = []
    trainer.train(stop, lambda step: found.append(step) or len(found) < steps)
    return found


def digest(trainer: Any) -> str:
    return adapters.digest(adapters.trained(trainer.peft_model))


def test_what_is_rewarded_becomes_more_frequent(tiny_model: Path) -> None:
    config = replace(CONFIG, iters=9, grpo_updates=1, grpo_kl=0.0, grpo_group_size=16, schedule="constant")
    config = replace(config, grpo_temperature=0.2, batch_size=2)  # a new model else says everything equally often
    rewards = [step.metrics["reward"] for step in run(new(tiny_model, config))]
    assert rewards[-1] > rewards[0] + 0.3


@pytest.mark.parametrize("steps", [2, 3])  # between two rollouts, and between two updates on the same answers
def test_from_any_step_to_the_same_bit(tiny_model: Path, tmp_path: Path, steps: int) -> None:
    whole = new(tiny_model)
    run(whole)
    first = new(tiny_model)
    run(first, steps=steps)
    position = json.loads(json.dumps(first.save(tmp_path)))
    again = new(tiny_model)
    again.restore(tmp_path, position)
    assert [step.step for step in run(again)] == list(range(steps + 1, CONFIG.iters + 1))
    assert digest(again) == digest(whole)


def test_a_stop_while_answers_are_drawn_leaves_the_step_before(tiny_model: Path, tmp_path: Path) -> None:
    asked: list[int] = []
    stopped = new(tiny_model, replace(CONFIG, grpo_updates=1))
    steps = run(stopped, lambda: asked.append(0) or len(asked) > 40)  # some steps later
    assert 0 < len(steps) < CONFIG.iters and stopped.save(tmp_path)["step"] == len(steps)
    again = new(tiny_model, replace(CONFIG, grpo_updates=1))
    run(again, steps=len(steps))
    assert digest(stopped) == digest(again)


def test_answers_stop_between_two_tokens(tiny_model: Path) -> None:
    """A validation of hundreds of rows need not be waited for."""
    asked: list[int] = []
    model = pytorch.load(tiny_model, ChatEncoder(tiny_model))
    conversations = [row["messages"][:-1] for row in ROWS]
    assert (
        model.answers(conversations, max_tokens=50, stops=False, stop=lambda: bool(asked.append(0) or len(asked) > 3))
        == []
    )
    assert len(asked) == 4


def test_equal_rewards_change_nothing(tiny_model: Path) -> None:
    trainer = new(tiny_model, replace(CONFIG, grpo_kl=0.0), lambda *_, **__: Reward(0.5, {}))
    before = digest(trainer)
    steps = run(trainer)
    assert [step.learned for step in steps] == [0] * CONFIG.iters and steps[0].metrics["frac_reward_zero_std"] == 1
    assert digest(trainer) == before


def test_sampled_logprobs_are_the_models(tiny_model: Path) -> None:
    """At the temperature they are drawn at, alone or in company."""
    trainer = new(tiny_model, replace(CONFIG, grpo_temperature=0.7))
    run(trainer)
    before = digest(trainer)
    check_draws(trainer)
    assert digest(trainer) == before


def test_draws_follow_the_softmax() -> None:
    logits = torch.tensor([0.0, 3.0, -torch.inf, 1.0])
    numbers = iter([(number + 0.5) / 2000 for number in range(2000)] + [0.0, 1.0])
    rows = [type("Numbers", (), {"random": lambda self: next(numbers)})() for _ in range(2002)]
    draws = TokenSampler(2.0, rows)
    tokens = draws(None, logits.expand(2002, 4)).argmax(-1).tolist()
    wanted = (logits / 2).softmax(-1)
    for token in (0, 1, 3):
        assert tokens[:2000].count(token) / 2000 == pytest.approx(float(wanted[token]), abs=1e-3)
    assert tokens[2000:] == [0, 3] and 2 not in tokens
    assert draws.logprobs[0] == pytest.approx([math.log(wanted[token]) for token in tokens], rel=1e-5)


@pytest.mark.parametrize("loss", ["dapo", "grpo", "dr_grpo"])
def test_steps_are_those_of_mlx(tiny_model: Path, loss: str) -> None:
    """On the same answers, in parts of different size: the same losses from step to step."""
    config = replace(CONFIG, grpo_loss=loss, iters=4, grpo_temperature=0.7, schedule="constant")
    # unlike AdamW, plain steps show how large a gradient is
    config = replace(config, optimizer="sgd", learning_rate=0.02, max_grad_norm=1e9)

    class Same:
        def next_step(self, step: int, policy: Any, stop: Any) -> StepBatches:
            if step == 2:
                return StepBatches([0], [], {})  # no group has anything to teach
            examples = [
                Example(
                    [1, 2, 3 + number, *range(10 * step, 10 * step + number + 1)],
                    [False] * 3 + [True] * (number + 1),
                    {ADVANTAGE: number - 1.0, OLD: [-4.8] * (number + 1), REFERENCE: [-5.0] * (number + 1)},
                )
                for number in range(3 + step)
            ]
            return StepBatches([0, 1, 2], [as_rows(examples[:1]), as_rows(examples[1:])], {})

    pair = new(tiny_model, config, backend=mlx), new(tiny_model, config)
    same_lora(*pair)
    for trainer in pair:
        trainer.source = Same()
    expected, found = (run(trainer) for trainer in pair)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-4) and ours.learning_rate == theirs.learning_rate
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4) and ours.weight == theirs.weight
    assert found[0].loss != pytest.approx(found[-1].loss, rel=1e-2)
