"""Trained embeddings learn what a plain matrix would, in models of many shapes, and are switched with the adapter."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.backends import load_backend
from finetune.errors import UserError
from finetune.settings.config import TrainingConfig

mlx = load_backend("mlx")

import mlx.nn as nn  # noqa: E402  # isort: skip
from mlx.utils import tree_flatten  # noqa: E402  # isort: skip
from finetune.backends.mlx import adapters, logprobs  # noqa: E402
from finetune.backends.mlx.fast_paths import FastPaths  # noqa: E402
from finetune.backends.mlx.model import MlxModel, load_network  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402
from finetune.methods import METHODS, RowSource  # noqa: E402
from finetune.models.examples import as_rows  # noqa: E402
from finetune.models.loss_mask import Example  # noqa: E402
from finetune.models.new_tokens import NewTokens  # noqa: E402

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 1, "vocab_size": 60, "head_dim": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "tie_word_embeddings": True},
    "untied": {"model_type": "llama", "tie_word_embeddings": False},
    "gemma2": {"model_type": "gemma2", "query_pre_attn_scalar": 16.0, "final_logit_softcapping": 5.0},  # a soft cap
    "gemma3_text": {"model_type": "gemma3_text", "sliding_window_pattern": 2, "sliding_window": 4},
    "cohere": {"model_type": "cohere", "logit_scale": 0.1, "use_qk_norm": True},  # a scale
}
PLACES = {"spare": range(50, 54), "grown": range(60, 63), "after a gap": range(62, 65), "the last": range(57, 60)}


def network_of(kind: str) -> Any:
    import importlib

    config = {**SIZES, **KINDS[kind]}
    module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    mx.random.seed(1)
    network = module.Model(module.ModelArgs.from_dict(config))
    getattr(network, "sanitize", dict)({})  # Gemma 3 is tied if its weights have no head
    network.freeze()
    return network


def rows_of(ids: range) -> list[Example]:
    first, second = ids[0], ids[-1]
    return [
        Example([3, first, 4, 17, second, 8, 2], [False, False, True, True, True, False, True]),
        Example([5, 6, first, 40, 59], [False, True, True, True, True]),
    ]


def started(kind: str, ids: range, *, whole: bool) -> tuple[Any, Any]:
    """A network with adapters and trained embeddings, and their settings."""
    network = network_of(kind)
    new = NewTokens(tuple("abcdefg"[: len(ids)]), ids.start, tuple((at, at + 1) for at in range(len(ids))))
    config = TrainingConfig(lora_rank=2, train_embeddings=whole)
    settings, _ = adapters.settings_and_notes(network, config, new)
    adapters.begin(network, settings, new)
    return network, settings


def gradients(network: Any, function: Any) -> tuple[Any, dict[str, Any]]:
    def loss(network: Any) -> Any:
        found = function(network)
        return (found * mx.arange(1, found.size + 1)).sum()

    value, found = nn.value_and_grad(network, loss)(network)
    return value, dict(tree_flatten(found))


def plainly(rows: list[Example]) -> Any:
    """Each row alone, through the network's own logits."""

    def function(network: Any) -> Any:
        found = []
        for row in rows:
            logits = network(mx.array([row.tokens[:-1]]))[0].astype(mx.float32)
            likely = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
            found += [likely[at - 1, row.tokens[at]] for at in range(1, len(row.tokens)) if row.loss_mask[at]]
        return mx.stack(found)

    return function


@pytest.mark.parametrize(
    ("kind", "place"),
    [(kind, place) for kind in KINDS for place in (PLACES if kind == "llama" else ("spare", "after a gap"))],
)
def test_rows_learn_what_the_whole_matrix_would(kind: str, place: str) -> None:
    ids, rows = PLACES[place], rows_of(PLACES[place])
    some, settings = started(kind, ids, whole=False)
    every, _ = started(kind, ids, whole=True)
    wanted, plain = gradients(every, plainly(rows))
    names = settings["embeddings"]["modules"]
    assert len(names) == (2 if kind == "untied" else 1)
    for network in (some, every):
        paths = FastPaths(network, 1.0, checkpoints=True, shares_prompts=False)
        assert paths.notes == []
        found, own = gradients(network, lambda network, paths=paths: paths.logprobs(network, logprobs.collate(rows)))
        assert found.item() == pytest.approx(wanted.item(), rel=1e-4)
        for name in names:
            wanted_rows = plain[f"{name}.weight"]
            if network is some:
                wanted_rows = wanted_rows[ids.start : ids.stop]
            got = own[f"{name}.{'rows' if network is some else 'weight'}"]
            assert got.shape == wanted_rows.shape
            assert mx.abs(got - wanted_rows).max().item() <= 1e-3 * mx.abs(wanted_rows).max().item()


def test_a_head_that_learns_something_else_is_left_off(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = logprobs._walk
    monkeypatch.setattr(logprobs, "_walk", lambda *given: (plain(*given)[0], plain(*given)[1] * 1.1))
    ids = PLACES["grown"]
    network, _ = started("llama", ids, whole=False)
    paths = FastPaths(network, 1.0, checkpoints=False, shares_prompts=False)
    assert len(paths.notes) == 1 and paths.full_logits
    assert paths.notes[0].startswith(
        "the logits of the learned tokens alone are not used, because with this model gradients"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_old_tokens_have_the_same_logits_and_a_new_one_begins_as_its_pieces(kind: str) -> None:
    before = network_of(kind)
    probe = mx.array([[1, 2, 3]])
    network, settings = started(kind, range(60, 63), whole=False)
    assert mx.abs(network(probe)[..., :60] - before(probe)).max().item() < 1e-5
    for name in settings["embeddings"]["modules"]:
        module, old = dict(network.named_modules())[name], dict(before.named_modules())[name].weight
        assert mx.allclose(module.rows[1], (old[1] + old[2]) / 2)


def write_model(folder: Path, kind: str) -> None:
    (folder / "config.json").write_text(json.dumps({**SIZES, **KINDS[kind]}))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(network_of(kind).parameters())))


class Encoder:
    """As far as a trainer asks."""

    def __init__(self, new: NewTokens | None):
        self.new_tokens, self.base = new, self if new is None else Encoder(None)


def trainer_of(folder: Path, config: TrainingConfig, rows: list[Example], new: NewTokens | None, steps: int = 4) -> Any:
    method = METHODS["sft"]
    model: Any = MlxModel(load_network(folder), Encoder(new))  # type: ignore[arg-type]
    return mlx.Trainer(model, method, RowSource(method, as_rows(rows), config), config, steps, "base")


@pytest.mark.parametrize("fine_tune_type", ["lora", "full"])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", ["llama", "untied"])
def test_saved_loaded_and_switched(kind: str, whole: bool, fine_tune_type: str, tmp_path: Path) -> None:
    write_model(tmp_path, kind)
    ids, probe = range(60, 63), mx.array([[1, 60, 62, 3]])
    new = NewTokens(("a", "b", "c"), 60, ((1, 2), (3,), ()))
    config = TrainingConfig(
        lora_rank=2, train_embeddings=whole, batch_size=2, learning_rate=1e-2, warmup=0, fine_tune_type=fine_tune_type
    )
    trainer = trainer_of(tmp_path, config, rows_of(ids), new)
    trainer.train(lambda: False, lambda step: True)
    run = tmp_path / "run"
    run.mkdir()
    trainer.save_adapters(run / "adapters.safetensors")
    (run / "adapter_config.json").write_text(json.dumps(trainer.adapter_config))
    network = load_network(tmp_path)
    switch = adapters.load(network, run, "base")
    base = load_network(tmp_path)
    old = mx.array([[1, 2, 3]])
    for _ in range(2):  # to and fro
        assert mx.abs(network(probe) - trainer.network(probe)).max().item() < 1e-4
        switch("disabled")
        assert mx.array_equal(network(old), base(old)).item()
        switch("fused")
        assert mx.abs(network(probe) - trainer.network(probe)).max().item() < 1e-4
        switch("attached")
    assert not adapters.changes_nothing(network)
    assert all(layout is not None for layout in [logprobs.frozen_head(network)])  # answers are judged by the fast head


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    write_model(tmp_path, "llama")
    new = NewTokens(("a", "b"), 60, ((1, 2), (3,)))
    config = TrainingConfig(lora_rank=2, batch_size=1, learning_rate=1e-2, warmup=0)
    whole = trainer_of(tmp_path, config, rows_of(new.ids), new)
    whole.train(lambda: False, lambda step: True)
    first = trainer_of(tmp_path, config, rows_of(new.ids), new)
    first.train(lambda: False, lambda step: step.step < 2)
    state = tmp_path / "state"
    state.mkdir()
    position = first.save(state)
    second = trainer_of(tmp_path, config, rows_of(new.ids), new)
    second.restore(state, json.loads(json.dumps(position)))
    second.train(lambda: False, lambda step: True)
    assert adapters.digest(adapters.trainable(second.network)) == adapters.digest(adapters.trainable(whole.network))


def test_mlx_lm_refuses_what_it_would_not_load(tmp_path: Path) -> None:
    """It must never answer with the adapters alone."""
    from mlx_lm.tuner.utils import load_adapters

    write_model(tmp_path, "llama")
    new = NewTokens(("a",), 60, ((1, 2),))
    trainer = trainer_of(tmp_path, TrainingConfig(lora_rank=2), rows_of(new.ids), new)
    trainer.save_adapters(tmp_path / "adapters.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(trainer.adapter_config))
    with pytest.raises(ValueError, match=r"model\.embed_tokens\.rows: not an adapter parameter"):
        load_adapters(load_network(tmp_path), str(tmp_path))


def test_mlx_lm_loads_layers_and_embeddings_that_were_trained_whole(tmp_path: Path) -> None:
    from mlx_lm.tuner.utils import load_adapters

    write_model(tmp_path, "untied")
    config = TrainingConfig(fine_tune_type="full", train_embeddings=True, learning_rate=1e-2, warmup=0)
    trainer = trainer_of(tmp_path, config, rows_of(range(10, 12)), None)
    trainer.train(lambda: False, lambda step: True)
    trainer.save_adapters(tmp_path / "adapters.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(trainer.adapter_config))
    probe = mx.array([[1, 10, 11, 3]])
    loaded = load_adapters(load_network(tmp_path), str(tmp_path))
    assert mx.abs(loaded(probe) - trainer.network(probe)).max().item() < 1e-5


def quantised() -> Any:
    network = network_of("llama")
    nn.quantize(network, 32, 4)
    return network


def test_what_cannot_be_trained_is_refused_with_a_remedy() -> None:
    new = NewTokens(("a",), 60, ((1,),))
    for config, given in ((TrainingConfig(train_embeddings=True), None), (TrainingConfig(), new)):
        with pytest.raises(UserError, match="quantised embeddings cannot be trained"):
            adapters.settings_and_notes(quantised(), config, given)
        partly = network_of("llama")  # the remedy: a model whose embeddings are not quantised
        nn.quantize(
            partly, 32, 4, class_predicate=lambda name, module: "embed" not in name and hasattr(module, "scales")
        )
        assert "embeddings" in adapters.settings_and_notes(partly, config, given)[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"modules": ["model.layers"]},
        {"modules": []},
        {"modules": ["model.layers.0.self_attn.q_proj"]},
        {"modules": ["model.norm"]},
        {"modules": "model.embed_tokens"},
        {"vocabulary": 10},
        {"vocabulary": 1 << 40},
        {"first": -1},
        {"count": 0},
        {"count": 5},
        {"whole": 1},
        {"surprise": 1},
    ],
)
def test_settings_that_no_run_writes_are_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    write_model(tmp_path, "llama")
    new = NewTokens(("a", "b"), 60, ((1, 2), (3,)))
    trainer = trainer_of(tmp_path, TrainingConfig(lora_rank=2), rows_of(new.ids), new)
    trainer.save_adapters(tmp_path / "adapters.safetensors")
    settings = {**trainer.adapter_config, "embeddings": {**trainer.adapter_config["embeddings"], **changed}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="does not fit the model") as refused:
        adapters.load(load_network(tmp_path), tmp_path)
    assert refused.value.exit_code == 3
