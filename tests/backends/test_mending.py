"""What mlx-lm leaves out of a model, or computes otherwise than transformers, is set right after loading, and told."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
from finetune.backends.mlx import loading, mending
from finetune.backends.mlx.decoding import Decoder
from finetune.backends.mlx.model import load_network
from finetune.errors import UserError
from model_matrix import builders
from model_matrix.product import PROBE

SHORT, LONG = [1.0, 1.0, 1.0, 1.0], [2.0, 3.0, 4.0, 5.0]
ORIGINAL = 12  # tokens, fewer than those of PROBE


def changed(folder: Path, **values: Any) -> Path:
    """The same model with other values in config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


def logits(folder: Path, count: int = 20) -> Any:
    return load_network(folder, mx.float32)(mx.array(PROBE)[:, :count])


def test_short_texts_have_the_factors_for_short_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scaling = {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}
    kinds = {"partial_rotary_factor": 0.5, "original_max_position_embeddings": ORIGINAL}
    folder = builders.build("phi3", tmp_path / "model", rope_scaling=scaling, **kinds)
    short, long = logits(folder, ORIGINAL), logits(folder)
    assert "texts of up to 12 tokens have the others" in capsys.readouterr().err
    alone = {"type": "longrope", "short_factor": LONG, "long_factor": LONG}
    assert mx.allclose(long, logits(changed(folder, rope_scaling=alone)), atol=1e-5)
    assert not mx.allclose(short, logits(folder, ORIGINAL), atol=1e-2)
    alone = {"type": "longrope", "short_factor": SHORT, "long_factor": SHORT}
    assert mx.allclose(short, logits(changed(folder, rope_scaling=alone), ORIGINAL), atol=1e-5)
    assert "have the others" not in capsys.readouterr().err


@pytest.mark.parametrize(("most", "factors"), [(2, SHORT), (8, LONG)])
def test_an_answer_has_the_factors_of_its_whole_text(most: int, factors: list[float], tmp_path: Path) -> None:
    """Prompts of several lengths, read piece by piece: none is computed with the factors of both."""
    scaling = {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}
    kinds = {"partial_rotary_factor": 0.5, "original_max_position_embeddings": ORIGINAL}
    folder = builders.build("phi3", tmp_path / "model", rope_scaling=scaling, **kinds)
    prompts = [PROBE[0][:10], PROBE[0][3:9]]
    mended = load_network(folder, mx.float32)
    alike = {"type": "longrope", "short_factor": factors, "long_factor": factors}
    plain = load_network(changed(folder, rope_scaling=alike), mx.float32)
    answers = [
        {one.index: one.tokens for one in Decoder(network, frozenset(), most).run(prompts)}
        for network in (mended, plain)
    ]
    assert answers[0] == answers[1]
    assert mending.has_long_rope(mended) and not mending.has_long_rope(plain)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, 0.1 * math.log(4) + 1),
        ({"attention_factor": 1.5}, 1.5),
        ({"mscale": 0.7}, 0.1 * math.log(4) + 1),  # alone it does not count
        ({"mscale_all_dim": 0.7}, 0.1 * math.log(4) + 1),
        ({"mscale": 0.5, "mscale_all_dim": 0.9}, (0.05 * math.log(4) + 1) / (0.09 * math.log(4) + 1)),
        ({"attention_factor": 1.5, "mscale_all_dim": 0.7}, 1.5),
    ],
)
@pytest.mark.parametrize("form", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])  # which is given rope_parameters, and which reads them
def test_attention_has_the_factor_of_yarn(
    given: dict[str, float], wanted: float, form: str, kind: str, tmp_path: Path
) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, **given}
    values = {form: {**scaling, "rope_theta": 1e4}, "max_position_embeddings": 256}
    (tmp_path / "config.json").write_text(json.dumps({**builders.config_of(kind)[0], **values}))
    network = loading.load(tmp_path, strict=False, quiet=True).network
    assert network.layers[0].self_attn.rope.mscale == pytest.approx(wanted)


def test_yarn_is_exact_if_it_is_not_to_be_rounded(tmp_path: Path) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512, "rope_theta": 1e4}
    config = builders.config_of("llama", head_dim=32, max_position_embeddings=2048)[0]
    found = []
    for more in ({"truncate": False}, {}):
        (tmp_path / "config.json").write_text(json.dumps({**config, "rope_parameters": {**scaling, **more}}))
        loaded = loading.load(tmp_path, strict=False, quiet=True)
        found.append(loaded.network.layers[0].self_attn.rope._freqs.tolist())
        assert bool(more) == any("rounds the range" in clause for clause in loaded.mended)
    low, high = (32 * math.log(512 / (turns * 2 * math.pi)) / (2 * math.log(1e4)) for turns in (32, 1))
    for pair, (exact, rounded) in enumerate(zip(*found, strict=True)):
        for wave, begin, end in ((exact, low, high), (rounded, math.floor(low), math.ceil(high))):
            share = min(max((pair - max(begin, 0)) / (end - max(begin, 0)), 0), 1)
            assert 1 / wave == pytest.approx((share / 4 + 1 - share) / 1e4 ** (2 * pair / 32), rel=1e-4)


def test_the_keys_of_falcon_h1_are_multiplied(tmp_path: Path) -> None:
    folder = builders.build("falcon_h1", tmp_path / "model")
    plain = logits(changed(folder, key_multiplier=1.0))
    found = logits(changed(folder, key_multiplier=0.25))
    assert not mx.allclose(plain, found, atol=1e-2)
    arrays = dict(mx.load(str(folder / "model.safetensors")))
    multiplied = {name: array * (0.25 if "k_proj" in name else 1) for name, array in arrays.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), multiplied)
    assert mx.allclose(found, logits(changed(folder, key_multiplier=1.0)), atol=1e-4)


def test_groups_of_mamba_2_are_normalised_apart(tmp_path: Path) -> None:
    """Alone, each group is what a model with that group only would make of it."""
    from mlx_lm.models.mamba2 import MambaRMSNormGated

    folder = builders.build("mamba2", tmp_path / "model", n_groups=2)
    loaded = loading.load(folder, quiet=True)
    norm = loaded.network.layers[0].mixer.norm
    x, gate = mx.random.normal((2, 3, 128)), mx.random.normal((2, 3, 128))
    half = MambaRMSNormGated(64, norm.eps)
    for part in (slice(0, 64), slice(64, 128)):
        half.weight = norm.weight[part]
        assert mx.allclose(norm(x, gate)[..., part], half(x[..., part], gate[..., part]), atol=1e-5)
    assert any("each of 2 has its own mean" in clause for clause in loaded.mended)
    assert not loading.load(builders.build("mamba2", tmp_path / "other"), quiet=True).mended


def test_the_steps_of_nemotron_h_are_as_long_as_transformers_has_them(tmp_path: Path) -> None:
    folder = changed(builders.build("nemotron_h", tmp_path / "model"), time_step_min=0.25, time_step_limit=[0.0, 100.0])
    assert "[0.25, " in "".join(loading.load(folder, quiet=True).differences)


def test_experts_of_gpt_oss_as_transformers_saves_them(tmp_path: Path) -> None:
    folder = builders.build("gpt_oss", tmp_path / "model")
    wanted, arrays, saved = logits(folder), dict(mx.load(str(folder / "model.safetensors"))), {}
    for name, array in arrays.items():
        if "experts.up_proj" in name:
            continue
        if "experts.gate_proj" in name:
            both = mx.stack([array, arrays[name.replace("gate_proj", "up_proj")]], axis=2)
            both = both.reshape(array.shape[0], -1, *array.shape[2:])
            is_bias = name.endswith("bias")
            saved[
                name.replace("gate_proj.bias" if is_bias else "gate_proj.weight", f"gate_up_proj{'_bias' * is_bias}")
            ] = both if is_bias else both.swapaxes(1, 2)
        elif "experts.down_proj" in name:
            is_bias = name.endswith("bias")
            saved[name.replace(".bias", "_bias").removesuffix(".weight")] = array if is_bias else array.swapaxes(1, 2)
        else:
            saved[name] = array
    mx.eval(wanted, *saved.values())  # before the file that they come from is another one
    mx.save_safetensors(str(folder / "model.safetensors"), saved)
    assert mx.array_equal(logits(folder), wanted)


def test_a_choice_of_experts_that_is_left_out_is_refused(tmp_path: Path) -> None:
    folder = builders.build("ernie4_5_moe", tmp_path / "model")
    arrays = dict(mx.load(str(folder / "model.safetensors")))
    name = "model.layers.1.mlp.moe_statics.e_score_correction_bias"
    mx.save_safetensors(str(folder / "model.safetensors"), {**arrays, name: mx.full((1, 4), 0.5)})
    loading.load(folder, quiet=True)
    mx.save_safetensors(str(folder / "model.safetensors"), {**arrays, name: mx.arange(4.0)[None]})
    with pytest.raises(UserError, match=r"leaves out e_score_correction_bias.*--backend torch"):
        loading.load(folder, quiet=True)


@pytest.mark.parametrize("kind", ["baichuan_m1", "plamo3", "youtu_llm"])
def test_a_network_that_does_not_keep_its_settings_loads(kind: str, tmp_path: Path) -> None:
    assert loading.load(builders.build(kind, tmp_path / "model"), quiet=True).network.layers


@pytest.mark.parametrize("kind", ["minicpm3", "deepseek_v2"])
def test_scaled_rope_that_mlx_lm_takes_for_granted_may_be_missing(kind: str, tmp_path: Path) -> None:
    folder = builders.build(kind, tmp_path / "model")
    before = logits(folder)
    found = logits(changed(folder, rope_scaling=None))
    assert not mx.allclose(before, found, atol=1e-2)
    from mlx import nn  # after the runtime

    network = load_network(folder, mx.float32)
    for layer in network.layers:
        layer.self_attn.rope = nn.RoPE(
            8, traditional=kind == "deepseek_v2", base=builders.config_of(kind)[0]["rope_theta"]
        )
    assert mx.allclose(network(mx.array(PROBE)), found, atol=1e-4)


def test_a_window_that_transformers_does_not_read_is_told(tmp_path: Path) -> None:
    from finetune.backends.logits import Agreement
    from finetune.commands.doctor.model import _of_logits

    loaded = loading.load(builders.build("llama, window", tmp_path / "model"), quiet=True)
    assert "which transformers' llama does not read" in loaded.theirs[0] and not loaded.notes
    assert not loading.load(builders.build("llama", tmp_path / "plain"), quiet=True).theirs
    assert _of_logits(Agreement(4.0), loaded.theirs).remedy.startswith("use --backend mlx")
    assert "--backend torch" in _of_logits(Agreement(4.0), ()).remedy
