"""Converts a GGUF file to a model folder: config.json, model.safetensors in bfloat16 and the tokenizer.

Supports the architectures in ``gguf_layout`` with every quantisation that the ``gguf`` package can undo. Everything else is
refused by name, because a model that loads but computes something else is worse than none.
"""

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.errors import UserError, shortened
from finetune.models import gguf_file
from finetune.models.config_check import MOST
from finetune.models.foreign import AGAIN, foreign
from finetune.models.gguf_file import Metadata, Tensor
from finetune.models.gguf_layout import (
    ARCHITECTURES,
    ELSEWHERE,
    HARMLESS,
    LONG_FACTORS,
    OUTSIDE,
    ROPE_FACTORS,
    SHORT_FACTORS,
    Architecture,
    Sizes,
    Tensors,
)
from finetune.models.gguf_rope import Config, rope_config
from finetune.models.gguf_tokenizer import write_tokenizer

if TYPE_CHECKING:
    import numpy as np

VALUES_AT_ONCE = 1 << 20  # are converted through float32 together: a whole embedding would take gigabytes


def convert(gguf: Path, folder: Path, say: Callable[[str], None] = lambda line: None) -> None:
    """Convert the model in the file ``gguf`` into the existing ``folder``. ``say`` gets what of the file is not read.

    UserError if the file is damaged or incomplete, or holds anything that is not supported; OSError if writing fails.
    """
    import numpy as np

    try:
        # numbers that are not finite are refused where they are written
        with foreign("not a GGUF file that can be read", AGAIN, writes=True), np.errstate(all="ignore"):
            metadata, tensors = _read(gguf)
            architecture = _architecture(metadata)
            sizes = _sizes(metadata, tensors, architecture)
            config = _config(metadata, architecture, sizes)
            config |= rope_config(metadata, tensors, architecture, sizes)
            if "gemma3" in architecture.model_type:
                config["rope_local_base_freq"] = metadata.real(".rope.freq_base_swa", 10_000.0)
            layer, flags = _layer(tensors, architecture)
            names = _match(tensors, architecture, layer, sizes)
            config |= (ids := write_tokenizer(metadata, sizes.vocab, folder, say))
            config |= flags
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


def _architecture(metadata: Metadata) -> Architecture:
    """UserError for another architecture, for a file that is no whole model, and for a key that nobody here reads."""
    if (kind := metadata.text("general.type", "model")) != "model":
        raise UserError(f"a GGUF of type {shortened(kind)!r}, not a model (use the GGUF of the whole model as --model)")
    if (parts := metadata.integer("split.count", 1, least=0)) > 1:
        raise UserError(f"one of {parts} parts of a GGUF (join them: llama-gguf-split --merge FIRST-PART OUTPUT)")
    name = metadata.text("general.architecture")
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"GGUF architecture {shortened(name)!r} is not supported (supported: {known}; or {ELSEWHERE})")
    architecture = ARCHITECTURES[name]
    unknown = [
        metadata.name(key)
        for key in metadata
        if key.startswith(".")
        and key not in architecture.keys
        and not (key in HARMLESS and (not HARMLESS[key] or metadata.is_one_of(key, HARMLESS[key])))
    ]
    if unknown:
        more = f" and {len(unknown) - 4} more" if len(unknown) > 4 else ""
        raise UserError(
            f"the GGUF has settings that are not supported: {', '.join(map(shortened, unknown[:4]))}{more}"
            f" (without them the model would compute something else: {ELSEWHERE})"
        )
    return architecture


def _sizes(metadata: Metadata, tensors: Mapping[str, Tensor], architecture: Architecture) -> Sizes:
    if "token_embd.weight" not in tensors:
        raise UserError("the GGUF has no tensor token_embd.weight (the file is incomplete: download it again)")
    hidden = metadata.integer(".embedding_length", most=MOST["hidden_size"])
    heads = metadata.integer(".attention.head_count", most=MOST["num_attention_heads"])
    head = metadata.integer(".attention.key_length", max(hidden // heads, 1), most=MOST["head_dim"])
    if (value := metadata.integer(".attention.value_length", head)) != head:
        raise UserError(f"keys of {head} and values of {value} numbers a head are not supported ({ELSEWHERE})")
    if not architecture.has_own_head_size and head * heads != hidden:
        raise UserError(
            f"{heads} heads of {head} numbers for a hidden size of {hidden} are not supported for"
            f" {architecture.model_type} ({ELSEWHERE})"
        )
    return Sizes(
        vocab=tensors["token_embd.weight"].shape[0],
        hidden=hidden,
        inner=metadata.integer(".feed_forward_length", most=MOST["intermediate_size"]),
        head=head,
        query_heads=heads,
        key_heads=metadata.integer(".attention.head_count_kv", heads, most=heads),
        layers=metadata.integer(".block_count", most=min(MOST["num_hidden_layers"], len(tensors))),
        tied="output.weight" not in tensors,
    )


def _config(metadata: Metadata, architecture: Architecture, sizes: Sizes) -> Config:
    activation, function = architecture.activation
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
        "model_type": architecture.model_type,
        "architectures": [architecture.model_class],
        activation: function,
    }
    if architecture.model_type == "gemma3_text":
        config |= _gemma3_config(metadata, sizes)
    elif architecture.model_type == "smollm3":  # llama.cpp has the same rule, and no key for it
        config["no_rope_layer_interval"] = 4
        config["no_rope_layers"] = [int((layer + 1) % 4 != 0) for layer in range(sizes.layers)]
    elif architecture.model_type == "phi3":
        config["sliding_window"] = metadata.integer(".attention.sliding_window", 0, least=0) or None
    if architecture.model_type in ("smollm3", "phi3"):
        config["pad_token_id"] = None  # instead of the one of the real model, which transformers puts in
    return config


def _gemma3_config(metadata: Metadata, sizes: Sizes) -> Config:
    pattern = metadata.integer(".attention.sliding_window_pattern", 6)
    # The 27B, known by its depth, scales attention by hidden / heads, the others by the size of a head.
    scalar = sizes.hidden // sizes.query_heads if sizes.layers == 62 else sizes.head
    scale = metadata.real(".attention.scale", scalar**-0.5)
    if not math.isclose(scale, scalar**-0.5, rel_tol=1e-5):
        raise UserError(
            f"gemma3.attention.scale in the GGUF is {scale:g} instead of {scalar**-0.5:g}: not supported ({ELSEWHERE})"
        )
    return {
        "query_pre_attn_scalar": scalar,
        "sliding_window": metadata.integer(".attention.sliding_window"),
        "sliding_window_pattern": pattern,  # what mlx-lm reads; layer_types says the same to transformers
        "layer_types": [
            "full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(sizes.layers)
        ],
    }


def _layer(tensors: Mapping[str, Tensor], architecture: Architecture) -> tuple[Tensors, dict[str, bool]]:
    """The tensors of a layer of this file, and what config.json says of those that not every model has."""
    layer, flags = dict(architecture.layer), {}
    for flag, group in architecture.optional.items():
        if any(f"blk.0.{name}" in tensors for name in group):
            layer |= group
            flags[flag] = True
    return layer, flags


def _match(tensors: Mapping[str, Tensor], architecture: Architecture, layer: Tensors, sizes: Sizes) -> dict[str, str]:
    """The GGUF name of every tensor, by its Hugging Face name. UserError that lists all tensors that do not fit."""
    from gguf import dequantize

    expected = dict(OUTSIDE)
    if sizes.tied:
        del expected["output.weight"]
    for index in range(sizes.layers):
        for name, (target, dimensions) in layer.items():
            expected[f"blk.{index}.{name}"] = (f"model.layers.{index}.{target}", dimensions)
    read = {"llama3": (ROPE_FACTORS,), "longrope": (LONG_FACTORS, SHORT_FACTORS)}  # by rope_config
    others = {name for scaling in architecture.scalings for name in read.get(scaling, ())}

    problems = [f"{shortened(name)} is unknown" for name in tensors if name not in expected.keys() | others]
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
        raise UserError(
            f"the GGUF does not fit its architecture: {'; '.join(problems[:4])}{more} (convert it again, or {ELSEWHERE})"
        )
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

    width = tensor.shape[-1] if len(tensor.shape) > 1 else 1  # the rows of a bias are its numbers
    rows = head * max(1, VALUES_AT_ONCE // (head * tensor.shape[-1]))
    for start in range(0, len(tensor.data), rows):
        values = dequantize(tensor.data[start : start + rows], tensor.kind) - np.float32(subtract)
        if not np.isfinite(values).all():
            raise UserError(f"{tensor.name} holds values that are not finite (the file is damaged)")
        bits = values.view(np.uint32)
        found = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
        yield found if head == 1 else found.reshape(-1, head // 2, 2, width).swapaxes(1, 2)
