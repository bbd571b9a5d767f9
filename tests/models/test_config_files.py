"""How many positions a model has, from what its files say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from finetune.models.config_check import problems
from finetune.models.config_files import Positions, positions

YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}

CASES: dict[str, tuple[dict[str, Any], Positions | None]] = {
    "RoPE": ({"max_position_embeddings": 2048, "rope_theta": 1e4}, Positions(2048, table=False)),
    "its text part": ({"text_config": {"max_position_embeddings": 99}}, Positions(99, table=False)),
    "gpt2": ({"model_type": "gpt2", "n_positions": 1024}, Positions(1024, table=True)),
    "an older gpt2": ({"model_type": "gpt2", "n_ctx": 512}, Positions(512, table=True)),
    "gpt-j": ({"model_type": "gptj", "n_positions": 2048, "rotary_dim": 64}, Positions(2048, table=False)),
    "another name": ({"max_seq_len": 300}, Positions(300, table=False)),
    "yarn": ({"max_position_embeddings": 32768, "rope_scaling": YARN}, Positions(131072, table=False)),
    "yarn, included": ({"max_position_embeddings": 163840, "rope_scaling": YARN}, Positions(163840, table=False)),
    "yarn in the new form": (
        {"max_position_embeddings": 32768, "rope_parameters": {**YARN, "rope_type": "yarn", "rope_theta": 1e6}},
        Positions(131072, table=False),
    ),
    "llama3, included": (
        {
            "max_position_embeddings": 131072,
            "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "original_max_position_embeddings": 8192},
        },
        Positions(131072, table=False),
    ),
    "unknown": ({"model_type": "mamba"}, None),
    "nonsense": ({"max_position_embeddings": -1, "n_positions": "many", "n_ctx": True}, None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_positions_are_found_under_each_name(name: str, tmp_path: Path) -> None:
    config, wanted = CASES[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert positions(tmp_path) == wanted


@pytest.mark.parametrize(
    ("kind", "tensor", "count"),
    [
        ("gpt2", "transformer.wpe.weight", 64),
        ("gpt_bigcode", "wpe.weight", 64),
        ("opt", "model.decoder.embed_positions.weight", 62),
    ],
)
def test_a_table_in_the_weights_counts_more_than_what_config_says(
    kind: str, tensor: str, count: int, tmp_path: Path
) -> None:
    config = {"model_type": kind, "n_positions" if "gpt" in kind else "max_position_embeddings": 1024}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({tensor: np.zeros((64, 4), np.float32)}, tmp_path / "model.safetensors")
    assert positions(tmp_path) == Positions(count, table=True)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    assert positions(tmp_path) == Positions(1024, table=True)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"rope_parameters": [1]}, "rope_parameters in config.json is [1]"),
        ({"rope_parameters": {"rope_theta": "5e5"}}, "rope_theta of rope_parameters in config.json is '5e5'"),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 0}}},
            "rope_theta of rope_parameters in config.json is 0",
        ),
        ({"sliding_window_pattern": 0, "sliding_window": 8}, "sliding_window_pattern in config.json is 0"),
        ({"sliding_window_pattern": 0, "sliding_window": None}, None),  # as transformers writes it
        ({"sliding_window_pattern": "LLLG"}, None),
        ({"rope_theta": [1e4, 5e5]}, None),  # one for each layer
        ({"rope_parameters": {"full_attention": {"rope_theta": 5e5}, "sliding_attention": None}}, None),
        ({"rope_parameters": None}, None),
    ],
)
def test_values_that_no_model_can_have_are_told_from_those_of_another_form(
    config: dict[str, Any], problem: str | None
) -> None:
    assert list(problems({"model_type": "x", **config})) == ([] if problem is None else [problem])
