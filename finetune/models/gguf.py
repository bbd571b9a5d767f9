"""A GGUF file as an ordinary model folder: config.json, model.safetensors in bfloat16 and the tokenizer.

Any quantisation that the ``gguf`` package can undo, of the architectures in ``ARCHITECTURES``. The rest is
refused by name: a model that loads but computes something else is worse than none.
"""

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.errors import UserError
from finetune.models.gguf_tokenizer import write_tokenizer

if TYPE_CHECKING:
    import numpy as np
    from gguf import ReaderTensor

Config = dict[str, Any]
Tensors = dict[str, "ReaderTensor"]

# The tensors of one layer: GGUF name -> Hugging Face name, and the shape in terms of _sizes.
LLAMA_LAYER = {
    "attn_norm": ("input_layernorm", ("hidden",)),
    "attn_q": ("self_attn.q_proj", ("queries", "hidden")),
    "attn_k": ("self_attn.k_proj", ("keys", "hidden")),
    "attn_v": ("self_attn.v_proj", ("keys", "hidden")),
    "attn_output": ("self_attn.o_proj", ("hidden", "queries")),
    "ffn_norm": ("post_attention_layernorm", ("hidden",)),
    "ffn_gate": ("mlp.gate_proj", ("inner", "hidden")),
    "ffn_up": ("mlp.up_proj", ("inner", "hidden")),
    "ffn_down": ("mlp.down_proj", ("hidden", "inner")),
}
GEMMA3_LAYER = LLAMA_LAYER | {
    "attn_q_norm": ("self_attn.q_norm", ("head",)),
    "attn_k_norm": ("self_attn.k_norm", ("head",)),
    "post_attention_norm": ("post_attention_layernorm", ("hidden",)),
    "ffn_norm": ("pre_feedforward_layernorm", ("hidden",)),
    "post_ffw_norm": ("post_feedforward_layernorm", ("hidden",)),
}
ROWS_AT_ONCE = 1024  # go through float32 together: a whole embedding would take gigabytes


class Metadata(dict[str, Any]):
    """The key-value pairs of the GGUF. A key that is not there is the file's fault."""

    def __missing__(self, key: str) -> Any:
        raise UserError(f"the GGUF has no {key} (it is incomplete: download or convert it again)")

    def model(self, key: str, default: Any = None) -> Any:
        """The number or text under ``<architecture>.<key>``."""
        name = f"{self['general.architecture']}.{key}"
        value = self[name] if default is None else self.get(name, default)
        if isinstance(value, list):
            raise UserError(f"{name} differs from layer to layer, which is not supported")
        return float(f"{value:.7g}") if isinstance(value, float) else value  # float32: 9.9999997e-06 was 1e-05


def convert(gguf: Path, folder: Path) -> None:
    """Writes the model in ``gguf`` to the existing ``folder``.

    Raises ``UserError`` for a file that is not whole, or holds anything that is not understood.
    """
    try:
        metadata, tensors = _read(gguf)
        name = metadata["general.architecture"]
        if name not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise UserError(f"GGUF of the architecture {name!r} is not supported (supported: {known})")
        architecture = ARCHITECTURES[name]
        config = _common_config(metadata, tensors) | architecture.config(metadata)
        names = _match(tensors, architecture, config)
        config |= (ids := write_tokenizer(metadata, config["vocab_size"], folder))
        _write_safetensors(folder / "model.safetensors", tensors, names, architecture, config)
    except UserError as error:
        raise UserError(f"{gguf}: {error}", error.exit_code) from None
    for file, values in {"config.json": config, "generation_config.json": ids}.items():
        (folder / file).write_text(json.dumps(values, indent=2) + "\n")


def _read(path: Path) -> tuple[Metadata, Tensors]:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        metadata = Metadata({key: field.contents() for key, field in reader.fields.items()})
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}") from None
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise UserError(f"not a GGUF file, or cut short: {error} (download it again)") from None
    return metadata, {tensor.name: tensor for tensor in reader.tensors}


def _common_config(metadata: Metadata, tensors: Tensors) -> Config:
    if "token_embd.weight" not in tensors:
        raise UserError("the GGUF has no tensor token_embd.weight (it is incomplete: download it again)")
    hidden, heads = metadata.model("embedding_length"), metadata.model("attention.head_count")
    head = metadata.model("attention.key_length", hidden // heads)
    config = {
        "dtype": "bfloat16",
        "vocab_size": int(tensors["token_embd.weight"].shape[-1]),
        "hidden_size": hidden,
        "intermediate_size": metadata.model("feed_forward_length"),
        "num_hidden_layers": metadata.model("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.model("attention.head_count_kv", heads),
        "head_dim": head,
        "max_position_embeddings": metadata.model("context_length"),
        "rms_norm_eps": metadata.model("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in tensors,
    }
    scaling = metadata.model("rope.scaling.type", "none")
    if scaling == "linear":
        config["rope_scaling"] = {"rope_type": "linear", "factor": metadata.model("rope.scaling.factor")}
    elif scaling != "none":
        raise UserError(f"RoPE scaling of the type {scaling!r} is not supported")
    if metadata.model("rope.dimension_count", head) != head:
        raise UserError("RoPE over a part of each head is not supported")
    return config


def _llama_config(metadata: Metadata) -> Config:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "rope_theta": metadata.model("rope.freq_base", 10_000.0),
    }


def _gemma3_config(metadata: Metadata) -> Config:
    layers = metadata.model("block_count")
    pattern = metadata.model("attention.sliding_window_pattern", 6)
    # The 27B, known by its depth, scales attention by hidden / heads, the others by the size of a head.
    is_27b = layers == 62
    return {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": metadata.model("embedding_length") // metadata.model("attention.head_count")
        if is_27b
        else metadata.model("attention.key_length"),
        "sliding_window": metadata.model("attention.sliding_window"),
        "sliding_window_pattern": pattern,  # what mlx-lm reads; layer_types says the same to transformers
        "layer_types": [
            "full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(layers)
        ],
        "rope_theta": metadata.model("rope.freq_base", 1_000_000.0),
        "rope_local_base_freq": metadata.model("rope.freq_base_swa", 10_000.0),
    }


@dataclass(frozen=True)
class Architecture:
    config: Callable[[Metadata], Config]  # what config.json holds beyond _common_config
    layer: dict[str, tuple[str, tuple[str, ...]]]
    interleaves_heads: bool = False  # in each query and key head the two halves are stored row by row in turns
    adds_one_to_norms: bool = False  # the model multiplies by 1 + weight, and the GGUF stores the sum


ARCHITECTURES = {
    "llama": Architecture(_llama_config, LLAMA_LAYER, interleaves_heads=True),
    "gemma3": Architecture(_gemma3_config, GEMMA3_LAYER, adds_one_to_norms=True),
}


def _match(tensors: Tensors, architecture: Architecture, config: Config) -> dict[str, str]:
    """Hugging Face name -> GGUF name, of all tensors. Raises ``UserError`` listing all that do not fit."""
    from gguf import dequantize

    sizes = {
        "vocab": config["vocab_size"],
        "hidden": config["hidden_size"],
        "inner": config["intermediate_size"],
        "head": config["head_dim"],
        "queries": config["num_attention_heads"] * config["head_dim"],
        "keys": config["num_key_value_heads"] * config["head_dim"],
    }
    expected = {
        "token_embd.weight": ("model.embed_tokens.weight", ("vocab", "hidden")),
        "output_norm.weight": ("model.norm.weight", ("hidden",)),
    }
    if not config["tie_word_embeddings"]:
        expected["output.weight"] = ("lm_head.weight", ("vocab", "hidden"))
    for layer in range(config["num_hidden_layers"]):
        for name, (target, dimensions) in architecture.layer.items():
            expected[f"blk.{layer}.{name}.weight"] = (f"model.layers.{layer}.{target}.weight", dimensions)

    problems = [f"{name} is unknown" for name in tensors if name not in expected]
    for name, (_, dimensions) in expected.items():
        shape = tuple(sizes[dimension] for dimension in dimensions)
        if name not in tensors:
            problems.append(f"{name} is missing")
        elif _shape(tensors[name]) != shape:
            problems.append(f"{name} has the shape {_shape(tensors[name])} instead of {shape}")
        else:
            try:
                dequantize(tensors[name].data[:1], tensors[name].tensor_type)
            except NotImplementedError:
                problems.append(f"{name} is quantised as {tensors[name].tensor_type.name}, which is not supported")
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UserError(f"the GGUF does not fit its architecture: {'; '.join(problems[:4])}{more}")
    return {target: name for name, (target, _) in expected.items()}


def _shape(tensor: "ReaderTensor") -> tuple[int, ...]:
    return tuple(reversed(tensor.shape.tolist()))


def _write_safetensors(
    path: Path, tensors: Tensors, names: dict[str, str], architecture: Architecture, config: Config
) -> None:
    """Tensor after tensor, so that the memory is that of the largest: length of the header, header, data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for target, name in names.items():
        shape = _shape(tensors[name])
        start, end = end, end + 2 * math.prod(shape)
        header[target] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for target, name in names.items():
            is_norm = name.endswith("norm.weight")
            values = _bfloat16(tensors[name], subtract=int(architecture.adds_one_to_norms and is_norm))
            projection = target.split(".")[-2]
            if architecture.interleaves_heads and projection in heads:
                rows = values.reshape(heads[projection], -1, 2, values.shape[-1])
                values = rows.swapaxes(1, 2).reshape(values.shape)
            file.write(values.tobytes())


def _bfloat16(tensor: "ReaderTensor", subtract: int) -> "np.ndarray":
    """The bits of bfloat16, rounded to nearest even, of the shape of the tensor."""
    import numpy as np
    from gguf import dequantize

    blocks = []
    for start in range(0, len(tensor.data), ROWS_AT_ONCE):
        values = dequantize(tensor.data[start : start + ROWS_AT_ONCE], tensor.tensor_type) - np.float32(subtract)
        if not np.isfinite(values).all():
            raise UserError(f"{tensor.name} holds values that are not finite (the file is damaged)")
        bits = values.view(np.uint32)
        blocks.append(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2"))
    return np.concatenate(blocks)
