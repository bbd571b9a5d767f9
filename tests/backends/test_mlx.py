"""The engine against plain full-logits references, on a small model with a real tokenizer."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny_grpo
from finetune.backends import load_backend
from finetune.backends.interface import OPTIMIZERS, Step
from finetune.errors import UserError
from finetune.methods import METHODS, RowSource
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import as_rows, encode_rows, examples_of
from finetune.settings.config import TrainingConfig

mlx = load_backend("mlx")

from finetune.backends.mlx import adapters, batches, decoding, runtime  # noqa: E402
from finetune.backends.mlx.logprobs import collate, frozen_head, logprob_function, plain_head  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402

CONFIG = TrainingConfig(iters=30, batch_size=2, learning_rate=1e-2, lora_rank=4, warmup=2)


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> ChatEncoder:
    return ChatEncoder(tiny_model)


@pytest.fixture(scope="module")
def examples(encoder: ChatEncoder) -> list:
    pairs = [("One?", "SELECT 1;"), ("And two, as a word?", "SELECT 'two' AS answer;"), ("3", "SELECT 3;")]
    return [encoder.example([{"role": "user", "content": q}, {"role": "assistant", "content": a}]) for q, a in pairs]


def trainer(folder: Path, encoder: ChatEncoder, examples: list, config: TrainingConfig = CONFIG):
    source = RowSource(METHODS["sft"], as_rows(examples), config)
    return mlx.Trainer(mlx.load(folder, encoder), METHODS["sft"], source, config, config.iters, "base")


def run(trainer, stop=lambda: False) -> list[Step]:
    return list(trainer.run(stop))


@pytest.mark.parametrize(
    ("method", "settings", "unit"),
    [
        ("sft", {}, "tokens"),
        ("dpo", {}, "rows"),
        ("orpo", {}, "rows"),
        ("grpo", {"grpo_loss": "dapo"}, "tokens"),
        ("grpo", {"grpo_loss": "grpo"}, "completions"),
        ("grpo", {"grpo_loss": "dr_grpo"}, "completions"),
    ],
)
def test_a_step_has_the_weight_of_its_loss(tiny_model: Path, method: str, settings: dict, unit: str) -> None:
    """By which losses of several steps are averaged: a mean by tokens would be none of the loss of pairs."""
    config = replace(tiny_grpo.CONFIG, method=method, iters=3, batch_size=2, grpo_kl=0.1, **settings)
    if method == "grpo":
        made = tiny_grpo.new_trainer(mlx, tiny_model, config, tiny_grpo.letters)
    else:
        rows = [{**row, "rejected": "n" * at} for at, row in enumerate(tiny_grpo.ROWS, 1)]
        encoder, numbered = ChatEncoder(tiny_model), list(enumerate(rows, 1))
        encoded, _ = encode_rows(encoder, numbered, Path("train.jsonl"), 64, METHODS[method].encode)
        for example in examples_of(encoded):
            example.terms["reference"] = -float(example.learned)
        source = RowSource(METHODS[method], encoded, config)
        made = mlx.Trainer(mlx.load(tiny_model, encoder), METHODS[method], source, config, config.iters, "base")
    for step in run(made):
        count = {"tokens": step.learned, "rows": len(step.rows), "completions": 4 * len(step.rows)}
        assert step.weight == count[unit] and len({*count.values()}) > 1


@pytest.mark.parametrize("kind", ["lora", "dora", "full"])
@pytest.mark.parametrize("shape", ["llama", "gemma"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_loss_and_gradients_equal_full_logits(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    encoder: ChatEncoder,
    examples: list,
    kind: str,
    shape: str,
    accumulation: int,
) -> None:
    import mlx.nn as nn
    from mlx.utils import tree_flatten

    # the same parts on every machine: of three rows at once BLAS rounds otherwise, which changes plain MLX by 1e-5 too
    monkeypatch.setattr(runtime, "cores", lambda: 2)
    folder = request.getfixturevalue("tiny_model" if shape == "llama" else "tiny_gemma")
    config = replace(CONFIG, fine_tune_type=kind, batch_size=2 if accumulation == 2 else 3)
    made = trainer(folder, encoder, examples, config)
    network = made.network
    for name, array in tree_flatten(network.trainable_parameters()):  # lora_b starts at 0: no gradient for lora_a
        if name.endswith("lora_b"):
            array[:] = 0.01 * mx.random.normal(array.shape)

    def reference(network):
        losses, learned = 0.0, 0
        for example in examples:  # each row by itself, without padding
            logits = network(mx.array([example.tokens[:-1]]))[0]
            mask = mx.array(example.loss_mask[1:])
            losses += (nn.losses.cross_entropy(logits, mx.array(example.tokens[1:])) * mask).sum()
            learned += sum(example.loss_mask)
        return losses / learned

    wanted, wanted_gradients = nn.value_and_grad(network, reference)(network)
    for batch in made.source.epoch(0):
        made._add([made.source.rows[row] for row in batch])
    at = made.position
    assert at.loss / at.weight == pytest.approx(wanted.item(), rel=1e-5)
    for name, want in tree_flatten(wanted_gradients):
        ours = made._sum[name] / at.weight
        assert mx.abs(ours - want).max().item() <= 1e-5 * max(1e-3, mx.abs(want).max().item()), name


def test_a_head_that_is_not_plain_gets_its_full_logits(tiny_model: Path, encoder: ChatEncoder, examples: list) -> None:
    network = mlx.load(tiny_model, encoder).network
    network.freeze()
    assert plain_head(network) is not None
    plain = network.model.embed_tokens.as_linear
    network.model.embed_tokens.as_linear = lambda x: 30 * mx.tanh(plain(x) / 30)  # soft-capped
    assert plain_head(network) is None
    batches = collate(examples)
    capped = logprob_function(network)(network, batches)
    logits = network(batches[0].inputs).reshape(-1, network.args.vocab_size)[batches[0].positions]
    chosen = mx.take_along_axis(
        logits - mx.logsumexp(logits, axis=-1, keepdims=True), batches[0].labels[:, None], axis=-1
    )
    assert mx.allclose(capped[: chosen.size], chosen.squeeze(-1), atol=1e-5)


def test_a_quantised_head_needs_no_full_logits_either(tiny_model: Path, encoder: ChatEncoder, examples: list) -> None:
    import mlx.nn as nn

    network = mlx.load(tiny_model, encoder).network
    nn.quantize(network, group_size=32, bits=4)
    network.freeze()
    network.model.norm.unfreeze()
    batches = collate(examples)

    def full(network: nn.Module) -> mx.array:
        total = mx.array(0.0)
        for part in batches:
            logits = network(part.inputs).reshape(-1, network.args.vocab_size)[part.positions]
            total += nn.losses.cross_entropy(logits, part.labels, reduction="sum")
        return total

    assert plain_head(network) is None and frozen_head(network) is not None
    logprobs = logprob_function(network)
    ours, ours_gradient = nn.value_and_grad(network, lambda network: -logprobs(network, batches).sum())(network)
    wanted, gradient = nn.value_and_grad(network, full)(network)
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert mx.allclose(
        ours_gradient["model"]["norm"]["weight"], gradient["model"]["norm"]["weight"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("changed", [{"grad_checkpoint": True}, {"lora_modules": "q_proj,v_proj"}, {"rslora": True}])
def test_variants_of_a_step(tiny_model: Path, encoder: ChatEncoder, examples: list, changed: dict) -> None:
    plain, other = (trainer(tiny_model, encoder, examples, replace(CONFIG, iters=3, **c)) for c in ({}, changed))
    losses = [[step.loss for step in run(made)] for made in (plain, other)]
    if "grad_checkpoint" in changed:
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    elif "lora_modules" in changed:
        assert other.trainable_parameters < plain.trainable_parameters
        assert other.adapter_config["lora_parameters"]["keys"] == ["self_attn.q_proj", "self_attn.v_proj"]
    else:
        assert other.adapter_config["lora_parameters"]["scale"] == pytest.approx(CONFIG.lora_scale * 2)  # rank 4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(tiny_model: Path, encoder: ChatEncoder, examples: list, name: str) -> None:
    rate = {"sgd": 0.5, "lion": 1e-3}.get(name, 1e-2)
    steps = run(trainer(tiny_model, encoder, examples, replace(CONFIG, optimizer=name, learning_rate=rate)))
    assert steps[-1].loss < steps[0].loss - 0.5


def test_answers_are_interrupted(tiny_model: Path, encoder: ChatEncoder) -> None:
    """After a few tokens, not at the end of the batch."""
    asked: list[int] = []
    conversations = [[{"role": "user", "content": "x" * count}] for count in range(1, 9)]
    model = mlx.load(tiny_model, encoder)
    stop = lambda: len(asked) > 3 or bool(asked.append(1))  # noqa: E731
    assert model.answers(conversations, max_tokens=500, stops=False, stop=stop) == [] and len(asked) == 4


def test_training_learns_saves_and_loads_again(
    tiny_model: Path, encoder: ChatEncoder, examples: list, tmp_path: Path
) -> None:
    made = trainer(tiny_model, encoder, examples)
    before = made.validation_loss(as_rows(examples))
    steps = run(made)
    assert [step.step for step in steps] == list(range(1, 31))
    assert made.validation_loss(as_rows(examples)) < before - 1

    made.save_adapters(tmp_path / "adapters.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(made.adapter_config))
    again = mlx.load(tiny_model, encoder, tmp_path, "base")
    probe = mx.array([examples[0].tokens])
    assert mx.array_equal(again.network(probe), made.network(probe))
    plain = mlx.load(tiny_model, encoder)
    assert not mx.array_equal(plain.network(probe), made.network(probe))
    # base and tuned on one set of weights
    base = again.without_adapter()
    assert mx.array_equal(base.network(probe), plain.network(probe)) and not again.changes_nothing
    assert mx.array_equal(again.network(probe), made.network(probe))
    learned = [sum(example.loss_mask) for example in examples]
    assert sum(again.losses(examples)) / sum(learned) == pytest.approx(
        made.validation_loss(as_rows(examples)), rel=1e-5
    )
    for example, loss in zip(examples, again.losses(examples), strict=True):
        assert loss / sum(example.loss_mask) == pytest.approx(made.validation_loss(as_rows([example])), rel=1e-5)


@pytest.mark.parametrize("kind", ["evil", ["dora"], None, 1])
def test_an_adapter_of_an_unknown_kind_is_refused(
    tiny_model: Path, encoder: ChatEncoder, tmp_path: Path, kind: object
) -> None:
    parameters = {"rank": 4, "scale": 1.0, "dropout": 0.0}
    record = {"fine_tune_type": kind, "num_layers": 1, "lora_parameters": parameters}
    (tmp_path / "adapter_config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"adapter_config\.json: does not fit the model: fine_tune_type is") as refused:
        mlx.load(tiny_model, encoder, tmp_path)
    assert refused.value.exit_code == 3


def test_a_file_whose_tensors_overlap_or_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    (tmp_path / "overlapping").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    os.mkfifo(tmp_path / "pipe")
    for name in ("overlapping", "pipe"):
        with pytest.raises(UserError, match=name) as refused:
            adapters.read(tmp_path / name)
        assert refused.value.exit_code == 3


def test_the_update_of_lora_has_its_own_gradients_right() -> None:
    from finetune.backends.mlx import lora_gradients

    keys = mx.random.split(mx.random.key(3), 3)
    x, a, b = (mx.random.normal(shape, key=key) for shape, key in zip([(2, 5, 12), (12, 4), (4, 7)], keys, strict=True))

    def of(f: object) -> list:
        return mx.grad(lambda x, a, b: (f(x, a, b) ** 3).sum(), argnums=(0, 1, 2))(x, a, b)

    for ours, plain in zip(of(lora_gradients.update(2.5)), of(lambda x, a, b: 2.5 * ((x @ a) @ b)), strict=True):
        assert (mx.abs(ours - plain).max() <= 1e-5 * mx.abs(plain).max()).item()


def test_validation_changes_nothing(tiny_model: Path, encoder: ChatEncoder, examples: list) -> None:
    config = replace(CONFIG, iters=6, lora_dropout=0.1)
    made, watched = (trainer(tiny_model, encoder, examples, config) for _ in range(2))
    first = [step.loss for step in run(made)]
    second = []
    for step in watched.run(lambda: False):
        second.append(step.loss)
        watched.validation_loss(as_rows(examples))
    assert first == second


def test_a_loss_that_is_not_finite_stops_before_the_weights(
    tiny_model: Path, encoder: ChatEncoder, examples: list
) -> None:
    made = trainer(tiny_model, encoder, examples)
    made.network.model.norm.weight = made.network.model.norm.weight * float("inf")
    steps = run(made)
    assert len(steps) == 1 and not steps[0].finite
    assert all(mx.isfinite(array).all() for array in adapters.trainable(made.network).values())


@pytest.mark.parametrize("shape", ["tiny_model", "tiny_gemma"])
def test_batched_answers_equal_single_ones(request: pytest.FixtureRequest, encoder: ChatEncoder, shape: str) -> None:
    model = mlx.load(request.getfixturevalue(shape), encoder)
    conversations = [[{"role": "user", "content": text}] for text in ("a", "what is the answer to this?", "b c d")]
    together = model.answers(conversations, max_tokens=12)
    for conversation, answer in zip(conversations, together, strict=True):
        tokens = list(model.stream(encoder.prompt(conversation), 12))
        assert answer.text == encoder.decode(tokens) and answer.tokens == len(tokens)


@pytest.mark.parametrize("shape", ["tiny_model", "tiny_gemma"])
def test_rows_that_stop_leave_their_places_to_others(
    request: pytest.FixtureRequest, encoder: ChatEncoder, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_MOST_ROWS", 8)
    monkeypatch.setattr(decoding, "_STREAM_ROWS", 3)  # two batches, until few rows are left
    model = mlx.load(request.getfixturevalue(shape), encoder)
    prompts = [encoder.prompt([{"role": "user", "content": "word " * (i % 6) + f"{i}"}]) for i in range(20)]
    alone = [list(model.stream(prompt, 12, stops=False)) for prompt in prompts]
    stop = frozenset(tokens[i + 2] for i, tokens in enumerate(alone[:4]))  # tokens that do come, at different places
    decoder = decoding.Decoder(model.network, stop, 12)
    found = {finished.index: finished for finished in decoder.run(prompts)}
    assert decoder._way.shared >= 8 and sorted(found) == list(range(20))
    for index, tokens in enumerate(alone):
        end = next((i for i, token in enumerate(tokens) if token in stop), len(tokens))
        assert (found[index].tokens, found[index].stopped) == (tokens[:end], end < len(tokens))


def test_drawing_stops_between_two_tokens(tiny_model: Path, encoder: ChatEncoder) -> None:
    model = mlx.load(tiny_model, encoder)
    asked: list[int] = []
    stop = lambda: asked.append(0) or len(asked) > 3  # noqa: E731
    assert model.sample([[1, 2, 3]], max_tokens=100, temperature=1.0, seed="s", stop=stop) is None
    assert len(asked) == 4


def test_many_prompts_are_not_all_read_where_somebody_stops(
    tiny_model: Path, encoder: ChatEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_READ_TOKENS", 1)
    model = mlx.load(tiny_model, encoder)
    conversations = [[{"role": "user", "content": f"{number}"}] for number in range(8)]
    asked: list[int] = []
    stop = lambda: asked.append(0) or len(asked) > 2  # noqa: E731
    assert model.answers(conversations, max_tokens=1, stop=stop) == []  # their only tokens come of reading


def test_fewer_open_files_than_mlx_lm_asks_for_are_enough(run_python: Any) -> None:
    code = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (512, 1024))\n"
    code += "def refuse(*_): raise ValueError('not allowed to raise maximum limit')\nresource.setrlimit = refuse\n"
    code += "from finetune.backends.mlx.runtime import mx\nimport mlx_lm.utils\nassert resource.setrlimit is refuse"
    run_python("-c", code)
