"""Damaged and hostile models: whatever a library makes of them, the user reads one line, and nothing hangs or aborts."""

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tokenizers import pre_tokenizers

from finetune.errors import Stopped, UserError
from finetune.models.encoder import ChatEncoder
from finetune.models.find import find_model
from finetune.models.foreign import foreign
from finetune.models.gguf import convert
from finetune.models.gguf_file import read
from tiny_gguf import SPM_PIECES, write_gguf

CHAT = [{"role": "user", "content": "ab 20"}, {"role": "assistant", "content": "ab"}]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    convert(write_gguf(folder / "tiny.gguf", "llama"), folder)
    (folder / "tiny.gguf").unlink()
    return folder


@pytest.fixture
def model(converted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(converted, tmp_path / "model")


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as refused:
        call()
    line = str(refused.value)
    assert "\n" not in line and len(line) < 700
    return line


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


# The boundary


def panic() -> None:
    pre_tokenizers.FixedLength(length=0).pre_tokenize_str("abc")


def fail(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize(
    "call, reason",
    [
        (fail(TypeError("a\nb")), "a b"),
        (fail(KeyError("model_type")), "KeyError: 'model_type'"),
        (fail(AssertionError()), "AssertionError"),
        (fail(RecursionError("too deep")), "too deep"),
        (fail(FileNotFoundError(2, "No such file")), "No such file"),
        (panic, "chunk size must be non-zero"),
    ],
)
def test_whatever_a_library_raises_is_one_line(
    call: Callable[[], None], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def parse() -> None:
        with foreign("x.gguf: cannot be read", "download it again"):
            call()

    assert refusal(parse) == f"x.gguf: cannot be read: {reason} (download it again)"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(3),
        MemoryError(),
        RuntimeError("[malloc] Unable to allocate 8 bytes."),
        UserError("ours", 4),
        Stopped("stopped", 15),
    ],
    ids=repr,
)
def test_what_says_something_else_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as passed, foreign("x"):
        raise error
    assert passed.value is error


def test_what_a_library_prints_cannot_change_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with foreign("x"):
        os.write(1, b"\x1b]0;title\x07")
        os.write(2, b"warning\n")
    assert capfd.readouterr() == ("", "␛]0;title␇warning\n")


# GGUF: counts and numbers


def header(tensors: int, entries: int, rest: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + rest


KEY = struct.pack("<Q", 1) + b"k"
MANY = 1 << 63


@pytest.mark.parametrize(
    "content",
    {
        "array": header(0, 1, KEY + struct.pack("<IIQ", 9, 0, MANY)),
        "array of texts": header(0, 1, KEY + struct.pack("<IIQ", 9, 8, MANY) + bytes(4096)),
        "arrays in arrays": header(0, 1, KEY + struct.pack("<IIQ", 9, 9, MANY) + bytes(4096)),
        "text": header(0, 1, KEY + struct.pack("<IQ", 8, MANY)),
        "entries": header(0, MANY, bytes(4096)),
        "tensors": header(MANY, 0, bytes(4096)),
        "dimensions": header(1, 0, KEY + struct.pack("<I", (1 << 32) - 1) + bytes(4096)),
        "size": header(1, 0, KEY + struct.pack("<IQQIQ", 2, MANY, MANY, 0, 0) + bytes(4096)),
        "no size": header(1, 0, KEY + struct.pack("<IQIQ", 1, 0, 0, 0) + bytes(4096)),
        "type": header(0, 1, KEY + struct.pack("<I", 77)),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_count_that_the_file_cannot_hold_is_refused_at_once(content: tuple[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "many.gguf"
    path.write_bytes(content[1])
    assert refusal(lambda: convert(path, tmp_path)).startswith(f"{path}: not a GGUF file that can be read: ")


def test_tensors_that_overlap_are_refused(tmp_path: Path) -> None:
    tensors = b"".join(
        struct.pack("<Q", 1) + name + struct.pack("<IQIQ", 1, 8, 0, start) for name, start in ((b"a", 0), (b"b", 28))
    )
    path = tmp_path / "overlapping.gguf"
    path.write_bytes(header(2, 0, tensors) + bytes(256))
    assert "tensor 'b' overlaps another one" in refusal(lambda: convert(path, tmp_path))


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0"])
def test_the_reader_finds_what_that_of_the_gguf_package_finds(tmp_path: Path, kind: str) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", "gemma3", gguf.GGMLQuantizationType[kind])
    theirs, (metadata, tensors) = gguf.GGUFReader(path), read(path)
    assert [tensor.name for tensor in theirs.tensors] == list(tensors)
    for tensor in theirs.tensors:
        ours = tensors[tensor.name]
        assert (ours.kind, ours.shape) == (tensor.tensor_type, tuple(reversed(tensor.shape.tolist())))
        np.testing.assert_array_equal(ours.data.reshape(-1), tensor.data.reshape(-1).view(np.uint8))
    values = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    for key, value in values.items():
        kinds = {int: partial(metadata.integer, least=0), float: metadata.real, str: metadata.text}
        if type(value) is bool:
            assert metadata.flag(key, default=not value) == value
        elif type(value) in kinds:
            assert kinds[type(value)](key) == pytest.approx(value)
        elif type(value[0]) is str:
            assert metadata.texts(key) == value
        else:
            assert metadata.numbers(key, type(value[0]), len(value)) == value


@pytest.mark.parametrize(
    "key, value",
    [
        ("llama.block_count", 4_000_000_000),
        ("llama.block_count", 0),
        ("llama.block_count", "two"),
        ("llama.embedding_length", 2.5),
        ("llama.attention.head_count", 0),
        ("llama.attention.head_count", True),
        ("llama.attention.head_count_kv", [2, 2]),
        ("llama.attention.layer_norm_rms_epsilon", float("nan")),
        ("llama.rope.freq_base", -1.0),
        ("llama.rope.scaling.type", 3),
        ("llama.attention.key_length", 31),
        ("general.alignment", 0),
        ("tokenizer.ggml.tokens", "one"),
        ("tokenizer.ggml.tokens", ["a", "a"]),
        ("tokenizer.ggml.token_type", [1]),
        ("tokenizer.ggml.token_type", ["x"] * 103),
        ("tokenizer.ggml.merges", [1, 2]),
        ("tokenizer.ggml.merges", ["a"]),
        ("tokenizer.ggml.bos_token_id", 4_000_000_000),
        ("tokenizer.ggml.add_bos_token", 1),
        ("tokenizer.ggml.pre", 7),
        ("tokenizer.ggml.model", 7),
        ("tokenizer.chat_template", 7),
        ("general.architecture", "llama\n" * 1000),
    ],
)
def test_metadata_of_a_wrong_kind_is_refused(tmp_path: Path, key: str, value: object) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", "llama", change=lambda metadata, _: metadata.update({key: value}))
    assert refusal(lambda: convert(path, tmp_path)).startswith(f"{path}: ")


def test_a_piece_of_a_million_characters_is_refused_at_once(tmp_path: Path) -> None:
    def lengthen(metadata: dict[str, Any], _: object) -> None:
        metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"][: -len(SPM_PIECES)], *"abcdefghijk"]
        metadata["tokenizer.ggml.tokens"] += ["ab" * 500_000, "▁a"]

    path = write_gguf(tmp_path / "tiny.gguf", "gemma3", change=lengthen)
    assert "too long, up to 1,000,000 characters" in refusal(lambda: convert(path, tmp_path))


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_full_disk_is_said_to_be_full(tmp_path: Path, run_python: Any, size: int) -> None:
    """A limit on the size of a file stands for it."""
    write_gguf(tmp_path / "tiny.gguf", "llama")
    code = (
        "import resource, sys; from finetune.errors import UserError; from finetune.models.find import find_model\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
        "try: find_model('tiny.gguf', lambda line: None)\n"
        "except UserError as error: sys.exit(error.exit_code)"
    )
    run_python("-c", code, code=4)


# Model folders


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(model: Path, name: str) -> None:
    (model / name).unlink()
    os.mkfifo(model / name)
    assert f"{name} is not a regular file" in refusal(lambda: find_model(str(model), print))
    os.mkfifo(model / "x.gguf")
    assert "not a model folder or a .gguf file" in refusal(lambda: find_model(str(model / "x.gguf"), print))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_in_the_place_of_a_file_is_refused(model: Path, name: str) -> None:
    (model / name).unlink()
    (model / name).mkdir()
    assert name in refusal(lambda: find_model(str(model), print))


@pytest.mark.parametrize(
    "content", ["{", "[]", "7", "null", '{"a":' * 100_000, "[" * 100_000, "\0", '{"eos_token_id": 1']
)
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_json_of_another_shape_is_refused(model: Path, name: str, content: str) -> None:
    (model / name).write_text(content)
    assert f"{name} cannot be read" in refusal(lambda: find_model(str(model), print))
    assert name in refusal(lambda: ChatEncoder(model)) or name == "config.json"


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"num_key_value_heads": 0}, "num_key_value_heads in config.json is 0"),
        ({"head_dim": -64}, "head_dim in config.json is -64"),
        ({"intermediate_size": 10**12}, "intermediate_size in config.json is 1000000000000"),
        ({"num_local_experts": 10**9}, "num_local_experts in config.json is 1000000000"),
        ({"num_layers": 10**9}, "num_layers in config.json is 1000000000"),
        ({"rope_theta": 0}, "rope_theta in config.json is 0"),
        ({"rope_theta": [1, 0]}, "rope_theta in config.json is [1, 0]"),
        ({"quantization": {"group_size": 64, "bits": 4, "model.layers.0.mlp.up_proj": {"bits": 0, "group_size": 0}}},
         "quantization of model.layers.0.mlp.up_proj in config.json is 0 bits in groups of 0"),
        ({"hidden_size": ["x" * 10_000]}, "hidden_size in config.json is ['xxx"),
    ],
    ids=str,
)  # fmt: skip
def test_numbers_that_mlx_cannot_stand_are_refused(model: Path, changes: dict[str, Any], problem: str) -> None:
    edit(model / "config.json", lambda config: config.update(changes))
    assert problem in refusal(lambda: find_model(str(model), print))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_experts": 0, "num_local_experts": 0, "shared_expert_intermediate_size": 0, "num_nextn_predict_layers": 0},
        {"head_dim": None, "num_key_value_heads": None, "q_lora_rank": None, "n_group": None, "n_inner": None},
        {"intermediate_size": [96, 96], "mlp_only_layers": [], "time_step_rank": "auto", "sliding_window": None},
        {"rope_theta": None, "max_window_layers": 28, "chunk_size": -1, "hidden_size_per_layer_input": 0},
        {"quantization": {"group_size": 64, "bits": 4, "mode": "affine", "lm_head": False, "model.norm": True}},
    ],
)
def test_numbers_that_real_models_have_are_not(model: Path, changes: dict[str, Any]) -> None:
    edit(model / "config.json", lambda config: config.update(changes))
    assert find_model(str(model), print).path == model


# Tokenizers

REPEAT = {"type": "Replace", "pattern": {"Regex": "."}, "content": "ab" * 20}


@pytest.mark.parametrize(
    "changes",
    {
        "prefix": {"normalizer": {"type": "Prepend", "prepend": "x" * 10_000_000}},
        "longer and longer": {"normalizer": {"type": "Sequence", "normalizers": [REPEAT] * 12}},
        "doubled": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 40}},
        "one letter": {"normalizer": {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 30_000}},
        "slow": {"normalizer": {"type": "Replace", "pattern": {"Regex": "(.|..)+é$"}, "content": ""}},
        "table": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////w=="}},
        "empty pieces": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        "twice the sequence": {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 60,
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {},
            }
        },
        "long decoder": {"decoder": {"type": "Replace", "pattern": {"String": "e"}, "content": "x" * 1_000_000}},
        "no model": {"model": {}},
        "a list": {"model": [[]] * 100},
        "version": {"version": {"a": 1}},
    }.items(),
    ids=lambda item: item[0],
)
def test_a_tokenizer_that_makes_too_much_of_a_text_is_refused(model: Path, changes: tuple[str, dict[str, Any]]) -> None:
    edit(model / "tokenizer.json", lambda tokenizer: tokenizer.update(changes[1]))
    assert refusal(lambda: ChatEncoder(model)).startswith(f"{model}: its tokenizer cannot be loaded: ")


def test_padding_and_truncation_of_the_file_do_not_change_the_rows(model: Path) -> None:
    expected = ChatEncoder(model).example(CHAT).tokens
    padding = {"strategy": {"Fixed": 2_000_000_000}, "direction": "Left", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"}
    truncation = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    edit(model / "tokenizer.json", lambda tokenizer: tokenizer.update(padding=padding, truncation=truncation))
    assert ChatEncoder(model).example(CHAT).tokens == expected


def test_a_tokenizer_nested_too_deeply_is_refused(model: Path) -> None:
    text = (model / "tokenizer.json").read_text()
    deep = '{"type": "Sequence", "normalizers": [' * 100_000 + "]}" * 100_000
    (model / "tokenizer.json").write_text(re.sub(r'"normalizer": null', f'"normalizer": {deep}', text))
    assert "recursion" in refusal(lambda: ChatEncoder(model))


def test_a_tokenizer_that_fails_later_is_one_line(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pattern = {"Regex": "(x+x+)+y"}  # slow only for a run of x
    edit(
        model / "tokenizer.json",
        lambda tokenizer: tokenizer.update(
            pre_tokenizer={"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
        ),
    )
    encoder = ChatEncoder(model)
    line = refusal(lambda: encoder.example([{"role": "user", "content": "x" * 40}, CHAT[1]]))
    assert line.startswith(f"{model}: its tokenizer fails: ") and capfd.readouterr() == ("", "")
