"""A model folder computes the same in every form of config.json, or is refused by name; no code in it is run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
from finetune.backends import logits as compared
from finetune.backends.mlx import loading
from finetune.backends.mlx.model import load_network
from finetune.errors import UserError
from finetune.models import conversion

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}
EPS = {"rms_norm_eps": 1e-5}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
HEAD = {"head_dim": 8}
IDS = [[5, 17, 30, 42, 7, 7, 19, 23, 11, 4, 9, 31, 2, 2, 51, 6]]

# by name: the values that both forms have, those of the old form, and transformers 5's for the same
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "llama": ({"model_type": "llama", **EPS}, {"rope_theta": 5e5}, {"rope_parameters": {"rope_theta": 5e5}}),
    "llama3 scaling": (
        {"model_type": "llama", **EPS},
        {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}},
    ),
    "linear scaling": (
        {"model_type": "mistral", **EPS, "sliding_window": None},
        {"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e6, "factor": 4.0}},
    ),
    "part of a head": (
        {"model_type": "phi3", **EPS, "sliding_window": None},
        {"rope_theta": 20000.0, "partial_rotary_factor": 0.5},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 20000.0, "partial_rotary_factor": 0.5}},
    ),
    "other names": (
        {"model_type": "gpt_neox", "intermediate_size": 128, "layer_norm_eps": 1e-5, "tie_word_embeddings": False},
        {"rotary_emb_base": 20000, "rotary_pct": 0.5},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 20000, "partial_rotary_factor": 0.5}},
    ),
    "a theta for layers with a window": (
        {"model_type": "gemma3_text", **HEAD, "query_pre_attn_scalar": 8, "sliding_window": 4, "num_hidden_layers": 4},
        {"rope_theta": 3e5, "rope_local_base_freq": 700.0, "sliding_window_pattern": 3},
        {
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 3e5},
                "sliding_attention": {"rope_type": "default", "rope_theta": 700.0},
            },
        },
    ),
    "letters for windows": (
        {"model_type": "exaone4", **EPS, **HEAD, "sliding_window": 4, "rope_scaling": None},
        {"rope_theta": 1e6, "sliding_window_pattern": "LG"},
        {
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window_pattern": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
    ),
    "no default": (
        {"model_type": "qwen3_moe", **EPS, **HEAD, "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1}
        | {"mlp_only_layers": [], "moe_intermediate_size": 16, "norm_topk_prob": True, "tie_word_embeddings": False},
        {"rope_theta": 1e6},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    ),
}


def made(folder: Path, config: dict[str, Any], *, as_saved: bool = False) -> Path:
    """A folder with this config.json, and random weights large enough that attention looks at positions.

    ``as_saved``: gpt2 with the names, and the matrices the other way, that transformers saves.
    """
    from mlx.utils import tree_flatten

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    network = loading.load(folder, strict=False, quiet=True).network
    mx.random.seed(0)
    weights = {name: mx.random.normal(array.shape) * 0.3 for name, array in tree_flatten(network.parameters())}
    if as_saved:
        weights = {
            name.replace("model.", "transformer.", 1): array.T if array.ndim == 2 and ".c_" in name else array
            for name, array in weights.items()
        }
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    return folder


def logits(folder: Path) -> Any:
    return load_network(folder, mx.float32)(mx.array(IDS))


@pytest.mark.parametrize("name", FORMS)
def test_both_forms_of_config_compute_the_same_to_the_last_bit(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both, old, new = FORMS[name]
    folder = made(tmp_path / "model", {**SIZES, **both, **old})
    wanted = logits(folder)
    assert "otherwise" not in capsys.readouterr().err
    (folder / "config.json").write_text(json.dumps({**SIZES, **both, **new}))
    assert mx.array_equal(logits(folder), wanted)
    assert "mlx-lm alone reads config.json of model otherwise" in capsys.readouterr().err
    (folder / "config.json").write_text(json.dumps({**SIZES, **both, **new, "rope_parameters": None}))
    try:
        assert not mx.allclose(logits(folder), wanted, atol=1e-3)  # so the values matter
    except UserError:  # of a value without a default
        assert "rope" in name or name in ("no default", "letters for windows")


REFUSED = {
    "another activation": (
        "llama",
        {"hidden_act": "gelu"},
        "hidden_act is 'gelu', and mlx-lm's llama does not read it",
    ),
    "scaled RoPE that it does not know": (
        "qwen3_moe",
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}},
        "RoPE is scaled ('yarn'), and mlx-lm's qwen3_moe does not support that",
    ),
    "part of a head": (
        "starcoder2",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5}},
        "partial_rotary_factor is 0.5, and mlx-lm's starcoder2 does not read it",
    ),
    "windows without a period": (
        "gemma3_text",
        {"layer_types": ["full_attention", "sliding_attention"]},
        "layer_types is GL (L: with a window), and mlx-lm's gemma3_text knows one period",
    ),
    "part of a head, as all of the type have": (
        "glm",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        "partial_rotary_factor is 0.5, and mlx-lm's glm does not read it",
    ),
    "a value that has no default": (
        "glm_moe_dsa",
        {},
        "has no topk_method, scoring_func, moe_layer_freq, which mlx-lm's glm_moe_dsa needs (use --backend torch",
    ),
    "attention in both directions": (
        "gemma3_text",
        {"use_bidirectional_attention": True},
        "use_bidirectional_attention",
    ),
    "one expert whose weight is not normalised": (
        "glm_moe_dsa",
        {"topk_method": "noaux_tc", "scoring_func": "sigmoid", "moe_layer_freq": 1, "num_experts_per_tok": 1},
        "num_experts_per_tok is 1, and mlx-lm's glm_moe_dsa does not normalise its weight",
    ),
    "weights of experts that are made to sum to 1": ("jamba", {"num_experts": 4}, "mlx-lm's jamba makes the weights"),
    "a scaled head that is tied": ("minicpm3", {"dim_model_base": 16}, "mlx-lm's minicpm3 does not scale its logits"),
    "no RoPE where no layer has a window": (
        "exaone_moe",
        {"layer_types": ["full_attention"] * 2, "sliding_window": 4, "mlp_layer_types": ["dense", "sparse"]},
        "transformers then has no RoPE, and mlx-lm's exaone_moe has it",
    ),
    "scaled RoPE beside a theta that it reads": (
        "lfm2",
        {
            "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
            "layer_types": ["conv", "full_attention"],
        },
        "RoPE is scaled ('linear'), and mlx-lm's lfm2 does not support that",
    ),
    "pairs of dimensions side by side": (
        "glm4_moe_lite",
        {"rope_interleave": False, "topk_method": "noaux_tc", "n_group": 1, "topk_group": 1},
        "rope_interleave is False, and mlx-lm's glm4_moe_lite does not read it",
    ),
    "two thetas": (
        "dbrx",
        {
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
            "tie_word_embeddings": False,
            "d_model": 32,
            "n_layers": 2,
            "n_heads": 4,
            "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 2, "moe_top_k": 1},
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 5e5},
        },
        "rope_theta is 500000.0 in attn_config, which mlx-lm reads, and 10000.0 in rope_parameters, which transformers reads",
    ),
    "code of its own": ("llama", {"model_file": "evil.py"}, "asks to run code that comes with the model"),
    "a package that is missing": ("olmo", {}, "need a package that is not installed (use --backend torch"),
    "a type that transformers has": ("gptj_no", {}, "no models of type 'gptj_no'"),
    "a type that only transformers has": ("opt", {}, "no models of type 'opt'"),
    "no type but a module": ("cache", {}, "no models of type 'cache'"),
    "a path": ("../../x", {}, "no models of type '../../x'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_mlx_lm_would_compute_otherwise_is_refused_by_name(name: str, tmp_path: Path) -> None:
    kind, changed, said = REFUSED[name]
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "config.json").write_text(json.dumps({**SIZES, **EPS, **HEAD, "model_type": kind, **changed}))
    with pytest.raises(UserError) as caught:
        loading.load(tmp_path, strict=False)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_keys_that_do_not_change_what_is_computed_are_no_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {
        "architectures": ["LlamaForCausalLM"],
        "auto_map": {"AutoModel": "evil.Evil"},
        "unsloth_fixed": True,
        "_name_or_path": "somewhere",
        "attention_dropout": 0.1,
        "initializer_range": 0.5,
        "pretraining_tp": 4,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "bos_token_id": 99999,
        "hidden_act": "silu",
        "activation_function": "gelu",  # of another type: transformers does not read it either
        "qk_norm": True,
        "scoring_func": "sigmoid",
        "layer_norm_epsilon": 0.1,
        "task_specific_params": {"x": 1},
        "rope_theta": 10000.0,
    }
    (tmp_path / "config.json").write_text(json.dumps({**SIZES, **EPS, "model_type": "llama", **more}))
    assert loading.load(tmp_path, strict=False).differences == ()
    assert not capsys.readouterr().err


def test_what_transformers_does_not_understand_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**SIZES, **EPS, "model_type": "llama", "num_attention_heads": 5}))
    with pytest.raises(UserError):  # of 32 by 5
        loading.load(tmp_path)
    config = {**SIZES, **EPS, **HEAD, "model_type": "llama", "layer_types": ["full_attention", "mystery"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    notes = loading.load(tmp_path, strict=False).notes
    assert "transformers refuses this config.json" in notes[0] and "nothing of it could be compared" in notes[0]


def test_weights_with_transformers_prefix_are_loaded(tmp_path: Path) -> None:
    config = {"model_type": "gpt2", "n_ctx": 32, "n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 32}
    config |= {"layer_norm_epsilon": 1e-5, "vocab_size": 64}
    plain = made(tmp_path / "plain", config)
    prefixed = made(tmp_path / "prefixed", config, as_saved=True)
    assert mx.allclose(logits(plain), logits(prefixed), atol=1e-4)


def test_a_copy_for_mlx_lm_computes_the_same_there(tmp_path: Path) -> None:
    from mlx_lm.utils import load_model

    from finetune.commands.doctor.model import write_copy
    from finetune.models.find import ModelFolder

    both, _, new = FORMS["llama3 scaling"]
    folder = made(tmp_path / "model", {**SIZES, **both, **new})
    loaded = loading.load(folder, quiet=True)
    write_copy(ModelFolder(folder, "model", "folder", None), tmp_path / "copy", loaded.lifted)
    alone, _ = load_model(tmp_path / "copy")
    assert mx.array_equal(alone(mx.array(IDS)), logits(folder))
    assert loading.load(tmp_path / "copy", quiet=True).differences == ()
    shutil.rmtree(tmp_path / "copy")


def test_a_conversion_is_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = conversion.convert_once(
        "x.gguf", "a" * 64, tmp_path, lambda new: (new / "config.json").write_text("{}"), lambda line: None
    )
    monkeypatch.setattr(compared, "compare", lambda folder: compared.Agreement(None, "no PyTorch"))
    assert compared.after_conversion(folder).verdict == "not compared"
    monkeypatch.setattr(compared, "compare", lambda folder: compared.Agreement(4.0))
    assert compared.after_conversion(folder).verdict == "different"
    assert compared.after_conversion(folder) is None
    assert conversion.intact_folder(tmp_path, "x.gguf", "a" * 64, lambda line: None) == folder
    assert compared.after_conversion(tmp_path) is None  # no conversion
