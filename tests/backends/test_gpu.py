"""What a GPU must get right, in bfloat16: training, answers, shared prompts, resuming, adapters. ``make test-gpu``.

``FINETUNE_DEVICE=cpu make test-gpu`` runs the same on the CPU, in the GPU's way. Tolerances are those of bfloat16, which keeps
three digits; what is compared with is computed in float32 on the CPU.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.settings.config import TrainingConfig
from gpu_way import gpu_way

PROBLEM = ""
try:
    import finetune.backends.mlx.runtime  # noqa: F401
except UserError as error:  # no GPU
    PROBLEM = f"{error}"

pytestmark = pytest.mark.gpu
CONFIG = TrainingConfig(iters=24, batch_size=2, learning_rate=1e-2, lora_rank=4, warmup=2)
TEXTS = [
    ("One?", "SELECT 1;"),
    ("And two, as a word?", "SELECT 'two' AS answer;"),
    ("3", "SELECT 3;"),
    ("4?", "SELECT 4 + 0;"),
]


@pytest.fixture(autouse=True, scope="session")
def device() -> None:
    if PROBLEM:
        pytest.skip(PROBLEM)


@pytest.fixture(autouse=True)
def way(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with gpu_way(monkeypatch, half=True):
        yield


@pytest.fixture
def rows(tiny_model: Path) -> list[Any]:
    from finetune.models.encoder import ChatEncoder

    encoder = ChatEncoder(tiny_model)
    return [encoder.example([{"role": "user", "content": q}, {"role": "assistant", "content": a}]) for q, a in TEXTS]


@pytest.fixture
def new(tiny_model: Path, rows: list[Any]) -> Callable[..., Any]:
    from finetune.backends import load_backend
    from finetune.methods import METHODS, RowSource
    from finetune.models.encoder import ChatEncoder
    from finetune.models.examples import as_rows

    def make(config: TrainingConfig = CONFIG) -> Any:
        mlx: Any = load_backend("mlx")
        model = mlx.load(tiny_model, ChatEncoder(tiny_model))
        source = RowSource(METHODS["sft"], as_rows(rows), config)
        return mlx.Trainer(model, METHODS["sft"], source, config, config.iters, "base")

    return make


def losses(trainer: Any, stop: Callable[[], bool] = lambda: False) -> list[float]:
    return [step.loss for step in trainer.run(stop)]


def exact(folder: Path, adapter: Any = None) -> Any:
    """The network on the CPU, in float32."""
    from finetune.backends.mlx import adapters
    from finetune.backends.mlx.model import load_network
    from finetune.backends.mlx.runtime import mx

    network = load_network(folder, mx.float32)
    if adapter is not None:
        adapters.attach(network, adapters.settings(network, CONFIG))
        adapters.put(network, {name: array.astype(mx.float32) for name, array in adapter.items()})
    network.eval()
    return network


def loss_of(network: Any, rows: list[Any]) -> float:
    """The mean loss of the learned tokens, on the CPU and from all logits."""
    import mlx.nn as nn

    from finetune.backends.mlx.runtime import mx

    total, count = 0.0, 0
    with mx.stream(mx.cpu):
        for row in rows:
            logits = network(mx.array([row.tokens[:-1]]))[0].astype(mx.float32)
            learned = mx.array([float(each) for each in row.loss_mask[1:]])
            total += (nn.losses.cross_entropy(logits, mx.array(row.tokens[1:])) * learned).sum().item()
            count += row.learned
    return total / count


@pytest.mark.parametrize(
    "settings", [{}, {"grad_checkpoint": True, "grad_accumulation": 2}, {"lora_dropout": 0.1}], ids=str
)
def test_training(new: Callable[..., Any], tiny_model: Path, rows: list[Any], settings: dict[str, Any]) -> None:
    from finetune.backends.mlx import adapters
    from finetune.backends.mlx.compiled import CompiledSteps
    from finetune.backends.mlx.runtime import mx

    trainer = new(replace(CONFIG, batch_size=4, iters=40, **settings))
    assert trainer.network.model.embed_tokens.weight.dtype == mx.bfloat16
    assert isinstance(trainer._steps, CompiledSteps) and not trainer.notes
    found = losses(trainer)
    assert found[0] == pytest.approx(loss_of(exact(tiny_model), rows), rel=1e-2)
    assert found[-1] < 0.6 * found[0]
    valid = trainer.validation_loss(trainer.source.rows)
    assert valid == pytest.approx(
        loss_of(exact(tiny_model, adapters.trainable(trainer.network)), rows), rel=5e-2, abs=5e-2
    )


def test_gradients(new: Callable[..., Any], tiny_model: Path, rows: list[Any]) -> None:
    from finetune.backends.mlx import adapters
    from finetune.backends.mlx.runtime import mx

    trainer = new()
    put = {name: mx.random.normal(array.shape) * 0.05 for name, array in adapters.trainable(trainer.network).items()}
    adapters.put(trainer.network, put)
    (plain, _), (ours, _) = trainer._plain.sums(rows), trainer._steps.sums(rows)
    assert ours["loss"].item() == pytest.approx(plain["loss"].item(), rel=1e-2)
    for name, array in put.items():
        size = mx.linalg.norm(plain[name].astype(mx.float32)).item()
        assert ours[name].dtype == plain[name].dtype
        assert mx.linalg.norm((ours[name] - plain[name]).astype(mx.float32)).item() < 0.05 * size, (name, array.shape)


def test_answers_in_a_batch_are_those_of_one_row(tiny_model: Path, rows: list[Any]) -> None:
    from finetune.backends import load_backend
    from finetune.backends.mlx.decoding import Decoder
    from finetune.backends.mlx.runtime import mx
    from finetune.models.encoder import ChatEncoder

    mlx: Any = load_backend("mlx")
    network, reference = mlx.load(tiny_model, ChatEncoder(tiny_model)).network, exact(tiny_model)
    prompts = [row.tokens[: 3 + 5 * at] for at, row in enumerate([*rows, *rows])]
    found = {one.index: one.tokens for one in Decoder(network, frozenset(), 12).run(prompts)}
    for index, prompt in enumerate(prompts):
        with mx.stream(mx.cpu):  # a random model has many tokens that are nearly as good: each must be one of them
            logits = reference(mx.array([[*prompt, *found[index][:-1]]]))[0, len(prompt) - 1 :]
            behind = logits.max(axis=-1) - mx.take_along_axis(logits, mx.array(found[index])[:, None], axis=-1)[:, 0]
            assert len(found[index]) == 12 and (behind < 0.05 * mx.sqrt(logits.var(axis=-1)) + 0.02).all().item(), index


def test_prompts_are_shared(tiny_model: Path) -> None:
    from finetune.backends import load_backend
    from finetune.backends.mlx import adapters, shared_prompts
    from finetune.backends.mlx.fast_paths import FastPaths
    from finetune.models.encoder import ChatEncoder

    mlx: Any = load_backend("mlx")
    network = mlx.load(tiny_model, ChatEncoder(tiny_model)).network
    assert shared_prompts.why_not(network) is None
    adapters.attach(network, adapters.settings(network, CONFIG))
    paths = FastPaths(network, 1.0, checkpoints=False, shares_prompts=True)
    assert paths.shares_prompts and paths.notes == []


def test_a_run_that_was_stopped_goes_on(new: Callable[..., Any], tmp_path: Path) -> None:
    """To the same numbers but for rounding: the same bits are promised on the CPU alone."""
    config = replace(CONFIG, iters=6, grad_accumulation=2, lora_dropout=0.1)
    whole, stopped, again = new(config), new(config), new(config)
    wanted = losses(whole)
    calls = iter([False] * 5)
    losses(stopped, lambda: next(calls, True))
    again.restore(tmp_path, stopped.save(tmp_path))
    assert losses(again) == pytest.approx(wanted[stopped.position.step :], rel=2e-2)


def test_adapters_are_loaded_and_fused(
    new: Callable[..., Any], tiny_model: Path, rows: list[Any], tmp_path: Path
) -> None:
    from finetune.backends import load_backend
    from finetune.models.encoder import ChatEncoder
    from finetune.records import files

    trainer = new()
    losses(trainer)
    trainer.save_adapters(tmp_path / files.ADAPTERS)
    files.write_json(tmp_path / files.ADAPTER_CONFIG, dict(trainer.adapter_config))
    mlx: Any = load_backend("mlx")
    model = mlx.load(tiny_model, ChatEncoder(tiny_model), tmp_path)
    learned = sum(row.learned for row in rows)
    valid = trainer.validation_loss(trainer.source.rows)
    assert sum(model.losses(rows)) / learned == pytest.approx(valid, rel=2e-2)
    assert sum(model.fused().losses(rows)) / learned == pytest.approx(valid, rel=5e-2, abs=2e-2)
    assert sum(model.without_adapter().losses(rows)) / learned > 1.3 * valid


def test_the_device_is_the_one_that_was_asked_for() -> None:
    from finetune.backends.mlx.runtime import describe, mx

    wanted = os.environ["FINETUNE_DEVICE"]
    assert mx.default_device().type == getattr(mx, wanted) and ("CPU" in describe()) == (wanted == "cpu")
