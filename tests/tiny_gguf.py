"""Tiny GGUF files, written the way llama.cpp writes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

HIDDEN, INNER, HEADS, KV_HEADS, HEAD, LAYERS = 64, 96, 4, 2, 32, 2
BYTE_PIECES = [f"<0x{byte:02X}>" for byte in range(256)]
SPM_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
SPM_PIECES = ["  ", *"▁abceht", "th", "he", "the", "▁the", "▁a"]  # by falling score, after the run of spaces


INTERLEAVED = ("llama", "smollm3")  # llama.cpp's RoPE takes neighbouring numbers there


def hugging_face_weights(architecture: str, layers: int = LAYERS) -> dict[str, np.ndarray]:
    """Random weights by GGUF name, but laid out as Hugging Face has them. Every number has few enough digits for bfloat16."""
    random = np.random.default_rng(0)
    head = head_size(architecture)
    queries, keys = HEADS * head, KV_HEADS * head
    shapes = {"token_embd.weight": (300, HIDDEN), "output_norm.weight": (HIDDEN,)}
    layer = {"attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,), "attn_q": (queries, HIDDEN), "attn_k": (keys, HIDDEN)}
    layer |= {"attn_v": (keys, HIDDEN), "attn_output": (HIDDEN, queries), "ffn_down": (HIDDEN, INNER)}
    layer |= {"ffn_gate": (INNER, HIDDEN), "ffn_up": (INNER, HIDDEN)}
    if architecture in ("gemma3", "qwen3"):
        layer |= {"attn_q_norm": (head,), "attn_k_norm": (head,)}
    if architecture == "gemma3":
        layer |= {"post_attention_norm": (HIDDEN,), "post_ffw_norm": (HIDDEN,)}
    if architecture == "phi3":
        for name in ("attn_q", "attn_k", "attn_v", "ffn_gate"):
            del layer[name]
        layer |= {"attn_qkv": (queries + 2 * keys, HIDDEN), "ffn_up": (2 * INNER, HIDDEN)}
    shapes |= {f"blk.{block}.{name}.weight": shape for block in range(layers) for name, shape in layer.items()}
    if architecture == "qwen2":
        biases = {"attn_q": (queries,), "attn_k": (keys,), "attn_v": (keys,)}
        shapes |= {f"blk.{block}.{name}.bias": shape for block in range(layers) for name, shape in biases.items()}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def head_size(architecture: str) -> int:
    return HIDDEN // HEADS if architecture in ("qwen2", "phi3") else HEAD


def interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """The rows of a query or key matrix, or of its bias, as llama.cpp's converter orders them for its RoPE."""
    halves = values.reshape(heads, 2, len(values) // heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(values.shape)


def in_gguf_layout(architecture: str, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What llama.cpp's converter makes of the weights."""
    if architecture == "gemma3":
        return {name: values + ("norm" in name) for name, values in weights.items()}
    if architecture not in INTERLEAVED:
        return dict(weights)
    heads = {"attn_q": HEADS, "attn_k": KV_HEADS}
    parts = {name: name.split(".")[-2] for name in weights}
    return {
        name: interleaved(values, heads[parts[name]]) if parts[name] in heads else values
        for name, values in weights.items()
    }


def write_gguf(
    path: Path,
    architecture: str,
    quantisation: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F16,
    change: Callable[[dict[str, Any], dict[str, np.ndarray]], None] = lambda metadata, weights: None,
    weights: dict[str, np.ndarray] | None = None,
    layers: int = LAYERS,
) -> Path:
    """``weights``, if given, are laid out as Hugging Face has them; ``change`` gets them in GGUF's layout."""
    head = head_size(architecture)
    metadata: dict[str, Any] = {
        f"{architecture}.block_count": layers,
        f"{architecture}.context_length": 128,
        f"{architecture}.embedding_length": HIDDEN,
        f"{architecture}.feed_forward_length": INNER,
        f"{architecture}.attention.head_count": HEADS,
        f"{architecture}.attention.head_count_kv": KV_HEADS,
        f"{architecture}.attention.key_length": head,
        f"{architecture}.attention.value_length": head,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{architecture}.rope.freq_base": 50000.0,
    }
    weights = in_gguf_layout(architecture, weights or hugging_face_weights(architecture, layers))
    if architecture == "gemma3":
        pieces = [*SPM_SPECIAL, *BYTE_PIECES, *SPM_PIECES]
        metadata |= {
            "gemma3.attention.sliding_window": 16,
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": pieces,
            "tokenizer.ggml.token_type": [3] * 6 + [6] * 256 + [4] + [1] * (len(SPM_PIECES) - 1),
            "tokenizer.ggml.scores": [-1000.0] * 263 + [-float(rank) for rank in range(len(SPM_PIECES) - 1)],
            "tokenizer.ggml.bos_token_id": 2,
            "tokenizer.ggml.eos_token_id": 1,
            "tokenizer.ggml.unknown_token_id": 3,
            "tokenizer.ggml.padding_token_id": 0,
            "tokenizer.ggml.add_space_prefix": False,
        }
    else:
        letters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ", "Ã", "©"]
        metadata |= {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.tokens": ["<|endoftext|>", "<|im_end|>", *letters, "20", "ab", "Ġab"],
            "tokenizer.ggml.token_type": [3, 3] + [1] * (len(letters) + 3),
            "tokenizer.ggml.merges": ["2 0", "a b", "Ġ ab"],
            "tokenizer.ggml.bos_token_id": 0,
            "tokenizer.ggml.eos_token_id": 1,
            "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
        }
    if architecture == "phi3":
        metadata |= {"phi3.attention.sliding_window": 0, "phi3.rope.dimension_count": head}
    change(metadata, weights)

    writer = gguf.GGUFWriter(path, metadata.pop("general.architecture", architecture))
    for key, value in metadata.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add.get(type(value), writer.add_array)(key, value)
    for name, values in weights.items():
        kind = quantisation if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quantize(values.astype(np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
