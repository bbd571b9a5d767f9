"""Every architecture that a GGUF file may have: what is computed is what the safetensors form of the same model computes."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from finetune.errors import UserError
from finetune.models.gguf import convert
from finetune.models.gguf_layout import ARCHITECTURES
from finetune.models.gguf_rope import Llama3, _llama3
from tiny_gguf import HEAD, HEADS, HIDDEN, INNER, KV_HEADS, LAYERS, head_size, hugging_face_weights, write_gguf

F32 = gguf.GGMLQuantizationType.F32
NAMES = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OTHER_NAMES = {
    "gemma3": {
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
    "phi3": {"ffn_up": "mlp.gate_up_proj"},
}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
YARN = {"factor": 4.0, "original_max_position_embeddings": 32}
HALF = head_size("phi3") // 2
LONGROPE = {"long_factor": [1.0 + index for index in range(HALF)], "short_factor": [1.0] * HALF}


def named(architecture: str, name: str) -> str:
    """The Hugging Face name of a tensor."""
    *place, part, kind = name.split(".")
    known = NAMES | OTHER_NAMES.get(architecture, {})
    layer = ["layers", place[1]] if place else []
    return ".".join(["model", *layer, known[part], kind]) if part != "output" else "lm_head.weight"


def representable(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights to compute with, in the digits of bfloat16, so that both forms hold the same numbers."""
    sizes = {name: values / 8 + ("norm" in name) for name, values in weights.items()}
    return {name: (v.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) for name, v in sizes.items()}


def in_mlx(config: dict[str, Any], weights: dict[str, np.ndarray]) -> np.ndarray:
    """The logits of a model in Hugging Face's form."""
    from finetune.backends.mlx.runtime import mx  # isort: skip
    from mlx_lm.utils import _get_classes

    network, arguments = _get_classes(config)
    model = network(arguments.from_dict(config))
    arrays = {name: mx.array(values) for name, values in weights.items()}
    model.load_weights([*(model.sanitize(arrays) if hasattr(model, "sanitize") else arrays).items()])
    return np.array(model(mx.array([TOKENS])).astype(mx.float32))[0]


TOKENS = [5, 60, 7, 33, 12, 99, 100, 2, 41, 8, 19, 77, 30, 6, 50, 51, 9, 3, 88, 20]


def converted(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """config.json and the weights in float32."""
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    del header["__metadata__"]
    weights = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        bits = np.frombuffer(data[start:end], dtype="<u2").astype(np.uint32) << 16
        weights[name] = bits.view(np.float32).reshape(entry["shape"])
    return json.loads((folder / "config.json").read_text()), weights


def hugging_face_config(architecture: str) -> dict[str, Any]:
    config = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "intermediate_size": INNER, "vocab_size": 300}
    config |= {"num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": head_size(architecture)}
    config |= {"rms_norm_eps": 1e-5, "max_position_embeddings": 128, "rope_theta": 50000.0, "tie_word_embeddings": True}
    if architecture == "gemma3":
        config |= {"sliding_window": 16, "sliding_window_pattern": 6, "query_pre_attn_scalar": HEAD}
        return config | {"model_type": "gemma3_text", "rope_local_base_freq": 10000.0}
    return config | {"model_type": architecture}


def with_factors(metadata: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    weights["rope_freqs.weight"] = np.array(Llama3(**LLAMA3).factors(50000.0, HEAD), np.float32)


def with_yarn(metadata: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    own = metadata_name(metadata)
    metadata |= {f"{own}.rope.scaling.type": "yarn", f"{own}.rope.scaling.factor": 4.0}
    metadata[f"{own}.rope.scaling.original_context_length"] = 32


def with_longrope(metadata: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    metadata["phi3.rope.scaling.original_context_length"] = 32
    metadata["phi3.rope.scaling.attn_factor"] = math.sqrt(1 + math.log(4) / math.log(32))
    for length in ("long", "short"):
        weights[f"rope_factors_{length}.weight"] = np.array(LONGROPE[f"{length}_factor"], np.float32)


def with_untied_output(metadata: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    weights["output.weight"] = weights["token_embd.weight"][::-1]


def metadata_name(metadata: dict[str, Any]) -> str:
    return next(key for key in metadata if key.endswith(".block_count")).partition(".")[0]


LONG = {"rope_scaling": {"type": "longrope", **LONGROPE}, "original_max_position_embeddings": 32}
Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]
CASES: dict[str, tuple[str, Change | None, dict[str, Any]]] = {name: (name, None, {}) for name in ARCHITECTURES} | {
    "llama 3.1": ("llama", with_factors, {"rope_scaling": {"rope_type": "llama3", **LLAMA3}}),
    "llama untied": ("llama", with_untied_output, {"tie_word_embeddings": False}),
    "qwen2 yarn": ("qwen2", with_yarn, {"rope_scaling": {"rope_type": "yarn", **YARN}}),
    "phi3 longrope": ("phi3", with_longrope, LONG),
    "phi3 partly": (
        "phi3",
        lambda metadata, _: metadata.update({"phi3.rope.dimension_count": 12}),
        {"partial_rotary_factor": 0.75},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_gguf_computes_what_its_safetensors_form_computes(tmp_path: Path, case: str) -> None:
    architecture, change, changes = CASES[case]
    layers = {"smollm3": 4, "gemma3": 6}.get(architecture, LAYERS)  # the last is another one there
    weights = representable(hugging_face_weights(architecture, layers))
    path = write_gguf(tmp_path / "tiny.gguf", architecture, F32, change or (lambda _, __: None), weights, layers=layers)
    convert(path, tmp_path)
    config, found = converted(tmp_path)
    expected = {named(architecture, name): values for name, values in weights.items()}
    if changes.get("tie_word_embeddings") is False:
        expected["lm_head.weight"] = weights["token_embd.weight"][::-1]
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        # the norms of Gemma are stored as 1 + weight, in float32
        np.testing.assert_allclose(found[name], values, rtol=2**-8 if architecture == "gemma3" else 0, atol=0)
    reference = hugging_face_config(architecture) | {"num_hidden_layers": layers} | changes
    ours, theirs = in_mlx(config, found), in_mlx(reference, found)
    assert np.std(theirs) > 0.1 and np.abs(ours - theirs).max() < 1e-5 * np.std(theirs)


def with_biases(metadata: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    """As a Llama with attention_bias has them; those of queries and keys are ordered as their rows are."""
    sizes = {"attn_q": HEADS * HEAD, "attn_k": KV_HEADS * HEAD, "attn_v": KV_HEADS * HEAD, "attn_output": HIDDEN}
    for layer in range(LAYERS):
        for part, size in sizes.items():
            weights[f"blk.{layer}.{part}.bias"] = np.arange(size, dtype=np.float32)


def test_the_biases_of_queries_and_keys_are_ordered_as_their_rows(tmp_path: Path) -> None:
    convert(write_gguf(tmp_path / "tiny.gguf", "llama", F32, with_biases), tmp_path)
    config, found = converted(tmp_path)
    assert config["attention_bias"] is True and "mlp_bias" not in config
    query = found["model.layers.1.self_attn.q_proj.bias"]
    assert query[:HEAD].tolist() == [*range(0, HEAD, 2), *range(1, HEAD, 2)]
    assert found["model.layers.1.self_attn.v_proj.bias"][:4].tolist() == [0, 1, 2, 3]
    assert in_mlx(config, found).shape == (len(TOKENS), 300)


@pytest.mark.parametrize(
    "numbers",
    [
        Llama3(8.0),
        Llama3(32.0),
        Llama3(16.0, 1.0, 8.0, 4096),
        Llama3(10.0, 1.0, 3.5, 6000),
        Llama3(4.0, 2.0, 6.0, 2048),
    ],
    ids=str,
)
@pytest.mark.parametrize("theta, head", [(500000.0, 128), (500000.0, 64), (50000.0, 32)])
def test_the_numbers_of_llama_3_are_found_again(numbers: Llama3, theta: float, head: int) -> None:
    expected = np.array(numbers.factors(theta, head), np.float32)
    scaling = _llama3([float(f"{value:.7g}") for value in expected.tolist()], theta, head)
    assert scaling.pop("rope_type") == "llama3" and scaling["factor"] == numbers.factor
    np.testing.assert_allclose(Llama3(**scaling).factors(theta, head), expected, rtol=1e-5)
    if numbers.low_freq_factor == 1:  # with another one only the ratios are known
        assert Llama3(**scaling) == numbers


def factors(values: list[float]) -> Change:
    def change(metadata: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
        weights["rope_freqs.weight"] = np.array(values, np.float32)

    return change


def key(**values: Any) -> Change:
    """Metadata: dots are written as two underscores."""
    return lambda metadata, _: metadata.update({name.replace("__", "."): value for name, value in values.items()})


def both(one: Change, other: Change) -> Change:
    def change(metadata: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
        one(metadata, weights)
        other(metadata, weights)

    return change


REFUSALS: dict[str, tuple[str, Change, str]] = {
    "a key of the architecture": ("qwen3", key(qwen3__attention__window_of_doom=3), "qwen3.attention.window_of_doom"),
    "experts": ("llama", key(llama__expert_count=8), "not supported: llama.expert_count"),
    "a soft cap": ("gemma3", key(gemma3__final_logit_softcapping=30.0), "gemma3.final_logit_softcapping"),
    "a scale": ("gemma3", key(gemma3__attention__scale=0.5), "gemma3.attention.scale in the GGUF is 0.5"),
    "a tensor": ("qwen2", lambda _, w: w.update({"blk.0.attn_sinks.weight": np.ones(4)}), "blk.0.attn_sinks.weight is"),
    "a bias": ("qwen2", lambda _, w: w.pop("blk.1.attn_k.bias"), "blk.1.attn_k.bias is missing"),
    "a part of the biases": (
        "llama",
        both(with_biases, lambda _, w: w.pop("blk.1.attn_output.bias")),
        "blk.1.attn_output.bias is missing",
    ),
    "a norm": ("qwen3", lambda _, w: w.pop("blk.0.attn_q_norm.weight"), "blk.0.attn_q_norm.weight is missing"),
    "separate queries": ("phi3", lambda _, w: w.pop("blk.0.attn_qkv.weight"), "blk.0.attn_qkv.weight is missing"),
    "one of several files": ("llama", key(split__count=3), "one of 3 parts of a GGUF (join them: "),
    "an adapter": ("llama", key(general__type="adapter"), "of type 'adapter', not a model"),
    "theta": ("qwen3", lambda metadata, _: metadata.pop("qwen3.rope.freq_base"), "no qwen3.rope.freq_base"),
    "a head's size": ("qwen2", key(qwen2__attention__key_length=32, qwen2__attention__value_length=32), "heads of 32"),
    "values of another size": ("llama", key(llama__attention__value_length=16), "keys of 32 and values of 16"),
    "partial RoPE": ("qwen3", key(qwen3__rope__dimension_count=16), "a part of each head (16 of 32)"),
    "RoPE of another kind": ("phi3", key(phi3__rope__scaling__type="yarn"), "'yarn' is not supported"),
    "RoPE factors of nobody": ("llama", factors([1.0, 2.0, 1.0, 3.0] * 4), "no scaling of Llama 3 makes these factors"),
    "RoPE factors below one": ("llama", factors([0.5] + [1.0] * 15), "no scaling of Llama 3 makes these factors"),
    "RoPE factors, too few": ("llama", factors([1.0] * 8), "rope_freqs.weight is F32[8] instead of F32[16]"),
    "RoPE factors, none finite": ("llama", factors([math.nan] * 16), "not positive numbers"),
    "RoPE factors of another": ("qwen3", factors([1.0] * 16), "rope_freqs.weight is unknown"),
    "RoPE scaled twice": ("llama", both(with_factors, with_yarn), "RoPE is scaled twice"),
    "longrope without short": (
        "phi3",
        both(with_longrope, lambda _, w: w.pop("rope_factors_short.weight")),
        "rope_factors_short.weight is missing",
    ),
    "longrope of another strength": (
        "phi3",
        both(with_longrope, key(phi3__rope__scaling__attn_factor=1.5)),
        "phi3.rope.scaling.attn_factor in the GGUF is 1.5, but 128 positions made of 32 give 1.18322",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_would_compute_something_else_is_refused_by_name(tmp_path: Path, case: str) -> None:
    architecture, change, words = REFUSALS[case]
    path = write_gguf(tmp_path / "tiny.gguf", architecture, F32, change)
    with pytest.raises(UserError) as refusal:
        convert(path, tmp_path)
    assert words in str(refusal.value)
    assert "(" in str(refusal.value)  # the remedy


@pytest.mark.parametrize(
    "change",
    [
        key(llama__expert_count=0, llama__vocab_size=300),
        key(llama__rope__scaling__type="none"),
        key(llama__attention__causal=True, llama__logit_scale=0.0, split__count=1, general__type="model"),
        key(quantize__imatrix__file="x", general__name="y", another__thing=3),
        factors([1.0] * 16),
    ],
)
def test_what_changes_nothing_is_let_pass(tmp_path: Path, change: Change) -> None:
    convert(write_gguf(tmp_path / "tiny.gguf", "llama", F32, change), tmp_path)
    assert "rope_scaling" not in json.loads((tmp_path / "config.json").read_text())


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    def change(metadata: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
        metadata["tokenizer.chat_template.tool_use"] = "{{ tools }}"
        metadata["tokenizer.ggml.pre"] = "default"
        metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"], *(f"more {n}" for n in range(198))]
        metadata["tokenizer.ggml.token_type"] = [*metadata["tokenizer.ggml.token_type"], *[1] * 198]

    said: list[str] = []
    convert(write_gguf(tmp_path / "tiny.gguf", "phi3", F32, change), tmp_path, said.append)
    assert len(said) == 3
    text = "\n".join(said)
    for words in (
        "not tokenizer.chat_template.tool_use",
        "1 of 301 tokens",
        "is default",
    ):
        assert words in text


def test_the_tensors_lie_in_the_order_that_runs_have_recorded_the_hash_of(tmp_path: Path) -> None:
    convert(write_gguf(tmp_path / "tiny.gguf", "gemma3", F32), tmp_path)
    _, found = converted(tmp_path)
    parts = "attn_norm attn_q attn_k attn_v attn_output ffn_norm ffn_gate ffn_up ffn_down attn_q_norm attn_k_norm"
    order = [f"blk.0.{part}.weight" for part in f"{parts} post_attention_norm post_ffw_norm".split()]
    assert list(found)[2 : 2 + len(order)] == [named("gemma3", name) for name in order]
