"""What llama.cpp itself makes of exported files; with every harmful change of a file, one of the checks refuses it.

make test-gguf runs these; without llama.cpp they are skipped.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
from finetune.backends.llamacpp import server
from finetune.backends.logits import mlx_logits
from finetune.backends.mlx.model import load_network
from finetune.commands import export
from finetune.errors import UserError
from finetune.export.fused import fused_model
from finetune.export.gguf import file, folder, keys, tensors, vocabulary
from finetune.export.gguf.trial import divergence, normalised
from finetune.export.source import Source
from finetune.export.trained import Trained
from finetune.models.encoder import ChatEncoder
from finetune.models.gguf import convert
from finetune.models.gguf_layout import ARCHITECTURES
from finetune.records import files
from finetune.records.export import ExportRecord
from made_adapters import mlx_adapter
from tiny_gguf import hugging_face_weights, write_gguf

pytestmark = pytest.mark.skipif(not server.found(), reason="llama.cpp is not installed (run: make setup-gguf)")

IDS = [5, 60, 7, 33, 12, 99, 100, 2, 41, 8, 19, 77, 30, 6, 50, 51, 9, 3, 88, 20]
LAYERS = {"smollm3": 4, "gemma3": 6}  # the last is another one there


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_architecture_computes_what_mlx_computes(tmp_path: Path, architecture: str) -> None:
    layers = LAYERS.get(architecture, 2)
    weights = {n: v / 8 + ("norm" in n) for n, v in hugging_face_weights(architecture, layers).items()}
    first = tmp_path / "first.gguf"
    write_gguf(first, architecture, gguf.GGMLQuantizationType.F32, weights=weights, layers=layers)
    (tmp_path / "model").mkdir()
    convert(first, model := tmp_path / "model")
    fused = fused_model(model, Trained(model))
    about = keys.described(model, 300)
    source = Source(model, model, "tiny", ChatEncoder(model, chats=False), {}, of_peft=False)
    path = tmp_path / "tiny.gguf"
    found = {**about.keys, **vocabulary.vocabulary(source, 300).keys}
    file.write(path, about.name, found, tensors.laid_out(fused.tensors, about), "f32")
    logits = mlx_logits(load_network(model, mx.float32), [IDS])
    with server.serving(path, context=64) as asked:
        apart = [divergence(normalised(logits[at - 1]), asked.logprobs(IDS[:at], 300)) for at in (3, 12, 20)]
    assert max(apart) < 1e-5, apart  # of Gemma 3 3e-6: its GELU is a table in F16 there
    assert divergence(normalised(logits[2]), normalised(logits[11])) > 1e-3  # they are not all the same


def _without(key: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    return lambda found: {name: value for name, value in found.items() if not name.endswith(key)}


def _with(key: str, value: object) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    return lambda found: {name: (value if name.endswith(key) else old) for name, old in found.items()}


def _fewer(found: Mapping[str, Any]) -> Mapping[str, Any]:
    lists = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")
    return {name: (value[:-1] if name in lists else value) for name, value in found.items()}


CHANGED: dict[str, tuple[Callable[[Mapping[str, Any]], Mapping[str, Any]], str]] = {
    "no rope base": (_without(".rope.freq_base"), "computes something else"),
    "another rope base": (_with(".rope.freq_base", 10_000.0), "computes something else"),
    "no token types": (_without(".token_type"), "makes other tokens|asks otherwise|does not load"),
    "no template": (_without(".chat_template"), "asks otherwise"),
    "no pre": (_without(".pre"), "makes other tokens"),
    "default pre": (_with(".pre", "default"), "makes other tokens"),
    "pre of gpt-2": (_with(".pre", "gpt-2"), "makes other tokens"),
    "unknown pre": (_with(".pre", "nonsense"), "does not load it"),
    "no merges": (_without(".merges"), "does not load it"),
    "bos added": (_with(".add_bos_token", True), "begins a prompt otherwise"),
    "another eps": (_with(".layer_norm_rms_epsilon", 1e-2), "computes something else"),
    "no eps": (_without(".layer_norm_rms_epsilon"), "does not load it"),
    "fewer heads of keys": (_with(".head_count_kv", 4), "does not load it"),
    "fewer tokens": (_fewer, "does not load it|makes other tokens"),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_harmful_change_of_the_metadata_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    made, (harm, said) = folder._content, CHANGED[change]

    def content(source: Source, name: str) -> Any:
        found = made(source, name)
        return replace(found, keys=dict(harm(found.keys)))

    monkeypatch.setattr(folder, "_content", content)
    _refused(mlx_adapter(tiny_model, tmp_path / "source"), tmp_path / "out", said)


LAID: dict[str, tuple[Callable[[tensors.Laid], tensors.Laid], str]] = {
    "not permuted": (lambda one: replace(one, head=1), "computes something else"),
    "one added to norms": (lambda one: replace(one, added=int("norm" in one.name)), "computes something else"),
    "no adapters in the last layer": (
        lambda one: replace(one, source=BASE[one.source.name]) if one.name.startswith("blk.1.") else one,
        "computes something else",
    ),
}
BASE: dict[str, Any] = {}


@pytest.mark.parametrize("change", LAID)
def test_a_harmful_change_of_the_weights_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    made, (harm, said) = folder._content, LAID[change]
    BASE.update({one.name: one for one in fused_model(tiny_model, Trained(tiny_model)).tensors})

    def content(source: Source, name: str) -> Any:
        found = made(source, name)
        return replace(found, tensors=[harm(one) for one in found.tensors])

    monkeypatch.setattr(folder, "_content", content)
    _refused(mlx_adapter(tiny_model, tmp_path / "source"), tmp_path / "out", said)


def _refused(source: Path, output: Path, said: str) -> None:
    with pytest.raises(UserError) as refusal:
        export.main(export.Config(source=source, to="gguf", output=output, type_="f32"))
    assert any(one in str(refusal.value) for one in said.split("|")), refusal.value
    assert refusal.value.exit_code == 3 and not output.exists() and "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", [{}, {"fine_tune_type": "dora"}])
def test_every_type_is_tried(tiny_model: Path, tmp_path: Path, kind: dict[str, Any]) -> None:
    types = "f32,f16,bf16,q8_0,q5_1,q5_0,q4_1,q4_0"
    source = mlx_adapter(tiny_model, tmp_path / "source", **kind)
    export.main(export.Config(source=source, to="gguf", output=tmp_path / "out", type_=types))
    record = ExportRecord.read(tmp_path / "out" / files.EXPORT_RECORD)
    assert [one.kind for one in record.files] == types.split(",")
    numbers = [one.kl or 0.0 for one in record.files]
    assert numbers[0] < 1e-8 and numbers[1] < 1e-5 < numbers[-1] and np.isfinite(numbers).all()
