"""Prints how far MLX's logits are from transformers' for tiny models that transformers itself saves, type by type.

python benchmarks/config_forms.py                all types that both libraries have
python benchmarks/config_forms.py llama phi3     these
python benchmarks/config_forms.py --alone        what mlx-lm alone computes, without what this project lifts
python benchmarks/config_forms.py --builtin NEW  the builtin model, saved again by transformers into the folder NEW

The weights are random, and large enough that attention looks at positions: another RoPE shows. Needs PyTorch.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

SMALL: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "moe_intermediate_size": 32,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "shared_expert_intermediate_size": 32,
    "shared_intermediate_size": 32,
    "n_embd": 64,
    "n_layer": 4,
    "n_head": 4,
    "n_positions": 512,
    "rotary_dim": 8,
    "sliding_window": 8,
    "q_lora_rank": 32,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "mlp_only_layers": [],
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "mamba_d_ssm": 64,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 16,
    "mamba_chunk_size": 16,
    "mamba_n_groups": 1,
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "ssm_state_size": 16,
    "state_size": 16,
    "num_heads": 8,
    "time_step_rank": 4,
    "lru_width": 64,
    "query_pre_attn_scalar": 16,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 128}


def _theta(value: float, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": value, **more}}


# type, and what differs from its usual values: another RoPE than the one that mlx-lm would take by itself
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _theta(500000.0)),
    "llama, llama3 scaling": ("llama", {"rope_parameters": _LLAMA3}),
    "llama, yarn": ("llama", {"rope_parameters": _YARN}),
    "llama, linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e5, "factor": 4.0}}),
    "mistral": ("mistral", {**_theta(1e6), "sliding_window": None}),
    "qwen2": ("qwen2", _theta(10000.0)),
    "phi3, partial (Phi-4-mini)": ("phi3", {**_theta(10000.0, partial_rotary_factor=0.75), "sliding_window": None}),
    "smollm3": ("smollm3", _theta(5e6)),
    "olmo2": ("olmo2", _theta(500000.0)),
    "seed_oss": ("seed_oss", _theta(1e7)),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", _theta(50000.0)),
    "phi": ("phi", _theta(10000.0, partial_rotary_factor=0.5)),
    "starcoder2": ("starcoder2", {**_theta(999999.0), "sliding_window": None}),
    "cohere": ("cohere", _theta(10000.0)),
    "cohere2": ("cohere2", _theta(10000.0)),
    "gemma": ("gemma", _theta(50000.0)),
    "gemma2": ("gemma2", {**_theta(50000.0), "sliding_window": 4096}),
    "nemotron": ("nemotron", _theta(50000.0, partial_rotary_factor=0.5)),
    "gpt_neox": ("gpt_neox", {**_theta(20000.0, partial_rotary_factor=0.25), "intermediate_size": 256}),
    "stablelm": ("stablelm", _theta(20000.0, partial_rotary_factor=0.25)),
    "granite": ("granite", _theta(1e6)),
    "helium": ("helium", _theta(1e5)),
    "glm": ("glm", _theta(20000.0, partial_rotary_factor=0.5)),
    "glm4": ("glm4", _theta(20000.0, partial_rotary_factor=0.5)),
    "ernie4_5": ("ernie4_5", _theta(5e5)),
    "apertus": ("apertus", {"rope_parameters": {**_LLAMA3, "rope_theta": 12e6}}),
    "qwen3": ("qwen3", _theta(1e6)),
    "qwen3_moe": ("qwen3_moe", _theta(1e6)),
    "mixtral": ("mixtral", {**_theta(5e5), "sliding_window": None}),
    "phi3": ("phi3", {**_theta(50000.0), "sliding_window": None}),
    "ministral3": ("ministral3", {"sliding_window": None}),
    "gemma3_text": ("gemma3_text", {"num_hidden_layers": 6}),
    "gemma3": ("gemma3", {"num_hidden_layers": 6}),
    "lfm2": ("lfm2", {**_theta(5e5), "layer_types": ["conv", "conv", "full_attention", "conv"]}),
    "falcon_h1": ("falcon_h1", _theta(1e11)),
}


def small(kind: str, changed: dict[str, Any]) -> Any:
    """transformers' config of this type with small sizes; what the type does not have is left out."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    transformers.utils.logging.set_verbosity_error()
    cls = CONFIG_MAPPING[kind]
    transformers.utils.logging.disable_progress_bar()
    usual = cls()
    inner = usual.get_text_config()
    if inner is not usual:
        return cls(text_config={**_sizes(inner), **changed})
    return cls(**{**_sizes(usual), **changed})


def _sizes(usual: Any) -> dict[str, Any]:
    names = {**vars(usual), **dict.fromkeys(usual.attribute_map)}
    return {name: value for name, value in SMALL.items() if name in names}


def save(kind: str, changed: dict[str, Any], folder: Path) -> None:
    """A tiny random model, saved as transformers saves it."""
    import torch
    import transformers

    torch.manual_seed(3)
    config = small(kind, changed)
    network = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if tensor.dim() >= 2:
                scale = 2.0 if any(word in name for word in ("q_proj", "k_proj", "qkv", "c_attn", "query")) else 1.0
                tensor.normal_(0, scale * tensor.shape[-1] ** -0.5)
            elif tensor.dim() == 1 and tensor.numel() > 1:
                tensor.add_(0.05 * torch.randn_like(tensor))
    network.save_pretrained(folder)


def save_builtin(folder: Path) -> None:
    """The builtin model as transformers 5 writes it."""
    import transformers

    from finetune.models.find import find_model

    source = find_model("builtin", print).path
    transformers.AutoModelForCausalLM.from_pretrained(source, dtype="auto").save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(folder)


IDS = [[5, 17, 300, 42, 7, 7, 199, 23, 11, 4, 90, 31, 2, 2, 511, 6, 77, 301, 44, 8, 9, 10, 400, 401]]


def torch_logits(folder: Path) -> Any:
    import torch
    import transformers

    network = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        return network(input_ids=torch.tensor(IDS)).logits[0].numpy()


def mlx_logits(folder: Path, *, alone: bool) -> Any:
    from finetune.backends.logits import mlx_logits
    from finetune.backends.mlx.model import load_network
    from finetune.backends.mlx.runtime import mx

    if not alone:
        network = load_network(folder, mx.float32)
    else:
        from mlx_lm.utils import load_model

        network, _ = load_model(folder)
    network.eval()
    return mlx_logits(network, IDS)


def types() -> list[str]:
    """The types that both libraries have."""
    import mlx_lm
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    own = {path.stem for path in (Path(mlx_lm.__path__[0]) / "models").glob("*.py")}
    return sorted(own & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) & set(CONFIG_MAPPING))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--keep", type=Path, help="keep the models in this folder")
    parser.add_argument("--builtin", type=Path)
    asked = parser.parse_args()
    if asked.builtin:
        save_builtin(asked.builtin)
        return
    import finetune.backends.mlx.runtime  # noqa: F401  before PyTorch, as in convert-adapter
    from finetune.backends.logits import largest
    from finetune.errors import UserError
    from finetune.models.foreign import foreign

    rows = {**VARIANTS, **{kind: (kind, {}) for kind in types() if kind not in VARIANTS}}
    for name, (kind, changed) in rows.items():
        if asked.types and kind not in asked.types and name not in asked.types:
            continue
        with tempfile.TemporaryDirectory() as work:
            folder = Path(asked.keep or work) / name.replace(" ", "_")
            try:
                with foreign("not made"):
                    save(kind, changed, folder)
                with foreign("not computed"):
                    found = f"{largest(mlx_logits(folder, alone=asked.alone), torch_logits(folder)):.1e}"
            except UserError as error:
                found = str(error)[:260]
            print(f"{name:28} {found}", flush=True)


if __name__ == "__main__":
    main()
