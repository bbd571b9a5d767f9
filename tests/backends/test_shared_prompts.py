"""Answers to one prompt, computed beside each other, are what each would be alone: values and gradients."""

from pathlib import Path
from typing import Any

import pytest

from finetune.backends import load_backend
from finetune.models.encoder import ChatEncoder
from finetune.models.loss_mask import Example

mlx = load_backend("mlx")

import mlx.nn as nn  # noqa: E402  # isort: skip
from finetune.backends.mlx import adapters, shared_prompts  # noqa: E402
from finetune.backends.mlx.logprobs import collate, logprob_function  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402
from finetune.settings.config import TrainingConfig  # noqa: E402


def answered(prompt: int, *answers: int) -> list[Example]:
    """Answers of these lengths to a prompt of that length."""
    head = [5 + 7 * prompt + at for at in range(prompt)]
    return [
        Example(head + [90 + 3 * at + length for at in range(length)], [False] * prompt + [True] * length)
        for length in answers
    ]


GROUPS = [
    [answered(20, 3, 9, 1)],
    [answered(20, 3, 9, 1, 4), answered(11, 5, 2)],
    [answered(11, 5), answered(20, 3, 9), answered(2, 1, 12, 4), answered(6, 2, 2)],
]


@pytest.mark.parametrize("groups", GROUPS, ids=len)
@pytest.mark.parametrize("model", ["tiny_model", "tiny_gemma"])  # the latter's window is shorter than a prompt
def test_as_alone(model: str, groups: list[list[Example]], request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(model)
    network: Any = mlx.load(folder, ChatEncoder(folder)).network
    adapters.attach(network, adapters.settings(network, TrainingConfig(lora_rank=4)))
    mx.random.seed(1)
    put = {name: mx.random.normal(array.shape) * 0.2 for name, array in adapters.trainable(network).items()}
    adapters.put(network, put)
    assert shared_prompts.why_not(network) is None
    examples = [example for group in groups for example in group]
    assert shared_prompts.worth_it(groups)
    logprobs = logprob_function(network)
    weights = mx.random.normal((sum(example.learned for example in examples),))
    found = []
    for share in (False, True):
        parts = collate(examples, share_prompts=share)
        assert all(isinstance(part, shared_prompts.SharedBatch) == share for part in parts)
        loss = nn.value_and_grad(network, lambda network, parts: (logprobs(network, parts) * weights).sum())
        found.append((logprobs(network, parts), dict(mlx_flat(loss(network, parts)[1]))))
    (alone, gradients), (together, shared) = found
    assert mx.allclose(alone, together, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients.items():
        scale = mx.abs(gradient).max().item()
        assert mx.abs(gradient - shared[name]).max().item() < 1e-4 * max(scale, 1e-3), name


def mlx_flat(tree: Any) -> Any:
    from mlx.utils import tree_flatten

    return tree_flatten(tree)


def test_rows_that_share_nothing_are_computed_whole() -> None:
    assert not shared_prompts.worth_it(shared_prompts.grouped([*answered(20, 3), *answered(11, 5)]))
    assert not shared_prompts.worth_it([answered(4, 40, 41)])  # hardly anything to share, and more to add up
