"""Which modules a run adapts: --lora-modules over all layers, experts, what mlx_lm cannot adapt; and that others load it."""

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
from finetune.backends import lora_modules
from finetune.backends.lora_modules import Place
from finetune.backends.mlx import adapters
from finetune.backends.mlx.adaptation import Adaptation, adaptation
from finetune.errors import UserError
from finetune.records import files
from finetune.settings.config import TrainingConfig

import mlx.nn as nn  # isort: skip  after the runtime
from mlx_lm.tuner.utils import load_adapters  # isort: skip

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 1, "vocab_size": 60, "head_dim": 16, "rms_norm_eps": 1e-5, "rope_theta": 1e4}
SIZES |= {"max_position_embeddings": 64, "tie_word_embeddings": False}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "norm_topk_prob": True}
MOE |= {"decoder_sparse_step": 1, "mlp_only_layers": [0]}  # experts in the last layer alone
GPT_OSS = {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 4}
GPT_OSS |= {"layer_types": ["sliding_attention", "full_attention"]}
AFM7 = {"hidden_dim": 32, "num_layers": 4, "num_kv_reuse_layers": 2, "num_heads": 2, "num_kv_heads": 1}
LFM2 = {"layer_types": ["full_attention", "conv"], "norm_eps": 1e-5, "conv_bias": False, "conv_L_cache": 3}
LFM2 |= {"block_dim": 32, "block_ff_dim": 64, "block_multiple_of": 8, "block_ffn_dim_multiplier": 1.0}
LFM2 |= {"block_auto_adjust_ff_dim": False}
KINDS: dict[str, dict[str, Any]] = {"llama": {}, "qwen3_moe": MOE, "gpt_oss": GPT_OSS, "afm7": AFM7, "lfm2": LFM2}


def made(kind: str, **changed: Any) -> Any:
    module = importlib.import_module(f"mlx_lm.models.{kind}")
    mx.random.seed(3)
    return module.Model(module.ModelArgs.from_dict({**SIZES, **KINDS[kind], "model_type": kind, **changed}))


def adapted(network: Any, **settings: Any) -> Adaptation:
    return adaptation(network, TrainingConfig(**{"lora_rank": 2, **settings}))


def names(network: Any) -> list[str]:
    return sorted(name for name, module in network.named_modules() if "lora_b" in module)


EVERY = [
    Place(n, f"{part}_proj", f"m.layers.{n}.{part}_proj") for n in range(12) for part in ("attn.q", "attn.v", "mlp.up")
]
CASES = {
    "q_proj": (12, "attn.q_proj"),
    "*.q_proj": (12, "attn.q_proj"),
    "attn": (24, "attn"),
    "attn.*": (24, "attn"),
    "layers.8-10.*": (9, ""),
    "layers.8-10": (9, ""),
    "layers.1.*": (3, ""),
    "layers.1.attn.[qv]_proj": (2, "attn"),
    "m.layers.11.mlp.up_proj": (1, "mlp"),
    "layers.*.attn.v_proj": (12, "attn.v"),
    "layers.1?.up_proj": (2, "mlp"),
    "layers.8-11.q_proj": (4, "attn"),
    "*": (36, ""),
}


@pytest.mark.parametrize("pattern", CASES)
def test_names_and_patterns(pattern: str) -> None:
    found = lora_modules.choose(TrainingConfig(lora_modules=f" {pattern} "), EVERY, 12)
    count, part = CASES[pattern]
    assert len(found) == count and all(part in place.name for place in found)
    few = [place for place in EVERY if place.layer < 2]  # a plan measures on these, whatever the layers
    shorter = lora_modules.for_first_layers(TrainingConfig(lora_modules=pattern, lora_layers=1), few, 2)
    chosen = {place.name for place in lora_modules.choose(shorter, few, 2)}
    assert chosen == {place.name for place in found}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("w_proj", "the model has no module 'w_proj' (choose from q_proj, up_proj, v_proj)"),
        ("mlp.w_*", "the model has no module 'mlp.w_*' (choose from attn.q_proj, attn.v_proj, mlp.up_proj)"),
        ("q_proj,", "the model has no module '' (choose from q_proj, up_proj, v_proj)"),
        ("q", "the model has no module 'q' "),
        ("layers.8-15.*", "'layers.8-15.*': the model has the layers 0 to 11"),
        ("layers.99999999999-999999999999.*", "'layers.99999999999-999999999999.*': the model has the layers 0 to 11"),
        ("layers.12.*", "'layers.12.*': the model has the layers 0 to 11"),
        ("layers.5-2.*", "'layers.5-2.*': 5 is above 2 (write 2-5)"),
    ],
)
def test_what_matches_nothing_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        lora_modules.choose(TrainingConfig(lora_modules=pattern), EVERY, 12)
    assert str(refused.value).startswith(f"--lora-modules: {said}")


LOADED: list[tuple[str, dict[str, Any], int, int]] = [
    ("llama", {"lora_modules": "q_proj,v_proj"}, 4, 0),
    ("llama", {"lora_modules": "layers.0.*"}, 7, 0),
    ("llama", {"lora_modules": "layers.0.mlp,layers.1.self_attn.q_proj"}, 4, 0),
    ("llama", {"lora_modules": "layers.0-1.q_proj", "lora_layers": 1}, 1, 0),
    ("lfm2", {"lora_modules": "q_proj,v_proj"}, 2, 0),  # the last layer has none
    ("lfm2", {"lora_modules": "conv"}, 2, 0),
    ("qwen3_moe", {}, 15, 3),
    ("qwen3_moe", {"lora_modules": "mlp.switch_mlp"}, 3, 3),
    ("qwen3_moe", {"lora_modules": "mlp.gate_proj"}, 1, 0),  # not that of the experts
    ("gpt_oss", {"lora_modules": "experts.*_proj"}, 6, 6),
    ("afm7", {}, 18, 0),
]


@pytest.mark.parametrize(("kind", "settings", "modules", "experts"), LOADED, ids=str)
def test_what_is_adapted_is_saved_and_loads_in_mlx_lm_and_here(
    kind: str, settings: dict[str, Any], modules: int, experts: int, tmp_path: Path
) -> None:
    network = made(kind)
    found = adapted(network, **settings)
    assert (found.modules, found.experts) == (modules, experts)
    adapters.attach(network, found.settings)
    assert len(names(network)) == modules
    for name, array in adapters.trainable(network).items():
        if name.endswith("lora_b"):
            array[:] = 0.1 * mx.random.normal(array.shape)
    (tmp_path / files.ADAPTER_CONFIG).write_text(json.dumps(found.settings))
    adapters.save(adapters.trainable(network), tmp_path / files.ADAPTERS)
    tokens = mx.array([[1, 2, 3, 4]])
    wanted, plain = network(tokens), made(kind)(tokens)
    assert mx.abs(wanted - plain).max().item() > 1e-4
    of_mlx_lm = load_adapters(made(kind), str(tmp_path))
    assert names(of_mlx_lm) == names(network) and mx.array_equal(of_mlx_lm(tokens), wanted)
    ours = made(kind)
    adapters.load(ours, tmp_path)
    assert mx.array_equal(ours(tokens), wanted)


def test_modules_that_mlx_lm_would_save_and_not_load_are_left_out() -> None:
    found = adapted(made("afm7"))
    why = "mlx_lm saves adapters of a FusedLinear, but does not load them"
    assert found.notes == [f"not adapted: self_attn.qkv_proj: {why}"]
    with pytest.raises(UserError, match=f"^--lora-modules: self_attn.qkv_proj cannot be adapted: {why}$"):
        adapted(made("afm7"), lora_modules="q_proj,qkv_proj")
    assert adapted(made("afm7"), fine_tune_type="dora").modules == found.modules


@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss"])
def test_dora_on_experts_is_refused_and_both_remedies_work(kind: str) -> None:
    network, config = made(kind), TrainingConfig(lora_rank=2, fine_tune_type="dora")
    with pytest.raises(UserError, match=r"^--fine-tune-type dora: mlx-lm has no DoRA for experts ") as refused:
        adaptation(network, config)
    named = str(refused.value).rpartition("--lora-modules ")[2].removesuffix(")")
    for changed in (replace(config, fine_tune_type="lora"), replace(config, lora_modules=named)):
        network = made(kind)
        found = adaptation(network, changed)
        adapters.attach(network, found.settings)
        assert len(names(network)) == found.modules and bool(found.experts) == (changed.fine_tune_type == "lora")
        network(mx.array([[1, 2]]))
    assert found.modules == adapted(made(kind)).modules - adapted(made(kind)).experts  # all but the experts


def test_dora_on_six_bits_is_refused(tmp_path: Path) -> None:
    network = made("llama")
    nn.quantize(network, 32, 6)
    with pytest.raises(
        UserError, match=r"mlx-lm has no DoRA for modules of 6 bits \(.*\) \(use --fine-tune-type lora\)$"
    ):
        adapted(network, fine_tune_type="dora")
    adapters.attach(network, adapted(network).settings)  # the remedy
    network(mx.array([[1, 2]]))


def test_a_name_that_the_last_layers_do_not_have() -> None:
    with pytest.raises(UserError, match=r"'q_proj' is in layer 0 of 0-1, and --lora-layers 1 adapts the last 1 only"):
        adapted(made("lfm2"), lora_modules="q_proj", lora_layers=1)
    assert adapted(made("lfm2"), lora_modules="q_proj").layers == 2  # the remedy


def test_a_name_that_is_of_two_kinds_of_module() -> None:
    """mlx_lm goes by names: one that is adapted in a layer would be taken in all."""

    class Rotated(nn.Module):
        def __init__(self, linear: Any):
            super().__init__()
            self.weight, self.scales, self.biases = mx.quantize(linear.weight, 32, 2)
            self.freeze()

        def __call__(self, x: Any) -> Any:
            return mx.quantized_matmul(x, self.weight, self.scales, self.biases, group_size=32, bits=2)

    network = made("llama")
    network.layers[1].self_attn.o_proj = Rotated(network.layers[1].self_attn.o_proj)
    found = adapted(network)
    adapters.attach(network, found.settings)
    assert found.modules == 13 == len(names(network))
    assert found.notes == ["not adapted: self_attn.o_proj: mlx_lm has no adapters for a Rotated"]
    with pytest.raises(UserError, match="--fine-tune-type full: a quantised model can only be adapted"):
        adapted(network, fine_tune_type="full")
