"""GGUF files as model folders: tiny ones, written the way llama.cpp writes them, and the builtin model."""

import json
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors import safe_open
from tokenizers import Tokenizer

from finetune.errors import UserError
from finetune.models import builtin, conversion, find
from finetune.models.find import find_model
from finetune.models.gguf import convert
from tiny_gguf import HEAD, hugging_face_weights, write_gguf


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """model.safetensors in float32, read without the help of the code under test."""
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    weights = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        bits = np.frombuffer(data[8 + length + start : 8 + length + end], dtype="<u2").astype(np.uint32) << 16
        weights[name] = bits.view(np.float32).reshape(entry["shape"])
    return weights


@pytest.mark.parametrize("quantisation", ["F16", "Q8_0"])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_weights_come_back_in_the_layout_of_hugging_face(tmp_path: Path, architecture: str, quantisation: str) -> None:
    kind = gguf.GGMLQuantizationType[quantisation]
    convert(write_gguf(tmp_path / "tiny.gguf", architecture, kind), tmp_path)
    weights = read_weights(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        assert set(file.keys()) == set(weights)
    original = hugging_face_weights(architecture)
    assert len(weights) == len(original)
    block = "model.layers.1."
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        f"{block}self_attn.q_proj": "blk.1.attn_q",
        f"{block}self_attn.k_proj": "blk.1.attn_k",
        f"{block}self_attn.v_proj": "blk.1.attn_v",
        f"{block}self_attn.o_proj": "blk.1.attn_output",
        f"{block}mlp.gate_proj": "blk.1.ffn_gate",
        f"{block}mlp.down_proj": "blk.1.ffn_down",
        f"{block}input_layernorm": "blk.1.attn_norm",
        f"{block}post_attention_layernorm": "blk.1.ffn_norm",
    }
    if architecture == "gemma3":
        names |= {
            f"{block}post_attention_layernorm": "blk.1.post_attention_norm",
            f"{block}pre_feedforward_layernorm": "blk.1.ffn_norm",
            f"{block}post_feedforward_layernorm": "blk.1.post_ffw_norm",
            f"{block}self_attn.q_norm": "blk.1.attn_q_norm",
        }
    # half a step of bfloat16 and of float16; Q8_0 steps by a 127th of the largest value of its block
    tolerance = {"rtol": 2**-8 + 2**-11, "atol": 0.02 if quantisation == "Q8_0" else 1e-6}
    for name, source in names.items():
        found, expected = weights[f"{name}.weight"], original[f"{source}.weight"]
        np.testing.assert_allclose(found, expected, **tolerance, err_msg=name)


def test_the_config_says_what_the_gguf_says(tmp_path: Path) -> None:
    convert(write_gguf(tmp_path / "tiny.gguf", "gemma3"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    expected = {"model_type": "gemma3_text", "head_dim": HEAD, "query_pre_attn_scalar": HEAD, "sliding_window": 16}
    expected |= {"rope_theta": 50000.0, "rope_local_base_freq": 10000.0, "rms_norm_eps": 1e-5, "vocab_size": 300}
    expected |= {"tie_word_embeddings": True, "eos_token_id": [1, 5], "layer_types": ["sliding_attention"] * 2}
    assert {key: config[key] for key in expected} == expected
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == [1, 5]


def test_byte_level_tokenizer(tmp_path: Path) -> None:
    convert(write_gguf(tmp_path / "tiny.gguf", "llama"), tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("ab ab 20é<|im_end|>").tokens == "ab Ġab Ġ 2 0 Ã © <|im_end|>".split()
    text = "ab\nx 20é"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert (
        tmp_path / "chat_template.jinja"
    ).read_text() == "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"


def test_sentencepiece_tokenizer(tmp_path: Path) -> None:
    convert(write_gguf(tmp_path / "tiny.gguf", "gemma3"), tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    # "th" has a better score than "he", and a run of spaces one better than "▁the"
    assert tokenizer.encode(" the  the\n").tokens == ["<bos>", "▁the", "▁▁", "the", "<0x0A>"]
    text = "the é  <end_of_turn>"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids[-1] == 5 and tokenizer.decode(ids, skip_special_tokens=False) == text


def test_a_gemma_base_learns_the_turns(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    convert(write_gguf(tmp_path / "tiny.gguf", "gemma3"), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " a "},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<bos><start_of_turn>user\nBe brief.\n\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n"
        "<start_of_turn>user\nc<end_of_turn>\n<start_of_turn>model\n"
    )


REFUSALS: dict[str, tuple[Callable[[dict[str, Any], dict[str, np.ndarray]], Any], str]] = {
    "architecture": (
        lambda metadata, _: metadata.update({"general.architecture": "mamba"}),
        "'mamba' is not supported",
    ),
    "metadata": (lambda metadata, _: metadata.pop("llama.context_length"), "no llama.context_length"),
    "tokens": (lambda metadata, _: metadata.pop("tokenizer.ggml.tokens"), "no tokenizer.ggml.tokens"),
    "pre": (lambda metadata, _: metadata.update({"tokenizer.ggml.pre": "deepseek-v3"}), "'deepseek-v3'"),
    "kind": (
        lambda metadata, _: metadata.update({"tokenizer.ggml.model": "t5"}),
        "GGUF tokenizer 't5' is not supported",
    ),
    "rope": (
        lambda metadata, _: metadata.update({"llama.rope.scaling.type": "longrope"}),
        "'longrope' is not supported",
    ),
    "missing": (lambda _, weights: weights.pop("blk.1.attn_k.weight"), "blk.1.attn_k.weight is missing"),
    "unknown": (
        lambda _, weights: weights.update({"blk.0.x.weight": np.ones(4)}),
        "blk.0.x.weight is unknown",
    ),
    "shape": (
        lambda _, weights: weights.update({"output_norm.weight": np.ones(4)}),
        "has the shape (4,) instead of",
    ),
    "nan": (lambda _, weights: weights["output_norm.weight"].fill(np.nan), "output_norm.weight holds values"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, case: str) -> None:
    change, words = REFUSALS[case]
    path = write_gguf(tmp_path / "tiny.gguf", "llama", change=change)
    with pytest.raises(UserError) as refusal:
        convert(path, tmp_path)
    assert str(refusal.value).startswith(f"{path}: ") and words in str(refusal.value)


def test_a_file_that_is_no_whole_gguf_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    data = write_gguf(tmp_path / "tiny.gguf", "llama").read_bytes()
    for broken in (b"", b"PK\3\4 not this one", data[:100], data[: len(data) // 2], data[:-1]):
        path = tmp_path / "broken.gguf"
        path.write_bytes(broken)
        with pytest.raises(UserError, match="not a GGUF file that can be read"):
            find_model(str(path), print)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_a_gguf_is_converted_once_and_again_when_the_folder_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    path = write_gguf(tmp_path / "tiny.gguf", "llama")
    said: list[str] = []
    first = find_model(str(path), said.append)
    assert (first.source, first.path.parent) == ("gguf", find.cache_dir() / "models")
    assert find_model(str(path), said.append) == first
    assert said == ["Preparing tiny.gguf (once) ..."]

    weights = first.path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])  # what a crash or a full disk leaves
    assert find_model(str(path), said.append) == first
    assert weights.read_bytes() == whole and len(said) == 2


def test_two_conversions_at_once_both_succeed(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", "llama")
    both_converted = threading.Barrier(2, timeout=20)

    def convert_and_wait(folder: Path) -> None:
        convert(path, folder)
        both_converted.wait()

    folders = []

    def run() -> None:
        folders.append(conversion.convert_once(path.name, "0" * 64, tmp_path / "models", convert_and_wait, print))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 2 and folders[0] == folders[1]
    assert list((tmp_path / "models").iterdir()) == [folders[0]]


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "nowhere.gguf", "~/nowhere/at/all"])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        find_model(name, print)


def test_a_folder_is_checked_and_everything_that_is_wrong_named(tmp_path: Path) -> None:
    convert(write_gguf(tmp_path / "tiny.gguf", "llama"), tmp_path)
    assert find_model(str(tmp_path), print).path == tmp_path
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2])
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError) as refusal:
        find_model(str(tmp_path), print)
    for problem in ("config.json cannot be read", "model.safetensors is damaged", "tokenizer.json is missing"):
        assert problem in str(refusal.value)


def test_an_adapter_is_not_called_an_incomplete_model(tmp_path: Path) -> None:
    for name in ("adapter_config.json", "adapters.safetensors"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match="an adapter, not a model"):
        find_model(str(tmp_path), print)


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"num_hidden_layers": 10**6}, "num_hidden_layers in config.json is 1000000"),
        ({"hidden_size": 0}, "hidden_size in config.json is 0"),
        ({"vocab_size": "many"}, "vocab_size in config.json is 'many'"),
        ({"text_config": [1]}, "text_config in config.json is not a mapping"),
        ({"model_type": None}, "config.json has no model_type"),
        ({"quantization": {"group_size": 0, "bits": 0}}, "quantization in config.json is 0 bits in groups of 0"),
        ({"quantization": "x"}, "quantization in config.json is 'x'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("weights", [True, False])
def test_sizes_that_no_model_has_are_refused(tmp_path: Path, changes: dict, problem: str, weights: bool) -> None:
    convert(write_gguf(tmp_path / "tiny.gguf", "llama"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=problem):
        find_model(str(tmp_path), print, weights=weights)


def test_an_index_of_weights_may_be_nonsense(tmp_path: Path) -> None:
    convert(write_gguf(tmp_path / "tiny.gguf", "llama"), tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": ["model.safetensors"]}')
    with pytest.raises(UserError, match=r"weight_map in model\.safetensors\.index\.json is not a mapping"):
        find_model(str(tmp_path), print)


PARAGRAPH = (
    "Every spring the river rises over its banks and covers the low fields with brown water. The farmers of"
    " the valley do not complain, because the flood leaves behind a layer of rich soil that feeds the wheat"
    " through the long, dry summer."
)


@pytest.mark.model
@pytest.mark.model
@pytest.mark.skipif(find_spec(builtin.PACKAGE) is None, reason="the builtin model is not installed: make setup")
def test_the_builtin_model_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mx = pytest.importorskip("finetune.backends.mlx.runtime").mx  # the first import of MLX, for the fast BLAS
    import mlx.nn as nn
    from mlx_lm import load

    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    model, tokenizer = load(str(find_model("builtin", print).path))
    model.set_dtype(mx.float32)

    ids = mx.array([tokenizer.encode(PARAGRAPH)])
    loss = nn.losses.cross_entropy(model(ids[:, :-1]), ids[:, 1:]).mean().item()
    assert loss == pytest.approx(3.7366, rel=0.01)

    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True)
    answer = tokenizer.encode("The capital of France is Paris.<|im_end|>")
    logits = model(mx.array([prompt + answer]))[0, len(prompt) - 1 : -1]
    greedy = mx.argmax(logits, axis=-1).tolist()  # as if generated: right here means the next was asked the same
    assert tokenizer.decode(greedy) == tokenizer.decode(answer)
