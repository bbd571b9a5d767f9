"""Every fast path gives, on models of many shapes, what the model's own logits give; and one that does not is noticed."""

import importlib
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from finetune.backends import load_backend
from finetune.errors import UserError
from finetune.settings.config import TrainingConfig

mlx = load_backend("mlx")

import mlx.nn as nn  # noqa: E402  # isort: skip
from mlx.utils import tree_flatten, tree_map  # noqa: E402  # isort: skip
from mlx_lm.models import gemma3_text, gpt_oss, llama as llama_model  # noqa: E402  # isort: skip
from finetune.backends.mlx import (  # noqa: E402
    adapters,
    cpu_math,
    gradient_checkpointing,
    logprobs,
    lora_gradients,
    memory_estimate,
    model,
    runtime,
    shared_prompts,
)
from finetune.backends.mlx.fast_paths import FastPaths  # noqa: E402
from finetune.backends.mlx.layout import layout_of, text_network  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402
from finetune.methods import METHODS, RowSource  # noqa: E402
from finetune.models.encoder import ChatEncoder  # noqa: E402
from finetune.models.examples import as_rows  # noqa: E402
from finetune.models.loss_mask import Example  # noqa: E402

_SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 2}
_SIZES |= {
    "num_key_value_heads": 1,
    "vocab_size": 60,
    "rope_theta": 10000.0,
    "head_dim": 16,
    "max_position_embeddings": 64,
}
_SIZES |= {"rms_norm_eps": 1e-5, "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.5}
_LAYERS = ["sliding_attention", "full_attention"]
_ROPES = {kind: {"rope_type": "default", "rope_theta": 10000.0} for kind in _LAYERS}
_GEMMA4 = {"num_hidden_layers": 4, "layer_types": _LAYERS * 2, "num_kv_shared_layers": 2, "sliding_window": 4}
_GEMMA4 |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 60, "rope_parameters": _ROPES}
_GEMMA4 |= {"global_head_dim": 16}
_KDA = {"kda_layers": [1, 3], "full_attn_layers": [2, 4], "num_heads": 2, "head_dim": 16, "short_conv_kernel_size": 4}
_RANKS = {f"{name}_low_rank_dim": 4 for name in ("a", "v", "gate", "decay")}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma2": {"query_pre_attn_scalar": 16.0, "final_logit_softcapping": 5.0},  # a soft cap
    "cohere": {"logit_scale": 0.1, "use_qk_norm": True},  # a scale
    "phi": {},  # a bias
    "gpt_neox": {"rotary_emb_base": 10000, "rotary_pct": 0.5},  # the head is in the trunk
    "stablelm": {"use_qkv_bias": False},  # the trunk wants a cache
    "rwkv7": {"norm_eps": 1e-5, **_RANKS},  # layers are given the first one's values
    "gemma4_text": {**_GEMMA4, "final_logit_softcapping": 5.0},  # layers share keys and values
    "gemma3": {
        "text_config": {**_SIZES, "model_type": "gemma3_text", "sliding_window_pattern": 2, "sliding_window": 4}
    },
    "gemma3n": {  # a cap and no trunk; reads weights of modules
        "text_config": {
            **_SIZES,
            **_GEMMA4,
            "model_type": "gemma3n_text",
            "rope_local_base_freq": 1e4,
            "final_logit_softcapping": 5.0,
            "activation_sparsity_pattern": [0.9, 0, 0, 0],
            "altup_num_inputs": 2,
            "altup_coef_clip": 120.0,
            "altup_correct_scale": True,
            "altup_active_idx": 0,
            "laurel_rank": 8,
        }
    },
    "nanochat": {},  # lm_head beside network.transformer, and a cap that no setting names
    "talkie": {},  # the head is no module
    "kimi_k3": {  # layers collect their results in an object
        "text_config": {
            **_SIZES,
            "model_type": "kimi_k3_text",
            "num_hidden_layers": 4,
            "linear_attn_config": _KDA,
            "attn_res_block_size": 2,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 8,
            "v_head_dim": 16,
            "num_experts": 2,
            "num_experts_per_token": 1,
            "num_shared_experts": 1,
            "moe_intermediate_size": 16,
            "routed_scaling_factor": 1.0,
            "first_k_dense_replace": 1,
            "moe_layer_freq": 1,
            "num_expert_group": 1,
            "topk_group": 1,
        }
    },
}
# the head's own type, what follows it, the language model inside
FOUND: dict[str, tuple[bool, float | None]] = dict.fromkeys(CONFIGS, (True, None))
FOUND |= {"gemma2": (True, 5.0), "gemma4_text": (True, 5.0), "gemma3n": (True, 5.0), "nanochat": (True, 15.0)}
FOUND |= {"talkie": (False, None)}
ROWS = [
    Example([3, 9, 4, 17, 30, 8, 2], [False, False, True, True, False, True, True]),
    Example([5, 6, 7], [False, True, True]),
]


def config_of(kind: str) -> dict[str, Any]:
    """What such a model's config.json says: of the sizes, those that the type reads."""
    text = CONFIGS[kind].get("text_config")
    if text:
        return {"model_type": kind, "text_config": _read_by(kind, text)}
    return {**_read_by(kind, {**_SIZES, **CONFIGS[kind]}), "model_type": kind}


def _read_by(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    modules = [module_of(kind), *([gemma3_text] if kind == "gemma3" else [])]
    kinds = [found for module in modules for found in vars(module).values() if is_dataclass(found)]
    read = {field.name for found in kinds for field in fields(found)}
    return {name: value for name, value in config.items() if name in read}


def module_of(kind: str) -> Any:
    return importlib.import_module(f"mlx_lm.models.{kind}")


def made(kind: str) -> Any:
    """A random network with adapters that do something."""
    cpu_math.install()
    module = module_of(kind)
    mx.random.seed(3)
    network = module.Model(module.ModelArgs.from_dict(json.loads(json.dumps(config_of(kind)))))
    network.update(tree_map(_noisy, network.parameters()))
    network.freeze()
    config = TrainingConfig(lora_rank=2, lora_dropout=0.2)
    adapters.attach(network, adapters.settings(network, config))
    for name, array in adapters.trainable(network).items():
        if name.endswith("lora_b"):
            array[:] = 0.05 * mx.random.normal(array.shape)
    return network


def _noisy(array: Any) -> Any:
    """Where a model begins with zeros, some have no gradient."""
    return array + 0.05 * mx.random.normal(array.shape) if mx.issubdtype(array.dtype, mx.floating) else array


def flat(tree: Any) -> list[tuple[str, Any]]:
    return list(dict(tree_flatten(tree)).items())


def reference(network: Any) -> Any:
    """Each row alone, through the network's own logits."""
    found = []
    for row in ROWS:
        logits = network(mx.array([row.tokens[:-1]]))[0].astype(mx.float32)
        likely = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        found += [likely[at - 1, row.tokens[at]] for at in range(1, len(row.tokens)) if row.loss_mask[at]]
    return mx.stack(found)


def gradients(network: Any, logprobs: Callable[[Any], Any]) -> tuple[Any, dict[str, Any]]:
    def loss(network: Any) -> Any:
        found = logprobs(network)
        return (found * mx.arange(1, found.size + 1)).sum()

    mx.random.seed(7)  # of dropout
    value, found = nn.value_and_grad(network, loss)(network)
    return value, dict(flat(found))


def one(network: Any, paths: FastPaths, row: Example) -> Any:
    return paths.logprobs(network, logprobs.collate([row]))


@pytest.mark.parametrize("kind", CONFIGS)
def test_models_of_every_shape(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout, recomputed, through the head alone: the gradients are those of the plain model."""
    monkeypatch.setattr(runtime, "cores", lambda: 1)  # so small products are slower on two
    runtime.streams(1)
    network = made(kind)
    layout = layout_of(network)
    known, cap = FOUND[kind]
    assert (layout.matrix is not None) == known and (layout.trunk is not None) == known
    assert layout.cap == (pytest.approx(cap, rel=1e-5) if cap else None)
    assert (
        (layout.head is None)
        == bool(layout.why)
        == (kind in ("gemma2", "gemma4_text", "gemma3n", "nanochat", "phi", "talkie"))
    )
    assert layout_of(network) is layout
    assert (text_network(network) is not network) == (kind in ("gemma3", "gemma3n", "kimi_k3", "gpt_neox"))
    if kind == "gemma3n":  # its last layers read keys and values from a cache, which training has not
        with pytest.raises(UserError, match="cannot be trained: mlx_lm gives them other logits without a cache"):
            FastPaths(network, 1.0, checkpoints=True, shares_prompts=False)
        return
    plain = made(kind)
    paths = FastPaths(network, 1.0, checkpoints=True, shares_prompts=False)
    assert [note.split(",")[0] for note in paths.notes] == ([] if known else ["the logits of all tokens are computed"])
    assert all(hasattr(layer, "recomputes") for layer in network.layers)
    network.train()
    plain.train()
    wanted, without = gradients(plain, reference)
    found, fast = gradients(network, lambda network: mx.concatenate([one(network, paths, row) for row in ROWS]))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4)
    largest = max(mx.abs(array).max().item() for array in without.values())
    for name, array in without.items():
        assert mx.abs(array - fast[name]).max().item() <= 2e-3 * largest, name


def test_a_soft_cap_is_seen_where_logits_are_small() -> None:
    network = made("nanochat")
    network.lm_head.weight = network.lm_head.weight * 1e-3
    assert layout_of(network).cap == pytest.approx(15.0)


def _wrong_head(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = logprobs._walk
    monkeypatch.setattr(logprobs, "_walk", lambda *given: (plain(*given)[0], plain(*given)[1] * 1.1))


def _wrong_function(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_math.install()
    key = (llama_model, "swiglu")
    original, ours = cpu_math._REPLACED[key]
    monkeypatch.setitem(cpu_math._REPLACED, key, (original, lambda gate, up: 1.05 * ours(gate, up)))


def _wrong_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.backends.mlx import cpu_attention

    plain = cpu_attention._in_blocks_causal
    monkeypatch.setattr(cpu_attention, "_in_blocks_causal", lambda *given: [array * 1.05 for array in plain(*given)])


def _wrong_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_gradients, "update", lambda scale: lambda x, a, b: scale * (mx.stop_gradient(x) @ a @ b))


def _forgotten_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recomputed with what a layer is given besides x left out of its inputs."""

    def recomputed(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(layer: Any, x: Any, *rest: Any, **named: Any) -> Any:
            def run(parameters: Any, x: Any) -> Any:
                layer.update(parameters)
                return plain(layer, x, *rest, **named)

            return mx.checkpoint(run)(layer.trainable_parameters(), x)

        return call

    monkeypatch.setattr(gradient_checkpointing, "_recomputed", recomputed)


BROKEN = {
    "head": (_wrong_head, "llama", "the logits of the learned tokens alone are not used"),
    "function": (_wrong_function, "llama", "FineTune's functions for the CPU are not used"),
    "blocks": (_wrong_blocks, "llama", "FineTune's functions for the CPU are not used"),
    "update": (_wrong_update, "llama", "early gradients of LoRA are not used"),
    "checkpoint": (_forgotten_inputs, "gemma4_text", "--grad-checkpoint is not used"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_path_that_computes_something_else_is_left_off(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks, kind, said = BROKEN[broken]
    breaks(monkeypatch)
    network = made(kind)
    paths = FastPaths(network, 1.0, checkpoints=True, shares_prompts=False)
    try:
        assert len(paths.notes) == 1 and paths.notes[0].startswith(f"{said}, because with this model ")
        assert "differ by" in paths.notes[0]
        network.eval()
        wanted, plain = gradients(network, reference)
        found, fast = gradients(network, lambda network: mx.concatenate([one(network, paths, row) for row in ROWS]))
        assert found.item() == pytest.approx(wanted.item(), rel=1e-4)
        largest = max(mx.abs(array).max().item() for array in plain.values())
        assert all(mx.abs(array - fast[name]).max().item() <= 2e-3 * largest for name, array in plain.items())
    finally:
        monkeypatch.undo()
        cpu_math.install()


@pytest.mark.parametrize("broken", ["mask", "gradient"])
def test_prompts_are_not_shared_if_that_changes_anything(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = made("llama")
    assert FastPaths(network, 1.0, checkpoints=False, shares_prompts=True).shares_prompts
    plain = shared_prompts._Answers.make_mask if broken == "mask" else shared_prompts._Answers.update_and_fetch
    if broken == "mask":
        monkeypatch.setattr(shared_prompts._Answers, "make_mask", lambda *given, **named: plain(*given, **named) | True)
    else:
        cut = lambda *given: tuple(map(mx.stop_gradient, plain(*given)))  # noqa: E731
        monkeypatch.setattr(shared_prompts._Answers, "update_and_fetch", cut)
    paths = FastPaths(network, 1.0, checkpoints=False, shares_prompts=True)
    assert not paths.shares_prompts and "differ by" in paths.notes[0]


def test_a_loaded_model_is_computed_by_the_originals_if_the_functions_change_it(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _wrong_function(monkeypatch)
    network = model.load_network(tiny_model)
    model.prove_functions(network)
    assert "FineTune's functions for the CPU are not used" in capsys.readouterr().err
    assert not cpu_math.replaced()
    monkeypatch.undo()
    cpu_math.install()
    model.prove_functions(network)
    assert cpu_math.replaced() and not capsys.readouterr().err


def folder_of(kind: str, path: Path, **changes: Any) -> Path:
    (path / "config.json").write_text(json.dumps({**config_of(kind), **changes}))
    return path


@pytest.mark.parametrize(
    ("kind", "period"), [("gemma3", 2), ("gemma4_text", 4), ("gemma3n", 4), ("kimi_k3", 4), ("llama", 1), ("rwkv7", 2)]
)
def test_the_first_layers_in_which_every_kind_occurs(kind: str, period: int, tmp_path: Path) -> None:
    sizes = memory_estimate.Probe().sizes(folder_of(kind, tmp_path), TrainingConfig(lora_rank=2))
    assert sizes.period == period
    weights = memory_estimate.Probe().weights
    assert weights(tmp_path, sizes.layers) == sizes.weights > weights(tmp_path, 1)


def test_what_mlx_cannot_train_is_refused_by_its_reason(tmp_path: Path) -> None:
    folder = folder_of("gemma3n", tmp_path)
    keys = adapters.settings(memory_estimate._network(folder), TrainingConfig())["lora_parameters"]["keys"]
    assert "altup.prediction_coefs" not in keys and "self_attn.q_proj" in keys
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 4, "layer_types": _LAYERS}
    network = gpt_oss.Model(gpt_oss.ModelArgs.from_dict({**_SIZES, **experts, "model_type": "gpt_oss"}))
    nn.quantize(network, 32, 4, mode="mxfp4", class_predicate=lambda name, module: name.endswith("experts.up_proj"))
    with pytest.raises(UserError, match=r"^--fine-tune-type full: a quantised model can only be adapted \(use lora\)$"):
        adapters.attach(network, {"fine_tune_type": "full", "num_layers": 2})
    adapters.attach(network, adapters.settings(network, TrainingConfig(fine_tune_type="lora")))  # the remedy


def test_a_run_says_what_it_does_not_use(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _wrong_update(monkeypatch)
    loaded = mlx.load(tiny_model, ChatEncoder(tiny_model))
    config = TrainingConfig(lora_rank=2, batch_size=2, grad_checkpoint=True)
    source = RowSource(METHODS["sft"], as_rows(ROWS), config)
    trainer = mlx.Trainer(loaded, METHODS["sft"], source, config, 1, "base")
    assert [note.split(",")[0] for note in trainer.notes] == ["early gradients of LoRA are not used"]
    assert all(hasattr(layer, "recomputes") for layer in trainer.network.layers)  # what is right is used
    trainer.train(lambda: False, lambda step: True)
    assert trainer.position.step == 1


def test_a_plan_without_weights_drops_the_head_that_is_tied(tmp_path: Path) -> None:
    """As mlx_lm does when it renames the weights, in the language model of a wrapper too."""
    text = CONFIGS["gemma3"]["text_config"]
    for number, config in enumerate([text, {"model_type": "gemma3", "text_config": text}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**config} if number else _read_by("gemma3", config)))
        network = memory_estimate._network(folder)
        assert (
            "lm_head" not in text_network(network)
            and layout_of(network).head is text_network(network).model.embed_tokens
        )
