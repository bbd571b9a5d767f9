"""Converts a GGUF file to a model folder: config.json, model.safetensors in bfloat16 and the tokenizer.

Supports the architectures in ``ARCHITECTURES`` with every quantisation that the ``gguf`` package can undo. Everything else is
refused by name, because a model that loads but computes something else is worse than none.
"""

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.errors import UserError, shortened
from finetune.models import gguf_file
from finetune.models.config_check import MOST
from finetune.models.foreign import AGAIN, foreign
from finetune.models.gguf_file import Metadata, Tensor
from finetune.models.gguf_tokenizer import write_tokenizer

if TYPE_CHECKING:
    import numpy as np

Config = dict[str, object]  # of config.json

# The tensors of one layer: GGUF name -> Hugging Face name, and the shape in terms of Sizes.
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
VALUES_AT_ONCE = 1 << 20  # are converted through float32 together: a whole embedding would take gigabytes


@dataclass(frozen=True)
class Sizes:
    """The dimensions of the model, counted in values; ``layers`` is the number of layers."""

    vocab: int
    hidden: int
    inner: int  # of the feed-forward layer
    head: int  # of one attention head
    query_heads: int
    key_heads: int
    layers: int
    tied: bool  # the output matrix is the embedding

    def __getitem__(self, name: str) -> int:
        """The dimension by its name in the tables of layers: queries and keys are those of all heads."""
        if name in ("queries", "keys"):
            return self.head * (self.query_heads if name == "queries" else self.key_heads)
        return int(getattr(self, name))


def convert(gguf: Path, folder: Path) -> None:
    """Convert the model in the file ``gguf`` into the existing ``folder``.

    UserError if the file is damaged or incomplete, or holds anything that is not supported; OSError if writing fails.
    """
    import numpy as np

    try:
        # numbers that are not finite are refused where they are written
        with foreign("not a GGUF file that can be read", AGAIN, writes=True), np.errstate(all="ignore"):
            metadata, tensors = _read(gguf)
            name = metadata.text("general.architecture")
            if name not in ARCHITECTURES:
                known = ", ".join(ARCHITECTURES)
                raise UserError(f"GGUF architecture {shortened(name)!r} is not supported (supported: {known})")
            architecture = ARCHITECTURES[name]
            sizes = _sizes(metadata, tensors)
            config = _common_config(metadata, sizes) | architecture.config(metadata)
            names = _match(tensors, architecture, sizes)
            config |= (ids := write_tokenizer(metadata, sizes.vocab, folder))
            _write_safetensors(folder / "model.safetensors", tensors, names, architecture, sizes)
    except UserError as error:
        raise UserError(f"{gguf}: {error}", error.exit_code) from None
    for file, values in {"config.json": config, "generation_config.json": ids}.items():
        (folder / file).write_text(json.dumps(values, indent=2) + "\n")


def _read(path: Path) -> tuple[Metadata, Mapping[str, Tensor]]:
    try:
        return gguf_file.read(path)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}") from None


def _sizes(metadata: Metadata, tensors: Mapping[str, Tensor]) -> Sizes:
    if "token_embd.weight" not in tensors:
        raise UserError("the GGUF has no tensor token_embd.weight (the file is incomplete: download it again)")
    hidden = metadata.integer(".embedding_length", most=MOST["hidden_size"])
    heads = metadata.integer(".attention.head_count", most=MOST["num_attention_heads"])
    return Sizes(
        vocab=tensors["token_embd.weight"].shape[0],
        hidden=hidden,
        inner=metadata.integer(".feed_forward_length", most=MOST["intermediate_size"]),
        head=metadata.integer(".attention.key_length", hidden // heads, most=MOST["head_dim"]),
        query_heads=heads,
        key_heads=metadata.integer(".attention.head_count_kv", heads, most=heads),
        layers=metadata.integer(".block_count", most=min(MOST["num_hidden_layers"], len(tensors))),
        tied="output.weight" not in tensors,
    )


def _common_config(metadata: Metadata, sizes: Sizes) -> Config:
    config: Config = {
        "dtype": "bfloat16",
        "vocab_size": sizes.vocab,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.inner,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.query_heads,
        "num_key_value_heads": sizes.key_heads,
        "head_dim": sizes.head,
        "max_position_embeddings": metadata.integer(".context_length"),
        "rms_norm_eps": metadata.real(".attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": sizes.tied,
    }
    scaling = metadata.text(".rope.scaling.type", "none")
    if scaling == "linear":
        config["rope_scaling"] = {"rope_type": "linear", "factor": metadata.real(".rope.scaling.factor")}
    elif scaling != "none":
        raise UserError(f"RoPE scaling {shortened(scaling)!r} is not supported (supported: linear)")
    if metadata.integer(".rope.dimension_count", sizes.head) != sizes.head or sizes.head % 2:
        raise UserError("RoPE on only a part of each head is not supported")
    return config


def _llama_config(metadata: Metadata) -> Config:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "rope_theta": metadata.real(".rope.freq_base", 10_000.0),
    }


def _gemma3_config(metadata: Metadata) -> Config:
    layers = metadata.integer(".block_count")
    pattern = metadata.integer(".attention.sliding_window_pattern", 6)
    # The 27B, known by its depth, scales attention by hidden / heads, the others by the size of a head.
    is_27b = layers == 62
    return {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": metadata.integer(".embedding_length") // metadata.integer(".attention.head_count")
        if is_27b
        else metadata.integer(".attention.key_length"),
        "sliding_window": metadata.integer(".attention.sliding_window"),
        "sliding_window_pattern": pattern,  # what mlx-lm reads; layer_types says the same to transformers
        "layer_types": [
            "full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(layers)
        ],
        "rope_theta": metadata.real(".rope.freq_base", 1_000_000.0),
        "rope_local_base_freq": metadata.real(".rope.freq_base_swa", 10_000.0),
    }


@dataclass(frozen=True)
class Architecture:
    """How GGUF stores one architecture: its own part of config.json, the tensors of a layer, and how they differ.

    ``interleaves_heads``: the rows of the two halves of each query and key head alternate. ``adds_one_to_norms``: the model
    multiplies by 1 + weight, and the file holds the sum.
    """

    config: Callable[[Metadata], Config]
    layer: Mapping[str, tuple[str, tuple[str, ...]]]
    interleaves_heads: bool = False
    adds_one_to_norms: bool = False


ARCHITECTURES = {
    "llama": Architecture(_llama_config, LLAMA_LAYER, interleaves_heads=True),
    "gemma3": Architecture(_gemma3_config, GEMMA3_LAYER, adds_one_to_norms=True),
}


def _match(tensors: Mapping[str, Tensor], architecture: Architecture, sizes: Sizes) -> dict[str, str]:
    """The GGUF name of every tensor, by its Hugging Face name. UserError that lists all tensors that do not fit."""
    from gguf import dequantize

    expected = {
        "token_embd.weight": ("model.embed_tokens.weight", ("vocab", "hidden")),
        "output_norm.weight": ("model.norm.weight", ("hidden",)),
    }
    if not sizes.tied:
        expected["output.weight"] = ("lm_head.weight", ("vocab", "hidden"))
    for layer in range(sizes.layers):
        for name, (target, dimensions) in architecture.layer.items():
            expected[f"blk.{layer}.{name}.weight"] = (f"model.layers.{layer}.{target}.weight", dimensions)

    problems = [f"{shortened(name)} is unknown" for name in tensors if name not in expected]
    for name, (_, dimensions) in expected.items():
        shape = tuple(sizes[dimension] for dimension in dimensions)
        if name not in tensors:
            problems.append(f"{name} is missing")
        elif tensors[name].shape != shape:
            problems.append(f"{name} has the shape {tensors[name].shape} instead of {shape}")
        else:
            try:
                dequantize(tensors[name].data[:1], tensors[name].kind)
            except NotImplementedError:
                problems.append(f"{name} is quantised as {tensors[name].kind.name}, which is not supported")
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UserError(f"the GGUF does not fit its architecture: {'; '.join(problems[:4])}{more}")
    return {target: name for name, (target, _) in expected.items()}


def _write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], names: Mapping[str, str], architecture: Architecture, sizes: Sizes
) -> None:
    """Write the length of the header, the header and the data, some rows of one tensor after the other to save memory."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for target, name in names.items():
        shape = tensors[name].shape
        start, end = end, end + 2 * math.prod(shape)
        header[target] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for target, name in names.items():
            is_norm = name.endswith("norm.weight")
            is_interleaved = architecture.interleaves_heads and target.split(".")[-2] in ("q_proj", "k_proj")
            for values in _bfloat16(
                tensors[name],
                subtract=int(architecture.adds_one_to_norms and is_norm),
                head=sizes.head if is_interleaved else 1,
            ):
                file.write(values.tobytes())


def _bfloat16(tensor: Tensor, subtract: int, head: int) -> "Iterator[np.ndarray]":
    """The tensor's values as the bits of bfloat16, rounded to nearest even: uint16[some rows, row] at a time.

    The two halves of the rows of each head, which alternate, come one after the other, unless ``head`` is 1.
    """
    import numpy as np
    from gguf import dequantize

    rows = head * max(1, VALUES_AT_ONCE // (head * tensor.shape[-1]))
    for start in range(0, len(tensor.data), rows):
        values = dequantize(tensor.data[start : start + rows], tensor.kind) - np.float32(subtract)
        if not np.isfinite(values).all():
            raise UserError(f"{tensor.name} holds values that are not finite (the file is damaged)")
        bits = values.view(np.uint32)
        found = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
        yield found if head == 1 else found.reshape(-1, head // 2, 2, found.shape[-1]).swapaxes(1, 2)
