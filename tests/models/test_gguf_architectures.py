"""Every architecture that a GGUF file may have: what is computed is what the safetensors form of the same model computes."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from finetune.models.gguf import convert
from finetune.models.gguf_layout import ARCHITECTURES
from finetune.models.gguf_rope import Llama3
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
