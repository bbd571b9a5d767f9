"""Models in bfloat16, as on Metal and CUDA: what is trained is float32, log-probabilities are not rounded, scales are kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.backends import load_backend
from finetune.methods import METHODS, RowSource
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import as_rows
from finetune.settings.config import TrainingConfig

mlx = load_backend("mlx")

import mlx.nn as nn  # noqa: E402  # isort: skip
from mlx.utils import tree_flatten  # noqa: E402  # isort: skip
from finetune.backends.mlx import adapters, cpu_math, memory_estimate, precision  # noqa: E402
from finetune.backends.mlx.exact_embeddings import EXACT  # noqa: E402
from finetune.backends.mlx.logprobs import _head_logprobs, collate, logprob_function  # noqa: E402
from finetune.backends.mlx.model import MlxModel, load_network  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402

FULL = TrainingConfig(fine_tune_type="full", iters=6, batch_size=3, learning_rate=1e-5, warmup=0, weight_decay=0.0)


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> ChatEncoder:
    return ChatEncoder(tiny_model)


@pytest.fixture(scope="module")
def examples(encoder: ChatEncoder) -> list:
    pairs = [("One?", "SELECT 1;"), ("And two, as a word?", "SELECT 'two' AS answer;"), ("3", "SELECT 3;")]
    return [encoder.example([{"role": "user", "content": q}, {"role": "assistant", "content": a}]) for q, a in pairs]


def trainer(folder: Path, encoder: ChatEncoder, examples: list, dtype: Any, config: TrainingConfig, start=None):
    source = RowSource(METHODS["sft"], as_rows(examples), config)
    model = MlxModel(load_network(folder, dtype), encoder)
    return mlx.Trainer(model, METHODS["sft"], source, config, config.iters, "base", start)


def moved(before: dict, after: dict) -> float:
    """The share of numbers that are others now."""
    changed = sum((before[name] != after[name]).sum().item() for name in before)
    return changed / sum(array.size for array in before.values())


def test_whole_layers_learn_in_half_precision_as_in_single(tiny_model, encoder, examples) -> None:
    found = {}
    for dtype in (mx.float32, mx.bfloat16):
        made = trainer(tiny_model, encoder, examples, dtype, FULL)
        before = adapters.trainable(made.network)
        losses = [step.loss for step in made.run(lambda: False)]
        found[dtype] = moved(before, adapters.trainable(made.network)), losses
    assert found[mx.bfloat16][0] > 0.99 * found[mx.float32][0] > 0.9  # 0.1 to 0.2 if weights are bfloat16
    single, half = (losses[-1] - losses[0] for _, losses in found.values())
    assert single < 0 and half == pytest.approx(single, rel=0.1)


@pytest.mark.parametrize("optimizer", ["adamw", "lion", "sgd", "adafactor", "muon"])
def test_what_is_trained_and_summed_is_float32(tiny_model, encoder, examples, optimizer: str) -> None:
    config = replace(FULL, optimizer=optimizer, iters=1, batch_size=1, grad_accumulation=3)
    made = trainer(tiny_model, encoder, examples, mx.bfloat16, config)
    made._add(as_rows(examples)[:1])
    held = [*made._sum.values(), *adapters.trainable(made.network).values()]
    held += [array for array in dict(tree_flatten(made._optimizer.state)).values() if array.ndim]
    assert {array.dtype for array in held} == {mx.float32}


@pytest.mark.parametrize("head", ["tied", "apart"])
def test_whole_embeddings_learn_and_the_layers_stay_in_half_precision(
    tiny_model, encoder, examples, tmp_path: Path, head: str
) -> None:
    from shutil import copytree

    folder = tiny_model
    if head == "apart":
        folder = copytree(tiny_model, tmp_path / "apart")
        config = (
            (folder / "config.json").read_text().replace('"tie_word_embeddings": true', '"tie_word_embeddings": false')
        )
        (folder / "config.json").write_text(config)
        weights: Any = mx.load(str(folder / "model.safetensors"))
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"] * 0.9
        mx.save_safetensors(str(folder / "model.safetensors"), weights)
    config = TrainingConfig(train_embeddings=True, iters=5, batch_size=3, learning_rate=1e-5, lora_rank=2, warmup=0)
    made = trainer(folder, encoder, examples, mx.bfloat16, config)
    matrices = [module for module in made.network.modules() if isinstance(module, EXACT)]
    assert len(matrices) == (2 if head == "apart" else 1)
    before = {str(at): module.weight for at, module in enumerate(matrices)}
    assert all(step.finite for step in made.run(lambda: False))
    assert moved(before, {str(at): module.weight for at, module in enumerate(matrices)}) > 0.5  # tied: all of the head
    tokens = mx.array([examples[0].tokens])
    made.network.eval()
    now = made.network(tokens)
    assert now.dtype == mx.bfloat16
    _demand_exact(logprob_function(made.network), made.network, matrices[0], examples)
    made.save_adapters(tmp_path / "adapters.safetensors")
    from finetune.records import files

    files.write_json(tmp_path / files.ADAPTER_CONFIG, made.adapter_config)
    network = load_network(folder, mx.bfloat16)
    switch = adapters.load(network, tmp_path, "base")
    cpu_math.remove()  # which are for float32, and off in the run
    switch("attached")
    network.eval()
    assert mx.array_equal(network(tokens), now)
    switch("disabled")
    base = load_network(folder, mx.bfloat16)
    cpu_math.remove()
    assert mx.array_equal(network(tokens), base(tokens))


def test_adapters_of_half_precision_are_trained_in_single(tiny_model, encoder, examples, tmp_path: Path) -> None:
    config = TrainingConfig(iters=1, lora_rank=2)
    made = trainer(tiny_model, encoder, examples, mx.float32, config)
    half = {name: array.astype(mx.bfloat16) for name, array in adapters.trainable(made.network).items()}
    adapters.save(half, tmp_path / "half.safetensors", {"base": "base"})
    again = trainer(tiny_model, encoder, examples, mx.float32, config, tmp_path / "half.safetensors")
    assert {array.dtype for array in adapters.trainable(again.network).values()} == {mx.float32}


def test_a_state_in_half_precision_goes_on_in_single(tiny_model, encoder, examples, tmp_path: Path) -> None:
    made = trainer(tiny_model, encoder, examples, mx.bfloat16, replace(FULL, iters=2))
    position = made.save(tmp_path)
    for name in ("adapters.safetensors", "optimizer.safetensors"):  # as older versions wrote them
        arrays, about = adapters.read(tmp_path / name)
        half = {key: array.astype(mx.bfloat16) if array.ndim else array for key, array in arrays.items()}
        adapters.save(half, tmp_path / name, {key: text for key, text in about.items() if key == "base"})
    made.restore(tmp_path, position)
    state = [array for array in dict(tree_flatten(made._optimizer.state)).values() if array.ndim]
    assert {array.dtype for array in [*state, *adapters.trainable(made.network).values()]} == {mx.float32}


def test_the_plan_counts_what_is_trained_in_float32(tiny_model, monkeypatch) -> None:
    monkeypatch.setattr(memory_estimate, "DTYPE", mx.bfloat16)
    probe = memory_estimate.Probe()
    whole, lora = (probe.sizes(tiny_model, replace(FULL, fine_tune_type=kind)) for kind in ("full", "lora"))
    assert whole.weights == 2 * whole.parameters + 2 * whole.trainable and lora.weights == 2 * lora.parameters
    assert whole.optimizer >= 8 * whole.trainable


def _confident(size: int, logit: float) -> tuple[Any, Any, Any]:
    """Hidden states in bfloat16 that lie along the row of their label, whose logit is about ``logit``."""
    rows = mx.random.normal((500, 64), key=mx.random.key(1)).astype(mx.bfloat16)
    labels = mx.arange(size) % 500
    chosen = rows[labels].astype(mx.float32)
    hidden = logit * chosen / (chosen * chosen).sum(axis=-1, keepdims=True)
    return hidden.astype(mx.bfloat16), rows, labels


@pytest.mark.parametrize("logit", [5.0, 20.0, 28.0, 107.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_of_half_precision_are_exact_and_never_above_0(logit: float, temperature: float) -> None:
    from finetune.backends.mlx.head import Head

    hidden, rows, labels = _confident(300, logit)
    found = _head_logprobs(Head(None, 500, rows.__getitem__, temperature=temperature))(hidden, labels)
    scaled = (hidden / temperature).astype(mx.float32)
    logits = scaled @ rows.astype(mx.float32).T
    wanted = mx.take_along_axis(logits, labels[:, None], axis=-1)[:, 0] - mx.logsumexp(logits, axis=-1)
    assert found.max().item() <= 0 and mx.abs(found - wanted).max().item() < 1e-4


def test_log_probabilities_of_a_network_in_half_precision_are_those_of_its_hidden_states(
    tiny_model, encoder, examples
) -> None:
    network = load_network(tiny_model, mx.bfloat16)
    _demand_exact(logprob_function(network), network, network.model.embed_tokens, examples)


def _demand_exact(logprobs: Any, network: Any, head: Any, examples: list) -> None:
    """Log-probabilities are those of float32 logits, of the hidden states and the head in bfloat16."""
    found = logprobs(network, collate(examples))
    [part] = collate(examples[:1])
    hidden = network.model(part.inputs)[0][part.positions].astype(mx.float32)
    logits = hidden @ head.weight.astype(mx.bfloat16).astype(mx.float32).T
    wanted = mx.take_along_axis(logits, part.labels[:, None], axis=-1)[:, 0] - mx.logsumexp(logits, axis=-1)
    assert mx.abs(found[: part.learned] - wanted).max().item() < 1e-4 and found.max().item() <= 0


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_scales_of_quantised_weights_keep_their_type(dtype: Any) -> None:
    module: Any = nn.Sequential(nn.Linear(64, 64), nn.RMSNorm(64))
    module.set_dtype(dtype)
    nn.quantize(module, 32, 4)
    mx.eval(module.parameters())
    kept = module.layers[0].scales
    precision.cast(module, mx.bfloat16)
    assert module.layers[0].scales.dtype == dtype and mx.array_equal(module.layers[0].scales, kept)
    assert module.layers[1].weight.dtype == mx.bfloat16
    assert mx.isfinite(module(mx.ones((2, 64), mx.bfloat16))).all()
    precision.cast(module, mx.float32)
    assert module.layers[0].scales.dtype == mx.float32
