"""Compiled steps compute what plain ones do, for few shapes; answers that are read late are the same. All on the CPU."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.true_shapes import SHAPES, network_of
from finetune.backends import load_backend
from finetune.backends.interface import OPTIMIZERS
from finetune.errors import UserError
from finetune.methods import METHODS, RowSource
from finetune.models.examples import as_rows
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig
from gpu_way import gpu_way

mlx = load_backend("mlx")

import mlx.nn as nn  # noqa: E402  # isort: skip
from mlx.utils import tree_flatten  # noqa: E402  # isort: skip
from finetune.backends.mlx import adapters, compiled, wired  # noqa: E402
from finetune.backends.mlx.compiled import CompiledSteps, rounded_up  # noqa: E402
from finetune.backends.mlx.decoding import Decoder, Sampling  # noqa: E402
from finetune.backends.mlx.optimizers import optimizer  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402
from finetune.backends.mlx.steps import PlainSteps  # noqa: E402

CONFIG = TrainingConfig(iters=20, batch_size=2, learning_rate=1e-3, lora_rank=4, warmup=2)
LENGTHS = (5, 60, 33, 12, 90, 7, 41)


def example(length: int) -> Example:
    """The second half is learned, but for its last token."""
    tokens = [3 + (17 * at * at + length) % 400 for at in range(length)]
    return Example(tokens, [length // 2 <= at < length - 1 for at in range(length)])


def new(config: TrainingConfig = CONFIG, lengths: tuple[int, ...] = LENGTHS) -> Any:
    """A trainer of a Llama of two small layers and 512 tokens."""
    source = RowSource(METHODS["sft"], as_rows(map(example, lengths)), config)
    model: Any = SimpleNamespace(network=network_of(SHAPES["tiny"]), encoder=SimpleNamespace(new_tokens=None))
    return mlx.Trainer(model, METHODS["sft"], source, config, config.iters, "base")


def losses(trainer: Any, stop: Callable[[], bool] = lambda: False) -> list[float]:
    return [step.loss for step in trainer.run(stop)]


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with gpu_way(monkeypatch):
        yield


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_same_losses_and_weights(monkeypatch: pytest.MonkeyPatch, accumulation: int) -> None:
    config = replace(CONFIG, grad_accumulation=accumulation)
    plain = new(config)
    wanted = losses(plain)
    with gpu_way(monkeypatch):
        ours = new(config)
        assert not ours.notes and isinstance(ours._steps, CompiledSteps)
        found = losses(ours)
    assert len(found) == 20
    assert found == pytest.approx(wanted, rel=1e-6)
    for name, array in adapters.trainable(plain.network).items():
        assert mx.abs(array).max().item() > 0, name  # it has learned
        apart = mx.abs(array - adapters.trainable(ours.network)[name]).max().item()
        assert apart <= 1e-3 * max(1e-3, mx.abs(array).max().item()), name


def test_each_shape_is_compiled_once(compiling: None) -> None:
    trainer, traced = new(replace(CONFIG, iters=30), tuple(range(5, 120, 4))), []
    steps, given = trainer._steps, trainer._plain.logprobs

    def counted(network: Any, parts: Any) -> Any:
        traced.append(parts[0].inputs.shape)
        return given(network, parts)

    trainer._steps = CompiledSteps(trainer.network, trainer.config, steps.optimizer, counted)
    losses(trainer)
    assert len(traced) == len(trainer._steps.shapes) <= 12  # of 29 lengths


def test_shapes_are_few_and_padding_is_little() -> None:
    for least, each, most in ((32, 4, 0.2), (64, 2, 1 / 3)):
        sizes = {rounded_up(count, least, each) for count in range(1, 4097)}
        assert len(sizes) <= 28
        for count in range(4 * least, 4097):
            size = rounded_up(count, least, each)
            assert count <= size and (size - count) / size <= most
            assert rounded_up(size, least, each) == size  # a shape is its own


def test_no_row_is_padded_beyond_the_positions_of_a_model(compiling: None) -> None:
    trainer = new(replace(CONFIG, max_seq_length=70), (68, 70))
    (inputs, *_), _ = trainer._steps.padded([example(68)])
    assert inputs.shape == (1, 70)


def test_a_step_that_is_not_finite_changes_nothing(compiling: None) -> None:
    trainer = new()
    losses(trainer, iter([False] * 3 + [True]).__next__)
    name, array = next(iter(adapters.trainable(trainer.network).items()))
    adapters.put(trainer.network, {**adapters.trainable(trainer.network), name: mx.full(array.shape, mx.nan)})
    before, state = {**adapters.trainable(trainer.network)}, dict(tree_flatten(trainer._optimizer.state))
    (last,) = trainer.run(lambda: False)
    assert not last.finite and trainer.position.step == last.step - 1
    for name, array in adapters.trainable(trainer.network).items():
        assert mx.array_equal(array, before[name], equal_nan=True), name
    for name, array in tree_flatten(trainer._optimizer.state):
        assert name == "learning_rate" or mx.array_equal(array, state[name]), name


@pytest.mark.parametrize("batches", [1, 4, 7])
def test_from_any_batch_to_the_same_bit(compiling: None, tmp_path: Path, batches: int) -> None:
    config = replace(CONFIG, iters=4, grad_accumulation=2, lora_dropout=0.1)
    whole, stopped, again = (new(config) for _ in range(3))
    losses(whole)
    calls = iter([False] * batches)
    losses(stopped, lambda: next(calls, True))
    again.restore(tmp_path, stopped.save(tmp_path))
    losses(again)
    digests = [adapters.digest(adapters.trainable(each.network)) for each in (whole, again)]
    assert stopped.position.step < 4 and digests[0] == digests[1]


def test_recomputed_activations(compiling: None) -> None:
    plain, recomputed = new(), new(replace(CONFIG, grad_checkpoint=True))
    assert isinstance(recomputed._steps, CompiledSteps) and not recomputed.notes
    assert losses(recomputed) == pytest.approx(losses(plain), rel=1e-5)
    (note,) = new(replace(CONFIG, grad_checkpoint=True, lora_dropout=0.1)).notes
    assert "--lora-dropout 0" in note
    assert not new(replace(CONFIG, grad_checkpoint=True, lora_dropout=0.0)).notes  # what the note says


def test_dropout_is_new_in_each_step(compiling: None) -> None:
    config = replace(CONFIG, iters=6, batch_size=7, lora_dropout=0.3, learning_rate=1e-12)
    plain = new(config)
    adapters.put(plain.network, {n: mx.full(a.shape, 0.1) for n, a in adapters.trainable(plain.network).items()})
    assert len(set(losses(plain))) == 6  # the same rows and weights, but other numbers are dropped


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name: str, compiling: None) -> None:
    config = TrainingConfig(optimizer=name, learning_rate=1e-2, max_grad_norm=0.5)
    found = []
    for kind in (PlainSteps, CompiledSteps):
        mx.random.seed(0)
        network = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3, bias=False))
        made = optimizer(config)
        made.init(network.trainable_parameters())
        steps = (
            PlainSteps(network, METHODS["sft"], config, made, lambda *_: None, shares_prompts=False)
            if kind is PlainSteps
            else CompiledSteps(network, config, made, lambda *_: None)
        )
        for number in range(4):
            some = mx.random.key(number)
            gradients = {n: mx.random.normal(a.shape, key=some) for n, a in tree_flatten(network.parameters())}
            assert steps.apply(gradients, 3.0, [mx.array(1.0)], 1e-2 / (number + 1))()
        found.append(dict(tree_flatten([network.parameters(), made.state])))
    for key, array in found[0].items():
        assert mx.allclose(array, found[1][key], rtol=1e-5, atol=1e-7), key


def test_a_step_that_computes_something_else_is_not_compiled(compiling: None, monkeypatch: pytest.MonkeyPatch) -> None:
    right = compiled._gradients

    def wrong(*arguments: Any) -> Any:
        run = right(*arguments)

        def changed(*arrays: Any) -> Any:
            loss, found, gradients = run(*arrays)
            return loss, found, {name: array * 1.1 for name, array in gradients.items()}

        return changed

    monkeypatch.setattr(compiled, "_gradients", wrong)
    trainer = new()
    assert trainer._steps is trainer._plain
    (note,) = trainer.notes
    assert note.startswith("the step is not compiled, because with this model gradients differ by 10.0%")
    monkeypatch.setattr(compiled, "_gradients", right)
    monkeypatch.setattr(compiled, "has_long_rope", lambda network: True)
    assert "RoPE" in new().notes[0]


@pytest.mark.parametrize("sampling", [None, Sampling(1.0, "seed")])
@pytest.mark.parametrize("most", [1, 2, 30])
def test_answers_that_are_read_late_are_the_same(
    monkeypatch: pytest.MonkeyPatch, sampling: Sampling | None, most: int
) -> None:
    from finetune.backends.mlx import decoding

    network = network_of(SHAPES["tiny"])
    prompts = [example(length).tokens for length in (9, 30, 30, 4, 17, 25, 12)]
    stop_tokens = frozenset(range(0, 512, 9))  # some stop at once, others late
    monkeypatch.setattr(decoding, "_MOST_ROWS", 4)  # others take the places of those that are finished
    answers = {}
    for ahead in (False, True):
        monkeypatch.setattr(decoding, "GPU_STEP", ahead)
        found = list(Decoder(network, stop_tokens, most, sampling).run(prompts))
        answers[ahead] = {one.index: (one.tokens, one.stop, [round(each, 3) for each in one.logprobs]) for one in found}
        assert len(found) == len(prompts)
    assert answers[True] == answers[False]
    assert most < 30 or sampling is None or len({len(tokens) for tokens, _, _ in answers[True].values()}) > 3


def test_memory_is_wired_as_far_as_macos_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [7]
    monkeypatch.setattr(wired, "ON_CPU", False)
    monkeypatch.setattr(mx, "device_info", lambda: {"max_recommended_working_set_size": 10_000})
    monkeypatch.setattr(mx, "get_active_memory", lambda: 2000)
    monkeypatch.setattr(mx, "set_wired_limit", lambda limit: limits.append(limit) or limits[-2])
    with wired.wired(3000) as keep:
        assert limits[-1] == 5000
        keep(20_000)
        assert limits[-1] == 10_000
    assert limits[-1] == 7
    monkeypatch.setattr(mx, "device_info", lambda: {"total_memory": 10_000})  # CUDA
    with wired.wired() as keep:
        keep(1)
    assert limits[-1] == 7


@pytest.mark.parametrize("half", [False, True])
def test_long_rows_in_blocks(monkeypatch: pytest.MonkeyPatch, half: bool) -> None:
    """The same losses and gradients as in one piece, and a path that computes something else is left off."""
    from mlx_lm.models import llama

    from finetune.backends.mlx import cpu_attention, cpu_math, fast_paths, long_attention

    cpu_math.remove()
    monkeypatch.setattr(cpu_math, "install", lambda: None)
    monkeypatch.setattr(fast_paths, "ON_CPU", False)
    plain = llama.scaled_dot_product_attention
    try:
        trainer = new()
        assert trainer.notes == [] and llama.scaled_dot_product_attention is not plain
        if half:
            trainer.network.set_dtype(mx.bfloat16)
        monkeypatch.setattr(long_attention, "_ONE_PIECE", 40)
        monkeypatch.setattr(cpu_attention, "_ONE_PIECE", 30)
        monkeypatch.setattr(cpu_attention, "_BLOCK", 16)
        (blocks, _), _ = trainer._plain.sums([example(90), example(33)]), long_attention.remove()
        assert llama.scaled_dot_product_attention is plain
        whole, _ = trainer._plain.sums([example(90), example(33)])
        for name, array in whole.items():
            apart = mx.linalg.norm((blocks[name] - array).astype(mx.float32)).item()
            size = mx.linalg.norm(array.astype(mx.float32)).item()
            assert apart <= (3e-2 if half else 1e-5) * size + 1e-6, name
        wrong = cpu_attention.attention
        monkeypatch.setattr(cpu_attention, "attention", lambda *given: 1.1 * wrong(*given))
        (note,) = new().notes
        assert note.startswith("blocks of attention for long rows are not used, because with this model")
    finally:
        long_attention.remove()


def test_float16_is_for_answers_and_for_models_that_it_has_room_for() -> None:
    network = network_of(SHAPES["tiny"])
    prompts = [example(length).tokens for length in (9, 30, 12)]
    wanted = {one.index: one.tokens for one in Decoder(network, frozenset(), 8).run(prompts)}
    network.set_dtype(mx.float16)
    found = {one.index: one.tokens for one in Decoder(network, frozenset(), 8).run(prompts)}
    assert sum(found[index] == tokens for index, tokens in wanted.items()) >= 2
    config = replace(CONFIG, iters=1)
    model: Any = SimpleNamespace(network=network, encoder=SimpleNamespace(new_tokens=None))
    with pytest.raises(UserError, match=r"^FINETUNE_PRECISION=float16: for answers alone.* \(unset it to train\)$"):
        mlx.Trainer(model, METHODS["sft"], RowSource(METHODS["sft"], as_rows([example(9)]), config), config, 1, "base")
    network.layers[0].mlp.down_proj.weight *= 1e4
    network.layers[0].mlp.gate_proj.weight *= 1e4
    with pytest.raises(UserError, match=r"^FINETUNE_PRECISION=float16: numbers of this model are too large"):
        list(Decoder(network, frozenset(), 8).run(prompts))
    network.set_dtype(mx.bfloat16)  # what the remedy says
    assert len(list(Decoder(network, frozenset(), 8).run(prompts))) == 3


def test_an_error_of_the_device_leaves_the_state_before_the_step(compiling: None, tmp_path: Path) -> None:
    """As when macOS stops a kernel: what was computed ahead is gone, and what is saved goes on to the same bits."""
    config = replace(CONFIG, iters=4, grad_accumulation=2)
    whole, stopped, again = (new(config) for _ in range(3))
    losses(whole)
    right = stopped._steps.apply

    def fails(*given: Any) -> Any:
        right(*given)
        if stopped.position.step < 2:
            return lambda: True

        def finite() -> bool:
            raise RuntimeError("[METAL] Command buffer execution failed: Impacting Interactivity")

        return finite

    stopped._steps.apply = fails
    with pytest.raises(RuntimeError, match="Impacting"):
        losses(stopped)
    assert stopped.is_sound and (stopped.position.step, stopped.position.batch) == (2, 0)
    again.restore(tmp_path, stopped.save(tmp_path))
    losses(again)
    digests = [adapters.digest(adapters.trainable(each.network)) for each in (whole, again)]
    assert digests[0] == digests[1]
