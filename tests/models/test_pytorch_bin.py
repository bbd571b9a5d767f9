"""Models that ship only pickles: converted once, the same numbers in MLX and in transformers, nothing else let in."""

import json
import os
import shutil
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.models import cached, conversion, pytorch_bin
from finetune.models.find import find_model
from finetune.models.fingerprint import fingerprint
from pickled_gpt2 import write_gpt2

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the conversions of this test go."""
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a tiny GPT-2 as one pickle, and something for a tokenizer."""
    write_gpt2(tmp_path / "tiny")
    (tmp_path / "tiny" / "tokenizer.json").write_text("{}")
    return tmp_path / "tiny"


@pytest.mark.parametrize(
    "shards, how", [(1, {}), (1, {"_use_new_zipfile_serialization": False}), (3, {})], ids=["one", "old", "shards"]
)
def test_mlx_and_transformers_compute_the_same_as_before(
    tmp_path: Path, builtin_model: Path, shards: int, how: dict[str, Any]
) -> None:
    mx = pytest.importorskip("finetune.backends.mlx.runtime").mx  # the first import of MLX, for the fast BLAS
    import numpy as np
    from mlx_lm.utils import load_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "tiny").mkdir(exist_ok=True)
        shutil.copy(builtin_model / file, tmp_path / "tiny")
    vocabulary = json.loads((builtin_model / "config.json").read_text())["vocab_size"]
    original = write_gpt2(tmp_path / "tiny", vocabulary, shards, **how)
    (tmp_path / "tiny" / "training_args.bin").write_bytes(b"no weights")

    folder = find_model(str(tmp_path / "tiny"), print).path
    assert len(list(folder.glob("model*.safetensors"))) == shards and not list(folder.glob("*.bin*"))

    ids = AutoTokenizer.from_pretrained(folder)(" The river rises every spring.")["input_ids"]
    with torch.no_grad():
        expected = original(torch.tensor([ids])).logits
        loaded, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not any(info.values()), info
        np.testing.assert_allclose(loaded(torch.tensor([ids])).logits, expected, atol=1e-4)
    model, _ = load_model(folder)
    np.testing.assert_allclose(np.array(model(mx.array([ids]))), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_type_of_the_numbers_stays_and_a_head_cast_after_tying_is_known(source: Path, dtype: Any) -> None:
    state = torch.load(source / "pytorch_model.bin", weights_only=True)
    state = {name: tensor.clone() for name, tensor in state.items()}
    torch.save({name: tensor.to(dtype) for name, tensor in state.items()}, source / "pytorch_model.bin")

    from safetensors.torch import load_file

    weights = load_file(find_model(str(source), print).path / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {dtype}
    buffers = ("lm_head.weight", ".attn.bias", ".attn.masked_bias")
    assert not [name for name in weights if name.endswith(buffers)]


def test_a_head_of_its_own_stays(source: Path) -> None:
    """Equal to the embedding, but not tied by the config: who loads it looks for both."""
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))

    from safetensors.torch import load_file

    weights = load_file(find_model(str(source), print).path / "model.safetensors")
    assert torch.equal(weights["lm_head.weight"], weights["wte.weight"])


def test_it_is_converted_once_and_anew_when_a_file_changes(
    source: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    first = find_model(str(source), said.append)
    assert (first.source, first.revision, first.name, first.path.parent) == ("folder", None, str(source), models)
    assert fingerprint(first.path)

    with monkeypatch.context() as without:
        without.setattr(pytorch_bin, "find_spec", lambda name: None)
        assert find_model(str(source), said.append) == first  # what is there needs no PyTorch
    assert said == ["Preparing tiny (once) ..."]

    (source / "tokenizer.json").write_text('{"other": 1}')
    second = find_model(str(source), said.append)
    assert second.path != first.path and len(said) == 2
    assert (second.path / "tokenizer.json").read_text() == '{"other": 1}'


def test_conversions_are_listed_by_name_and_revision_and_can_be_removed(
    source: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "share_folder", lambda folder: None)  # as if another process had converted them
    find_model(str(source), print)
    convert = partial(pytorch_bin.convert, source)
    conversion.convert_once("owner/gpt-v1.5", "c" * 40, models, convert, print)  # as of the Hub
    monkeypatch.setattr(cached, "_scan", lambda: None)  # what the Hub's cache has is tested elsewhere
    listed = {model.name: model for model in cached.cached_models()}
    assert {(model.where, model.problem) for model in listed.values()} == {("converted", "")}
    assert listed[f"owner--gpt-v1.5-{'c' * 12}"].revision == "c" * 40
    assert sum(cached.remove(model) > 0 for model in listed.values()) == 2
    assert list(models.iterdir()) == []


def test_a_plan_converts_nothing(source: Path, models: Path) -> None:
    assert find_model(str(source), print, weights=False).path == source
    assert not models.exists()


def test_safetensors_beside_the_pickle_are_what_counts(source: Path, models: Path) -> None:
    shutil.copy(find_model(str(source), print).path / "model.safetensors", source)
    assert find_model(str(source), print).path == source


def test_without_pytorch_one_line_names_the_command(
    source: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytorch_bin, "find_spec", lambda name: None)
    for weights in (True, False):  # a plan refuses what a run would refuse
        with pytest.raises(UserError, match="needs PyTorch") as refusal:
            find_model(str(source), print, weights=weights)
        assert refusal.value.exit_code == 2 and not models.exists()


class Command:
    """Runs when it is unpickled."""

    def __init__(self, made: Path):
        self.made = made

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.made),)


_DATA = torch.ones(100_000)
BAD: dict[str, tuple[Any, str]] = {
    "int": ({"w": torch.ones(2, dtype=torch.int32)}, "'w' has the type torch.int32"),
    "sparse": ({"w": torch.eye(3).to_sparse()}, "'w' is an unsupported kind of tensor"),
    "stretched": ({"w": torch.zeros(1).expand(10**12)}, "'w' is larger than its data in the file"),
    "nan": ({"w": torch.tensor([float("nan")])}, "'w' holds values that are not finite"),
    "buffers": ({"h.0.attn.bias": torch.ones(1, 1, 2, 2)}, "the files of weights hold no weights"),
    "nested": ({"state_dict": {"w": torch.ones(2)}}, "'state_dict' is a dict, not a tensor"),
    "list": ([torch.ones(2)], "not a dictionary of weights"),
    "number": ({1: torch.ones(2)}, "1 is not the name of a tensor"),
    "control": ({"\x1b[31m": torch.ones(2)}, "is not the name of a tensor"),
    "shared": (
        {f"w{n}": _DATA for n in range(50)},
        "'w3' and those before it share their data, and take more than 3 times",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_weight_is_refused_by_name_and_leaves_nothing(source: Path, models: Path, case: str) -> None:
    content, words = BAD[case]
    torch.save(content, source / "pytorch_model.bin")
    _is_refused(source, models, words)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_that_runs_something_is_not_run(source: Path, models: Path, tmp_path: Path, is_zip: bool) -> None:
    content = {"w": torch.ones(2), "x": Command(tmp_path / "made")}
    torch.save(content, source / "pytorch_model.bin", _use_new_zipfile_serialization=is_zip)
    _is_refused(source, models, "refused: the pickle holds more than weights (posix.mkdir)")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("size", [0, 100, -3000, -1])
def test_a_file_cut_short_is_refused(source: Path, models: Path, size: int) -> None:
    path = source / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:size])
    _is_refused(source, models, "not a file of PyTorch weights, or damaged")


@pytest.mark.parametrize(
    "index, words",
    [
        ({"a": "../pytorch_model.bin"}, "does not list files of weights called pytorch_model*.bin"),
        ({"a": "training_args.bin"}, "does not list files of weights called pytorch_model*.bin"),
        ({"a": "pytorch_model-00001-of-00001.bin"}, "pytorch_model-00001-of-00001.bin is missing"),
        (["a"], "does not list files of weights"),
    ],
    ids=str,
)
def test_an_index_that_names_what_is_not_there(source: Path, models: Path, index: Any, words: str) -> None:
    (source / pytorch_bin.INDEX).write_text(json.dumps({"weight_map": index}))
    _is_refused(source, models, words)


def pickled(source: Path, code: bytes) -> None:
    """Give the file of weights another pickle, ``code`` without its frame."""
    path = source / "pytorch_model.bin"
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, b"\x80\x02" + code + b"." if name.endswith("data.pkl") else content)


def test_a_pickle_that_takes_for_ever_is_ended(source: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tuple of a tuple, twice, of a tuple, twice, and so on: as a key all of it is hashed."""
    monkeypatch.setattr(pytorch_bin, "_SECONDS", 8)
    nested = b")q\x00" + b"h\x00h\x00\x86q\x00" * 60
    pickled(source, b"}X\x01\x00\x00\x00a(" + nested + b"ts" + b"h\x00K\x01s")
    _is_refused(source, models, "its weights cannot be converted: reading them took more than 8.0 s")


def test_a_pickle_that_asks_for_memory_does_not_get_it(source: Path, models: Path) -> None:
    pickled(
        source, b"}X\x01\x00\x00\x00wcbuiltins\nbytearray\n\x8a\x05" + (60 * 10**9).to_bytes(5, "little") + b"\x85Rs"
    )
    _is_refused(source, models, "not a file of PyTorch weights, or damaged")


def test_a_compressed_file_is_not_unpacked(source: Path, models: Path) -> None:
    path = source / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data.pkl", "w") as entry:
        for _ in range(20):
            entry.write(bytes(10**7))
    assert path.stat().st_size < 10**6
    _is_refused(source, models, "not a file of PyTorch weights, or damaged")


def _is_refused(source: Path, models: Path, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        find_model(str(source), print)
    message = str(refusal.value)
    assert words in message and "\n" not in message and refusal.value.exit_code == 2
    assert list(models.iterdir()) == []
