"""How GGUF stores each architecture: its tensors, its metadata keys, and what llama.cpp's converter does to the weights.

One table, for reading and for writing. What is not in it is refused by name, because a model that loads but computes
something else is worse than none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

ELSEWHERE = "use the model's folder or its name on the Hub as --model"

# GGUF name -> Hugging Face name, and the shape in terms of Sizes. Those of a layer follow "blk.N." and "model.layers.N.".
Tensors = Mapping[str, tuple[str, tuple[str, ...]]]

OUTSIDE: Tensors = {
    "token_embd.weight": ("model.embed_tokens.weight", ("vocab", "hidden")),
    "output_norm.weight": ("model.norm.weight", ("hidden",)),
    "output.weight": ("lm_head.weight", ("vocab", "hidden")),  # only if it is not the embedding
}
# The order is that of the tensors in model.safetensors: another order would be another file with another hash.
_LLAMA: Tensors = {
    "attn_norm.weight": ("input_layernorm.weight", ("hidden",)),
    "attn_q.weight": ("self_attn.q_proj.weight", ("queries", "hidden")),
    "attn_k.weight": ("self_attn.k_proj.weight", ("keys", "hidden")),
    "attn_v.weight": ("self_attn.v_proj.weight", ("keys", "hidden")),
    "attn_output.weight": ("self_attn.o_proj.weight", ("hidden", "queries")),
    "ffn_norm.weight": ("post_attention_layernorm.weight", ("hidden",)),
    "ffn_gate.weight": ("mlp.gate_proj.weight", ("inner", "hidden")),
    "ffn_up.weight": ("mlp.up_proj.weight", ("inner", "hidden")),
    "ffn_down.weight": ("mlp.down_proj.weight", ("hidden", "inner")),
}
_QKV_BIAS: Tensors = {
    "attn_q.bias": ("self_attn.q_proj.bias", ("queries",)),
    "attn_k.bias": ("self_attn.k_proj.bias", ("keys",)),
    "attn_v.bias": ("self_attn.v_proj.bias", ("keys",)),
}
_QK_NORM: Tensors = {
    "attn_q_norm.weight": ("self_attn.q_norm.weight", ("head",)),
    "attn_k_norm.weight": ("self_attn.k_norm.weight", ("head",)),
}
_GEMMA3: Tensors = {
    **_LLAMA,
    **_QK_NORM,
    "post_attention_norm.weight": ("post_attention_layernorm.weight", ("hidden",)),
    "ffn_norm.weight": ("pre_feedforward_layernorm.weight", ("hidden",)),
    "post_ffw_norm.weight": ("post_feedforward_layernorm.weight", ("hidden",)),
}
_PHI3: Tensors = {
    "attn_norm.weight": _LLAMA["attn_norm.weight"],
    "attn_qkv.weight": ("self_attn.qkv_proj.weight", ("qkv", "hidden")),
    "attn_output.weight": _LLAMA["attn_output.weight"],
    "ffn_norm.weight": _LLAMA["ffn_norm.weight"],
    "ffn_up.weight": ("mlp.gate_up_proj.weight", ("gate_up", "hidden")),
    "ffn_down.weight": _LLAMA["ffn_down.weight"],
}
# All of a group or none; config.json says which under the group's name.
_LLAMA_BIASES: Mapping[str, Tensors] = {
    "attention_bias": {**_QKV_BIAS, "attn_output.bias": ("self_attn.o_proj.bias", ("hidden",))},
    "mlp_bias": {
        "ffn_gate.bias": ("mlp.gate_proj.bias", ("inner",)),
        "ffn_up.bias": ("mlp.up_proj.bias", ("inner",)),
        "ffn_down.bias": ("mlp.down_proj.bias", ("hidden",)),
    },
}

# Factors of the RoPE's wavelengths, one for each pair of a head's dimensions: part of config.json in Hugging Face's form.
ROPE_FACTORS = "rope_freqs.weight"
LONG_FACTORS, SHORT_FACTORS = "rope_factors_long.weight", "rope_factors_short.weight"

# Metadata keys that are read, behind the name of the architecture.
_KEYS = frozenset(
    ".block_count .context_length .embedding_length .feed_forward_length .attention.head_count .attention.head_count_kv"
    " .attention.key_length .attention.value_length .attention.layer_norm_rms_epsilon .rope.freq_base .rope.dimension_count"
    " .rope.scaling.type .rope.scaling.factor".split()
)
_YARN_KEYS = frozenset(
    ".rope.scaling.original_context_length .rope.scaling.yarn_beta_fast .rope.scaling.yarn_beta_slow".split()
)
# Keys that change nothing, with these values (or with any); every other unknown key is refused.
HARMLESS: Mapping[str, tuple[object, ...]] = {
    ".vocab_size": (),
    ".tensor_data_layout": (),
    ".rope.scaling.finetuned": (),
    ".rope.scale_linear": (0.0, 1.0),
    ".rope.scaling.attn_factor": (0.0, 1.0),
    ".rope.scaling.yarn_ext_factor": (-1.0, 1.0),
    ".rope.scaling.yarn_attn_factor": (1.0,),
    ".rope.scaling.yarn_log_multiplier": (0.0,),
    ".rope.scaling.original_context_length": (),  # where nothing is scaled by it
    ".attention.causal": (True,),
    ".attention.clamp_kqv": (0.0,),
    ".attention.max_alibi_bias": (0.0,),
    ".attn_logit_softcapping": (0.0,),
    ".final_logit_softcapping": (0.0,),
    ".logit_scale": (0.0, 1.0),
    ".expert_count": (0,),
    ".expert_used_count": (0,),
    ".leading_dense_block_count": (0,),
    ".use_parallel_residual": (False,),
}


@dataclass(frozen=True)
class Architecture:
    """One architecture. ``model_type`` and ``model_class`` are those of config.json, ``activation`` the key and its value.

    ``interleaves_heads``: the rows of the two halves of each query and key head alternate. ``adds_one_to_norms``: the model
    multiplies by 1 + weight, and the file holds the sum. ``scalings``: the kinds of scaled RoPE that mlx-lm's class computes.
    ``has_own_head_size``: a head may have another size than hidden / heads. ``theta`` is what the file may leave out.
    """

    model_type: str
    model_class: str
    layer: Tensors
    optional: Mapping[str, Tensors] = field(default_factory=dict)
    activation: tuple[str, str] = ("hidden_act", "silu")
    keys: frozenset[str] = _KEYS
    scalings: tuple[str, ...] = ("linear", "yarn")
    theta: float | None = None
    interleaves_heads: bool = False
    adds_one_to_norms: bool = False
    has_own_head_size: bool = True
    rotates_partly: bool = False


ARCHITECTURES = {
    "llama": Architecture(  # Mistral is stored as llama, and computes the same
        "llama",
        "LlamaForCausalLM",
        _LLAMA,
        _LLAMA_BIASES,
        keys=_KEYS | _YARN_KEYS,
        scalings=("linear", "yarn", "llama3"),
        theta=10_000.0,
        interleaves_heads=True,
    ),
    "smollm3": Architecture(
        "smollm3",
        "SmolLM3ForCausalLM",
        _LLAMA,
        _LLAMA_BIASES,
        keys=_KEYS | _YARN_KEYS,
        interleaves_heads=True,
    ),
    "qwen2": Architecture(
        "qwen2", "Qwen2ForCausalLM", {**_LLAMA, **_QKV_BIAS}, keys=_KEYS | _YARN_KEYS, has_own_head_size=False
    ),
    "qwen3": Architecture("qwen3", "Qwen3ForCausalLM", {**_LLAMA, **_QK_NORM}, keys=_KEYS | _YARN_KEYS),
    "gemma3": Architecture(
        "gemma3_text",
        "Gemma3ForCausalLM",
        _GEMMA3,
        activation=("hidden_activation", "gelu_pytorch_tanh"),
        keys=_KEYS
        | {".attention.sliding_window", ".attention.sliding_window_pattern", ".rope.freq_base_swa", ".attention.scale"},
        scalings=("linear",),
        theta=1_000_000.0,
        adds_one_to_norms=True,
    ),
    "phi3": Architecture(
        "phi3",
        "Phi3ForCausalLM",
        _PHI3,
        keys=_KEYS
        | {".attention.sliding_window", ".rope.scaling.attn_factor", ".rope.scaling.original_context_length"},
        scalings=("longrope",),
        has_own_head_size=False,
        rotates_partly=True,
    ),
}


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
        """The dimension by its name in the tables: queries and keys are those of all heads."""
        queries, keys = self.head * self.query_heads, self.head * self.key_heads
        joined = {"queries": queries, "keys": keys, "qkv": queries + 2 * keys, "gate_up": 2 * self.inner}
        return joined[name] if name in joined else int(getattr(self, name))
