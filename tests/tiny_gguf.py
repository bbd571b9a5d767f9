"""Tiny GGUF files, written the way llama.cpp writes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

HIDDEN, INNER, HEADS, KV_HEADS, HEAD = 64, 96, 4, 2, 32
BYTE_PIECES = [f"<0x{byte:02X}>" for byte in range(256)]
SPM_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
SPM_PIECES = ["  ", *"▁abceht", "th", "he", "the", "▁the", "▁a"]  # by falling score, after the run of spaces


def hugging_face_weights(architecture: str) -> dict[str, np.ndarray]:
    """Random weights by GGUF name, but laid out as Hugging Face has them."""
    random = np.random.default_rng(0)
    queries, keys = HEADS * HEAD, KV_HEADS * HEAD
    shapes = {"token_embd": (300, HIDDEN), "output_norm": (HIDDEN,)}
    layer = {"attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,), "attn_q": (queries, HIDDEN), "attn_k": (keys, HIDDEN)}
    layer |= {"attn_v": (keys, HIDDEN), "attn_output": (HIDDEN, queries), "ffn_down": (HIDDEN, INNER)}
    layer |= {"ffn_gate": (INNER, HIDDEN), "ffn_up": (INNER, HIDDEN)}
    if architecture == "gemma3":
        layer |= {"attn_q_norm": (HEAD,), "attn_k_norm": (HEAD,)}
        layer |= {"post_attention_norm": (HIDDEN,), "post_ffw_norm": (HIDDEN,)}
    shapes |= {f"blk.{block}.{name}": shape for block in (0, 1) for name, shape in layer.items()}
    return {f"{name}.weight": random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def write_gguf(
    path: Path,
    architecture: str,
    quantisation: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F16,
    change: Callable[[dict[str, Any], dict[str, np.ndarray]], None] = lambda metadata, weights: None,
) -> Path:
    metadata: dict[str, Any] = {
        f"{architecture}.block_count": 2,
        f"{architecture}.context_length": 128,
        f"{architecture}.embedding_length": HIDDEN,
        f"{architecture}.feed_forward_length": INNER,
        f"{architecture}.attention.head_count": HEADS,
        f"{architecture}.attention.head_count_kv": KV_HEADS,
        f"{architecture}.attention.key_length": HEAD,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{architecture}.rope.freq_base": 50000.0,
    }
    weights = hugging_face_weights(architecture)
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
        weights = {name: values + ("norm" in name) for name, values in weights.items()}
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
        for name, heads in {"attn_q": HEADS, "attn_k": KV_HEADS}.items():  # what llama.cpp does for its RoPE
            for weight in [weight for weight in weights if weight.endswith(f"{name}.weight")]:
                halves = weights[weight].reshape(heads, 2, HEAD // 2, HIDDEN)
                weights[weight] = halves.swapaxes(1, 2).reshape(heads * HEAD, HIDDEN)
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
