"""The engine against plain full-logits references, on a small model with a real tokenizer."""

from dataclasses import replace
from pathlib import Path

import pytest

from finetune.backends import load_backend
from finetune.backends.base import Step, Validation
from finetune.cli import UserError
from finetune.config import TrainingConfig
from finetune.encoding import ChatEncoder
from finetune.methods import METHODS

mlx = load_backend("mlx")

from finetune.backends.mlx.completion import collate, logprob_function  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402

CONFIG = TrainingConfig(iters=30, batch_size=2, learning_rate=1e-2, lora_rank=4, steps_per_eval=10, warmup=2)


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> ChatEncoder:
    return ChatEncoder(tiny_model)


@pytest.fixture(scope="module")
def examples(encoder: ChatEncoder) -> list:
    pairs = [("One?", "SELECT 1;"), ("And two, as a word?", "SELECT 'two' AS answer;"), ("3", "SELECT 3;")]
    return [encoder.example([{"role": "user", "content": q}, {"role": "assistant", "content": a}]) for q, a in pairs]


def test_loss_and_gradients_equal_full_logits(tiny_model: Path, encoder: ChatEncoder, examples: list) -> None:
    import mlx.nn as nn
    from mlx.utils import tree_flatten

    model = mlx.load(tiny_model, encoder)
    mlx.attach_lora(model, CONFIG)
    for name, array in tree_flatten(model.network.trainable_parameters()):  # lora_b starts at 0: no gradient for lora_a
        if name.endswith("lora_b"):
            array[:] = 0.01 * mx.random.normal(array.shape)
    logprobs = logprob_function(model.network)

    def ours(network):
        return METHODS["sft"].loss(logprobs(network, collate(examples)))

    def reference(network):
        losses, learned = 0.0, 0
        for example in examples:  # each row by itself, without padding
            logits = network(mx.array([example.tokens[:-1]]))[0]
            mask = mx.array(example.loss_mask[1:])
            losses += (nn.losses.cross_entropy(logits, mx.array(example.tokens[1:])) * mask).sum()
            learned += sum(example.loss_mask)
        return losses / learned

    (loss, grads), (wanted, wanted_grads) = (
        nn.value_and_grad(model.network, f)(model.network) for f in (ours, reference)
    )
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    for (name, grad), (_, want) in zip(tree_flatten(grads), tree_flatten(wanted_grads), strict=True):
        assert mx.abs(grad - want).max().item() <= 1e-5 * max(1e-3, mx.abs(want).max().item()), name


def trained(folder: Path, encoder: ChatEncoder, examples: list, config: TrainingConfig):
    model = mlx.load(folder, encoder)
    mlx.attach_lora(model, config)
    return model, list(mlx.train(model, METHODS["sft"], examples, examples, config, config.iters))


def test_training_learns_saves_and_loads_again(
    tiny_model: Path, encoder: ChatEncoder, examples: list, tmp_path: Path
) -> None:
    import json

    model, events = trained(tiny_model, encoder, examples, CONFIG)
    losses = [event.loss for event in events if isinstance(event, Validation)]
    assert [event.step for event in events if isinstance(event, Validation)] == [10, 20, 30]
    assert losses[-1] < losses[0] - 1

    mlx.save_adapters(model, tmp_path / "adapters.safetensors")
    lora = {"rank": CONFIG.lora_rank, "scale": CONFIG.lora_scale, "dropout": 0.0}
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": lora})
    )
    again = mlx.load(tiny_model, encoder, tmp_path)
    probe = mx.array([examples[0].tokens])
    assert mx.array_equal(again.network(probe), model.network(probe))
    assert not mx.array_equal(mlx.load(tiny_model, encoder).network(probe), model.network(probe))

    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": lora})
    )
    with pytest.raises(UserError) as refused:
        mlx.load(tiny_model, encoder, tmp_path)
    assert refused.value.exit_code == 3


def test_validation_changes_nothing(tiny_model: Path, encoder: ChatEncoder, examples: list) -> None:
    config = replace(CONFIG, iters=6, lora_dropout=0.1)
    runs = [trained(tiny_model, encoder, examples, replace(config, steps_per_eval=every))[1] for every in (1, 6)]
    first, second = ([event.loss for event in events if isinstance(event, Step)] for events in runs)
    assert first == second


def test_a_loss_that_is_not_finite_stops_before_the_weights(
    tiny_model: Path, encoder: ChatEncoder, examples: list
) -> None:
    from mlx.utils import tree_flatten

    model = mlx.load(tiny_model, encoder)
    mlx.attach_lora(model, CONFIG)
    model.network.model.norm.weight = model.network.model.norm.weight * float("inf")
    events = list(mlx.train(model, METHODS["sft"], examples, examples, CONFIG, 5))
    assert len(events) == 1 and not events[0].finite
    assert all(mx.isfinite(array).all() for _, array in tree_flatten(model.network.trainable_parameters()))


def test_batched_answers_equal_single_ones(tiny_model: Path, encoder: ChatEncoder) -> None:
    model = mlx.load(tiny_model, encoder)
    conversations = [[{"role": "user", "content": text}] for text in ("a", "what is the answer to this?", "b c d")]
    together = model.answers(conversations, max_tokens=12)
    for conversation, answer in zip(conversations, together, strict=True):
        tokens = list(model.stream(encoder.prompt(conversation), 12))
        assert answer.text == encoder.decode(tokens) and answer.tokens == len(tokens)
