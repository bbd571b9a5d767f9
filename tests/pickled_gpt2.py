"""A tiny GPT-2 as such models were published before safetensors: pickles, with all that today's loaders trip over."""

import json
from pathlib import Path
from typing import Any

HIDDEN, LAYERS, CONTEXT = 32, 2, 64
CONFIG = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": HIDDEN, "n_layer": LAYERS, "n_head": 4}
CONFIG |= {"n_ctx": CONTEXT, "n_positions": CONTEXT, "layer_norm_epsilon": 1e-5, "bos_token_id": 0, "eos_token_id": 0}


def write_gpt2(folder: Path, vocabulary: int = 100, shards: int = 1, **how: Any) -> Any:
    """Writes config.json and pytorch_model.bin, or ``shards`` and their index; returns the model of transformers.

    ``how`` goes to torch.save.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**CONFIG, vocab_size=vocabulary)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = dict(model.state_dict())  # lm_head.weight is the memory of wte.weight
    for layer in range(LAYERS):
        block = f"transformer.h.{layer}.attn"
        state[f"{block}.bias"] = torch.ones(CONTEXT, CONTEXT, dtype=torch.uint8).tril().view(1, 1, CONTEXT, CONTEXT)
        state[f"{block}.masked_bias"] = torch.tensor(-1e4)
    first = state["transformer.h.0.mlp.c_fc.weight"]
    state["transformer.h.0.mlp.c_fc.weight"] = first.t().contiguous().t()  # the same numbers, column after column
    norms = torch.stack([state["transformer.h.0.ln_1.weight"], state["transformer.h.0.ln_2.weight"]])
    state["transformer.h.0.ln_1.weight"], state["transformer.h.0.ln_2.weight"] = norms  # two views of one memory

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": vocabulary}))
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin", **how)
        return model
    state["lm_head.weight"] = state["lm_head.weight"].clone()  # in a file of its own it cannot share memory
    places = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = {name: tensor for place, (name, tensor) in enumerate(state.items()) if place % shards == number}
        torch.save(part, folder / file, **how)
        places |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return model
