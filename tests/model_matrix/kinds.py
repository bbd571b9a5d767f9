"""Sizes of the tiny models of the matrix: by the name of a setting for all types, and what single types need besides.

A setting of one name means the same in nearly every architecture, so most types need no entry of their own.
"""

from typing import Any

LAYERS, HIDDEN, HEADS, HEAD = 4, 64, 4, 16
WINDOW = 8  # shorter than every row
THETA = 23456.0  # no architecture has it as its default: a file whose RoPE is not read computes something else
LOCAL_THETA = 3456.0

_BY_VALUE: list[tuple[Any, str]] = [
    (LAYERS, "num_hidden_layers num_layers n_layers n_layer num_transformer_layers"),
    (HIDDEN, "hidden_size hidden_dim d_model n_embd model_dim moe_hidden_size"),
    (
        128,
        "intermediate_size ffn_hidden_size n_inner ff_intermediate_size dense_intermediate_size intermediate_size_mlp"
        " mlp_hidden_size",
    ),
    (
        32,
        "moe_intermediate_size expert_ffn_hidden_size shared_expert_intermediate_size shared_intermediate_size"
        " moe_shared_expert_intermediate_size share_expert_dim kv_lora_rank q_lora_rank global_head_dim",
    ),
    (HEADS, "num_attention_heads n_heads n_head num_heads"),
    (
        2,
        "num_key_value_heads num_kv_heads n_kv_heads num_attention_groups swa_num_key_value_heads"
        " num_experts_per_tok num_experts_per_token moe_topk moe_top_k moe_k top_k_experts sliding_window_pattern"
        " index_n_heads linear_num_key_heads",
    ),
    (
        HEAD,
        "head_dim kv_channels hidden_size_per_head v_head_dim qk_nope_head_dim index_head_dim query_pre_attn_scalar"
        " linear_key_head_dim linear_value_head_dim swa_head_dim swa_v_head_dim state_size mamba_d_state ssm_state_size"
        " mamba_head_dim mamba_d_head hidden_size_per_layer_input",
    ),
    (1e-5, "rms_norm_eps norm_eps layer_norm_eps layer_norm_epsilon norm_epsilon layernorm_epsilon post_norm_eps"),
    (THETA, "rope_theta rotary_emb_base rope_embedding_base rope_freq_constant swa_rope_theta"),
    (LOCAL_THETA, "rope_local_base_freq rope_local_theta"),
    (512, "max_position_embeddings n_positions n_ctx block_size model_max_length"),
    (
        4,
        "num_experts n_routed_experts num_local_experts moe_num_experts swa_num_attention_heads conv_kernel mamba_d_conv"
        " linear_num_value_heads linear_conv_kernel_dim mamba_n_heads mamba_num_heads time_step_rank mamba_dt_rank",
    ),
    (
        1,
        "n_shared_experts num_shared_experts num_shared_expert moe_num_shared_experts n_group topk_group num_expert_group"
        " first_k_dense_replace num_dense_layers decoder_sparse_step moe_layer_freq n_groups mamba_n_groups",
    ),
    (
        WINDOW,
        "sliding_window attention_window_size window_size sliding_window_size attention_chunk_size loop_window_size"
        " qk_rope_head_dim rotary_dim index_topk",
    ),
    (0.5, "partial_rotary_factor rotary_pct"),
    (True, "norm_topk_prob use_qk_norm qk_norm use_conv_bias mamba_conv_bias"),
    (
        False,
        "attention_bias mlp_bias use_bias qkv_bias use_qkv_bias bias conv_bias tie_word_embeddings mamba_proj_bias"
        " rope_traditional post_norm use_expert_bias block_auto_adjust_ff_dim",
    ),
    (1.5, "routed_scaling_factor"),
    (3, "conv_L_cache"),
]
SIZES = {name: value for value, names in _BY_VALUE for name in names.split()}
# with a default of its own: taken from the architecture
KEPT = {
    "attention_bias",
    "mlp_bias",
    "use_bias",
    "qkv_bias",
    "use_qkv_bias",
    "bias",
    "tie_word_embeddings",
    "rope_traditional",
}

MIXED = ["sliding_attention", "full_attention"] * (LAYERS // 2)
HYBRID = ["linear_attention", "full_attention"] * (LAYERS // 2)
BOTH = {kind: {"rope_type": "default", "rope_theta": THETA} for kind in ("sliding_attention", "full_attention")}
LLAMA_4 = {
    "rope_type": "yarn",
    "rope_theta": THETA,
    "factor": 2.0,
    "original_max_position_embeddings": 64,
    "llama_4_scaling_beta": 0.1,
}
LONG = {"type": "longrope", "short_factor": [2.0] * 4, "long_factor": [2.0] * 4}
SHORT_TOO = {**LONG, "short_factor": [1.0] * 4, "original_max_position_embeddings": 64}
SCALED = {"mla_scale_q_lora": True, "mla_scale_kv_lora": True}
KDA = {"kda_layers": [1, 3], "full_attn_layers": [2, 4], "num_heads": 4, "head_dim": HEAD, "short_conv_kernel_size": 4}

# settings of single types
OWN: dict[str, dict[str, Any]] = {
    "Klear": {"mlp_only_layers": [0]},
    "afm7": {"num_kv_reuse_layers": 1, "hidden_dim_scale_factor": 2.0},
    "afmoe": {"layer_types": MIXED, "num_dense_layers": 1},
    "apertus": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "baichuan_m1": {"sliding_window_layers": [0, 2], "conv_window": 2},
    "bailing_hybrid": {"layer_group_size": 2, "group_norm_size": 2},
    "bailing_moe": {},
    "bailing_moe_linear": {"layer_group_size": 2, "group_norm_size": 2},
    "bailing_moe_v3": {"layer_group_size": 2, "n_group": 1, "topk_group": 1},
    "cohere2": {"sliding_window_pattern": 2},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": THETA},
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {
        "topk_method": "greedy",
        "rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64},
    },
    "deepseek_v32": {"index_n_heads": 16},  # with few heads tokens have the same score, 0, and either may be chosen
    "deepseek_v41": {
        "compress_ratios": [0, 2, 2, 2],
        "kv_source_layer_ids": [1],
        "index_source_layer_ids": [1],
        "o_groups": 2,
        "o_lora_rank": 16,
        "rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64},
    },
    "ernie4_5_moe": {"moe_num_shared_experts": 1},
    "exaone4": {
        "sliding_window_pattern": "LG",
        "layer_types": MIXED,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    },
    "exaone_moe": {"layer_types": MIXED, "is_moe_layer": [False, True, True, True]},
    "falcon_h1": {
        "mamba_d_ssm": 64,
        "mamba_d_head": 16,
        "mamba_n_heads": 4,
        "mamba_chunk_size": 8,
        "attention_in_multiplier": 1.0,
        "key_multiplier": 1.0,
    },
    "gear": {"layer_types": MIXED},
    "gemma3n": {
        "num_kv_shared_layers": 2,
        "layer_types": MIXED,
        "activation_sparsity_pattern": [0.9, 0.0, 0.0, 0.0],
        "altup_num_inputs": 2,
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "altup_active_idx": 0,
        "laurel_rank": 8,
        "final_logit_softcapping": 30.0,
    },
    "gemma4_text": {
        "num_kv_shared_layers": 2,
        "layer_types": MIXED,
        "rope_parameters": {
            "full_attention": {"rope_type": "proportional", "rope_theta": THETA, "partial_rotary_factor": 0.25},
            "sliding_attention": {"rope_type": "default", "rope_theta": LOCAL_THETA},
        },
    },
    "glm4_moe": {"rope_scaling": None},
    "glm_moe_dsa": {
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "index_n_heads": 16,
    },
    "gpt_neox": {"intermediate_size": 256},
    "gpt_oss": {
        "layer_types": MIXED,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 8.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": True,
            "original_max_position_embeddings": 64,
        },
    },
    "granite": {
        "logits_scaling": 2.0,
        "attention_multiplier": 0.25,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
    },
    "granitemoe": {
        "logits_scaling": 2.0,
        "attention_multiplier": 0.25,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
    },
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"] * (LAYERS // 2),
        "logits_scaling": 2.0,
        "attention_multiplier": 0.25,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
        "mamba_n_heads": 8,
        "mamba_d_head": 16,
    },
    "hunyuan": {
        "use_mixed_mlp_moe": True,
        "use_cla": True,
        "cla_share_factor": 2,
        "rope_scaling": {"alpha": 1000.0, "type": "dynamic", "factor": 1.0},
    },
    "hunyuan_v1_dense": {"rope_scaling": {"alpha": 1000.0, "type": "dynamic", "factor": 1.0}},
    "jamba": {
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
        "expert_layer_offset": 1,
        "expert_layer_period": 2,
        "mamba_expand": 2,
        "num_experts": 1,
    },
    "kimi_linear": {"linear_attn_config": KDA, "num_experts_per_token": 2},
    "kimi_k3": {"linear_attn_config": KDA, "attn_res_block_size": 2},
    "laguna": {"layer_types": MIXED, "rope_parameters": BOTH, "partial_rotary_factor": None},
    "lfm2": {
        "layer_types": ["conv", "full_attention"] * (LAYERS // 2),
        "block_dim": HIDDEN,
        "block_ff_dim": 128,
        "block_multiple_of": 16,
        "block_ffn_dim_multiplier": 1.0,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)},
    "llama": {"sliding_window": None},
    "llama4": {
        "interleave_moe_layer_step": 2,
        "attn_temperature_tuning": True,
        "num_experts_per_tok": 1,
        "rope_scaling": None,
    },
    "llama4_text": {"no_rope_layers": [1, 0, 1, 0]},
    "longcat_flash": {**SCALED, "attention_method": "MLA", "zero_expert_type": "identity", "zero_expert_num": 2},
    "longcat_flash_ngram": {
        **SCALED,
        "zero_expert_num": 2,
        "ngram_vocab_size_ratio": 4,
        "emb_neighbor_num": 3,
        "emb_split_num": 2,
    },
    "mamba": {"intermediate_size": 128, "time_step_rank": 4},
    "mamba2": {"num_heads": 8, "head_dim": 16, "time_step_limit": [0.0, 100.0], "time_step_rank": 4},
    "mellum": {"layer_types": MIXED, "rope_parameters": BOTH},
    "mimo_v2_flash": {
        "hybrid_layer_pattern": [0, 1, 0, 1],
        "moe_layer_freq": [0, 1, 1, 1],
        "add_swa_attention_sink_bias": True,
        "add_full_attention_sink_bias": False,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
    },
    "minicpm": {"dim_model_base": 32, "scale_depth": 1.4, "scale_emb": 2},
    "minicpm3": {
        "dim_model_base": 32,
        "scale_depth": 1.4,
        "scale_emb": 2,
        "rope_scaling": {**LONG, "original_max_position_embeddings": 64},
    },
    "minimax_m3_vl": {"moe_layer_freq": [0, 1, 1, 1]},
    "ministral3": {"sliding_window": None, "rope_parameters": LLAMA_4},
    "mistral4": {"rope_parameters": LLAMA_4},
    "muse_glimmer": {"layer_types": MIXED, "layer_rope_theta": [THETA, 0, THETA, 0]},
    "muse_spark": {
        "layer_types": MIXED,
        "layer_rope_theta": [THETA, 0, THETA, 0],
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "final_logit_softcapping": 20.0,
        "output_multiplier": 0.5,
        "num_shared_experts": 0,
    },
    "nemotron": {"hidden_act": "relu2"},
    "nemotron-nas": {
        "block_configs": [
            {
                "attention": {"n_heads_in_group": 2} if layer != 2 else {"no_op": True},
                "ffn": {"ffn_mult": 2.0} if layer != 1 else {"no_op": True},
            }
            for layer in range(LAYERS)
        ],
    },
    "nemotron_h": {
        "hybrid_override_pattern": "M*-E",
        "mamba_num_heads": 8,
        "moe_shared_expert_intermediate_size": 32,
        "time_step_limit": [0.0, 100.0],
    },
    "olmo3": {"rope_theta": 500_000.0},  # of its window layers transformers has it as a default
    "olmo_hybrid": {
        "layer_types": HYBRID,
        "linear_allow_neg_eigval": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
    },
    "openelm": {
        "num_query_heads": [4] * LAYERS,
        "num_kv_heads": [2] * LAYERS,
        "ffn_multipliers": [1.0, 1.5, 2.0, 2.0],
        "ffn_dim_divisor": 16,
    },
    "phi3small": {
        "vocab_size": 100_352,  # it names tokens of its own vocabulary
        "dense_attention_every_n_layers": 2,
        "gegelu_limit": 20.0,
        "blocksparse_block_size": 64,
    },
    "phimoe": {"attention_bias": True, "lm_head_bias": True},
    "phixtral": {"rotary_dim": 8},
    "plamo": {"n_shared_head": 2},
    "plamo2": {"mamba_num_heads": 4, "mamba_step": 2, "mamba_chunk_size": 8},
    "plamo3": {"sliding_window_pattern": 2, "window_size": WINDOW},
    "prism_hadamard_qwen35": {
        "schema_version": 1,
        "tensor_namespace": "mlx-lm-text",
        "quantization": {"bits": 2, "group_size": 128, "mode": "affine"},
        "modules": [{"path": "model.layers.1.self_attn.q_proj", "embedding": False, "dtype": "float16", "block": 0}],
    },
    "qwen3_moe": {"mlp_only_layers": [0]},
    "qwen3_next": {"mlp_only_layers": [], "full_attention_interval": 2},
    "qwen3_5": {
        "num_experts": 0,
        "full_attention_interval": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA, "partial_rotary_factor": 0.5},
    },
    "recurrent_gemma": {
        "rope_theta": 10_000.0,  # built in
        "conv1d_width": 4,
        "logits_soft_cap": 30.0,
        "block_types": ["recurrent", "recurrent", "attention"],
    },
    "rwkv7": {"a_low_rank_dim": 8, "v_low_rank_dim": 8, "gate_low_rank_dim": 8, "decay_low_rank_dim": 8},
    "spark2_5": {"layer_types": MIXED, "rope_parameters": BOTH},
    "step3p5": {"layer_types": MIXED, "num_attention_groups": 2},
}
# a text model that another type's file wraps, if the file has no settings of its own for it
INNER = {
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "kimi_k25": "deepseek_v3",
    "kimi_vl": "deepseek_v3",
    "lfm2-vl": "lfm2",
    "mistral3": "ministral3",
    "pixtral": "llama",
    "qwen2_vl": "qwen2",
    "qwen3_vl": "qwen3",
    "qwen3_vl_moe": "qwen3_moe",
    "qwen3_5_moe": "qwen3_5",
    "prism_hadamard_qwen35": "qwen3_5",
}
# the settings of one type, read from the class of another
BORROWED = {"smollm3": "llama"}
# quantisation, other precisions, other features of the same types
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama 4-bit": ("llama", {"quantize": {"bits": 4, "group_size": 32}}),
    "llama 8-bit": ("llama", {"quantize": {"bits": 8, "group_size": 32}}),
    "llama mixed": ("llama", {"quantize": {"bits": 4, "group_size": 32, "more": {"bits": 8, "group_size": 32}}}),
    "llama mxfp4": ("llama", {"quantize": {"bits": 4, "group_size": 32, "mode": "mxfp4"}}),
    "llama nvfp4": ("llama", {"quantize": {"bits": 4, "group_size": 16, "mode": "nvfp4"}}),
    "llama tied 4-bit": ("llama", {"quantize": {"bits": 4, "group_size": 32}, "tie_word_embeddings": True}),
    "llama tied, biases": ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama untied": ("llama", {"tie_word_embeddings": False}),
    "llama fp16": ("llama", {"dtype": "float16"}),
    "llama bf16, shards": ("llama", {"dtype": "bfloat16", "shards": 3}),
    "llama, Llama 3 RoPE": (
        "llama",
        {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "llama, window": ("llama", {"layer_types": MIXED, "sliding_window": WINDOW}),
    "qwen2 YaRN": (
        "qwen2",
        {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}},
    ),
    "phi3 LongRoPE": (
        "phi3",
        {
            "original_max_position_embeddings": 64,
            "rope_scaling": LONG,
        },
    ),
    "phi3 4-bit": ("phi3", {"quantize": {"bits": 4, "group_size": 32}}),
    "gemma2 4-bit": ("gemma2", {"quantize": {"bits": 4, "group_size": 32}}),
    "gemma3_text 4-bit": ("gemma3_text", {"quantize": {"bits": 4, "group_size": 32}}),
    "gemma4_text MoE": (
        "gemma4_text",
        {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32},
    ),
    "gemma4_text no shared layers": ("gemma4_text", {"num_kv_shared_layers": 0}),
    "qwen3_moe 4-bit": ("qwen3_moe", {"quantize": {"bits": 4, "group_size": 32}}),
    "deepseek_v3 4-bit": ("deepseek_v3", {"quantize": {"bits": 4, "group_size": 32}}),
    "gpt_oss mxfp4": ("gpt_oss", {"quantize": {"bits": 4, "group_size": 32, "mode": "mxfp4"}}),
    "mamba2 4-bit": ("mamba2", {"quantize": {"bits": 4, "group_size": 32}}),
    "qwen3_5 4-bit": ("qwen3_5", {"quantize": {"bits": 4, "group_size": 32}}),
    "jamba MoE": ("jamba", {"num_experts": 4}),
    "exaone untied": ("exaone", {"tie_word_embeddings": False}),
    "mistral3 of Llama": ("mistral3", {"inner": "llama"}),
}
# What mlx-lm alone computes otherwise, so that the reference cannot say what is right: of models that transformers saves.
SAVED: dict[str, dict[str, Any]] = {
    "falcon_h1": {"key_multiplier": 0.4},
    "gpt_oss": {"rope_scaling": {**OWN["gpt_oss"]["rope_scaling"], "truncate": False}},
    "minicpm3": {"rope_scaling": SHORT_TOO},
    "nemotron_h": {"time_step_min": 0.1},
    "mamba2": {"n_groups": 2},
    "granitemoehybrid": {"mamba_n_groups": 2},
    "phi3 LongRoPE": {"rope_scaling": SHORT_TOO},
}
# of the text model inside a wrapper, where it differs from that type alone
WITHIN: dict[str, dict[str, Any]] = {
    "qwen3_5_moe": {"num_experts": 4},
    "prism_hadamard_qwen35": {
        "hidden_size": 128,
        "num_attention_heads": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA, "partial_rotary_factor": 0.5},
    },
}
# what mlx-lm cannot import: only config.json is written, for the refusal
UNKNOWN: dict[str, dict[str, Any]] = {
    "olmo": {"d_model": HIDDEN, "n_layers": LAYERS, "n_heads": HEADS, "mlp_hidden_size": 128, "vocab_size": 320},
}
