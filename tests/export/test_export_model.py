"""python -m finetune export --to model: adapters of every kind added into the weights, tensor by tensor, and checked."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
from finetune.commands import export
from finetune.errors import UserError
from finetune.export import draft, fused, model_folder, weights
from finetune.export.trained import read_mlx, read_peft
from finetune.models.fingerprint import fingerprint
from finetune.records import files
from finetune.records.export import ExportRecord
from made_adapters import logits_of, mlx_adapter, peft_adapter, peft_weight, quantised, rs_scale


def run(source: Path, output: Path, **flags: Any) -> ExportRecord:
    export.main(export.Config(**{"source": source, "to": "model", "output": output, **flags}))
    return ExportRecord.read(output / files.EXPORT_RECORD)


def refused(source: Path, output: Path, code: int = 2, **flags: Any) -> str:
    """What is said; nothing may be left behind."""
    before = sorted(output.parent.iterdir())
    with pytest.raises(UserError) as refusal:
        export.main(export.Config(**{"source": source, "to": "model", "output": output, **flags}))
    assert refusal.value.exit_code == code, refusal.value
    assert sorted(output.parent.iterdir()) == before and "\n" not in str(refusal.value)
    return str(refusal.value)


def tensor(folder: Path, name: str) -> np.ndarray:
    return weights.of_folder(folder)[name].whole()


KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "full": {"fine_tune_type": "full", "lora_layers": 1},
    "dora": {"fine_tune_type": "dora"},
    "some layers": {"lora_layers": 1, "lora_modules": "q_proj,mlp.down_proj"},
}


@pytest.mark.parametrize(
    "kind", [*[*KINDS][:2], *(pytest.param(one, marks=pytest.mark.models) for one in [*KINDS][2:])]
)
def test_the_folder_computes_what_the_adapters_compute(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    step = 0.01 if kind == "full" else 0.05
    source = mlx_adapter(tiny_model, tmp_path / "source", step, **KINDS[kind])
    record = run(source, tmp_path / "out")
    wanted = logits_of(tiny_model, source)
    assert np.abs(logits_of(tmp_path / "out") - wanted).max() < 1e-4 * wanted.std()
    assert np.abs(wanted - logits_of(tiny_model)).max() > 1e-2 * wanted.std()
    assert record.agreement and record.agreement.difference < 1e-4 < 10 * record.agreement.effect
    assert [one.name for one in record.files] == ["model.safetensors"] and record.files[0].kind == "f32"
    assert {"config.json", "tokenizer.json", files.EXPORT_RECORD} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, 8 / 4),
        ({"use_rslora": True}, rs_scale(8, 4)),
        ({"alpha_pattern": {"q_proj": 3}}, 3 / 4),
        ({"alpha_pattern": {"^model.layers.0.*q_proj": 3, "k_proj": 99}, "use_rslora": True}, rs_scale(3, 4)),
        ({"dora": True}, 8 / 4),
    ],
    ids=["lora", "rslora", "alpha by module", "a pattern", "dora"],
)
def test_adapters_of_peft(tiny_model: Path, tmp_path: Path, settings: dict[str, Any], scale: float) -> None:
    """Ranks differ by module; the weight is PEFT's to the last digits but one."""
    source = peft_adapter(tiny_model, tmp_path / "source", {"q_proj": 4, "down_proj": 2}, **settings)
    trained = read_peft(source, json.loads((source / files.ADAPTER_CONFIG).read_text()), "")
    found = {one.name: one for one in fused.fused_model(tiny_model, trained).tensors}
    name = "model.layers.0.self_attn.q_proj"
    wanted = peft_weight(tiny_model, source, name, scale)
    assert np.abs(np.concatenate([*found[f"{name}.weight"].pieces()]) - wanted).max() < 1e-5
    other = "model.layers.1.self_attn.o_proj.weight"
    assert np.array_equal(np.concatenate([*found[other].pieces()]), tensor(tiny_model, other))


def test_an_adapter_of_peft_is_checked_too(tiny_model: Path, tmp_path: Path) -> None:
    source = peft_adapter(tiny_model, tmp_path / "source", {"q_proj": 4, "down_proj": 2}, dora=True, use_rslora=True)
    record = run(source, tmp_path / "out")
    assert record.adapters == "DoRA rank 2 to 4, 4 modules" and record.agreement and record.agreement.effect > 0.01


def test_a_quantised_model_is_whole_again(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = quantised(tiny_model, tmp_path / "model")
    source = mlx_adapter(model, tmp_path / "source", fine_tune_type="dora")
    record = run(source, tmp_path / "out")
    assert record.dequantised == 15 and "quantised anew, they would lose a part" in capsys.readouterr().out
    assert "quantization" not in json.loads((tmp_path / "out/config.json").read_text())
    wanted = logits_of(model, source)
    assert np.abs(logits_of(tmp_path / "out") - wanted).max() < 1e-3 * wanted.std()


@pytest.mark.parametrize("kind", ["bf16", pytest.param("f16", marks=pytest.mark.models)])
def test_weights_are_rounded_once(
    tiny_model: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = mlx_adapter(tiny_model, tmp_path / "source")
    trained = read_mlx(source, json.loads((source / files.ADAPTER_CONFIG).read_text()), fingerprint(tiny_model))
    exact = {one.name: one for one in fused.fused_model(tiny_model, trained).tensors}
    record = run(source, tmp_path / "out", type_=kind)
    name, of = "model.layers.1.mlp.up_proj.weight", {"bf16": mx.bfloat16, "f16": mx.float16}[kind]
    wanted = np.array(mx.array(np.concatenate([*exact[name].pieces()])).astype(of).astype(mx.float32))
    assert np.array_equal(tensor(tmp_path / "out", name), wanted) and record.files[0].kind == kind
    assert f"because the weights are {kind.upper()}" in capsys.readouterr().out


def test_the_check_sees_a_wrong_scale(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = mlx_adapter(tiny_model, tmp_path / "source")
    add = fused._Adapted.__call__
    monkeypatch.setattr(fused._Adapted, "__call__", lambda self, *rows: 1.01 * add(self, *rows))
    assert "computes something else" in refused(source, tmp_path / "out", 3)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _without(leaf: str) -> Callable[[Path], None]:
    def drop(path: Path) -> None:
        arrays = dict(mx.load(str(path)))
        arrays.pop(next(name for name in arrays if name.endswith(leaf)))
        mx.save_safetensors(str(path), arrays)

    return drop


def _not_finite(path: Path) -> None:
    arrays = dict(mx.load(str(path)))
    name = next(iter(arrays))
    mx.save_safetensors(str(path), arrays | {name: arrays[name] * float("nan")})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncated, "cannot be read"),
        (_flipped, "damaged: its content differs"),
        (_without("lora_b"), "is missing"),
        (_not_finite, "not finite"),
    ],
)
def test_damaged_adapters_are_refused(
    tiny_model: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    source = mlx_adapter(tiny_model, tmp_path / "source", lora_layers=1)
    damage(source / files.ADAPTERS)
    with pytest.raises(UserError, match=said) as refusal:
        read_mlx(source, json.loads((source / files.ADAPTER_CONFIG).read_text()), fingerprint(tiny_model))
    assert refusal.value.exit_code == 3


def test_what_else_is_refused_and_the_remedies_work(tiny_model: Path, tiny_gemma: Path, tmp_path: Path) -> None:
    source, output = mlx_adapter(tiny_model, tmp_path / "source"), tmp_path / "out"
    assert "trained on another model" in refused(source, output, 3, model=str(tiny_gemma))
    assert "--type: unknown value 'q8_0' for model (choose from f16, bf16, f32)" in refused(
        source, output, type_="q8_0"
    )
    assert "name one" in refused(source, output, type_="f16,bf16")
    assert "--name has no effect" in refused(source, output, name="x")
    assert "--check has no effect" in refused(source, output, check="none")
    assert "no adapters.safetensors and no adapter_model.safetensors" in refused(tiny_model, output)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/note.txt").write_text("mine")
    assert "already exists (use a new or an empty folder)" in refused(source, tmp_path / "full")
    settings = json.loads((source / files.ADAPTER_CONFIG).read_text())
    (source / files.ADAPTER_CONFIG).write_text(json.dumps({**settings, "model": None}))
    assert "name it with --model" in refused(source, output)
    run(source, output, model=str(tiny_model))  # the remedy


def test_a_disk_without_room_is_seen_before_anything_is_written(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = mlx_adapter(tiny_model, tmp_path / "source")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(draft.shutil, "disk_usage", lambda path: usage._replace(free=5_000_000))
    monkeypatch.setattr(weights, "write", None)
    said = refused(source, tmp_path / "out", 4)
    assert "needs 13 MB, and the disk has 5 MB free" in said


def test_a_killed_export_leaves_nothing_that_the_next_one_keeps(tiny_model: Path, tmp_path: Path) -> None:
    left = tmp_path / ".exporting-out-abc"
    (left / "exported").mkdir(parents=True)
    (left / "exported/model.safetensors").write_bytes(b"half")
    foreign = tmp_path / ".exporting-out-mine"
    (foreign / "notes").mkdir(parents=True)
    run(mlx_adapter(tiny_model, tmp_path / "source"), tmp_path / "out")
    assert not left.exists() and foreign.exists()


def test_a_template_of_the_training_comes_along(tiny_model: Path, tmp_path: Path) -> None:
    source = mlx_adapter(tiny_model, tmp_path / "source")
    text = (
        "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}<|im_start|>assistant: "
    )
    (source / "chat_template.jinja").write_text(text)
    run(source, tmp_path / "out")
    assert (tmp_path / "out/chat_template.jinja").read_text() == text


def test_names_that_mlx_lm_gives_otherwise_are_fused_by_mlx_lm(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for GPT-2, whose files have other names and turned matrices."""
    source = mlx_adapter(tiny_model, tmp_path / "source")

    def unmatched(*_: object) -> None:
        raise fused.Unmatched("its weights lie the other way round")

    monkeypatch.setattr(model_folder, "fused_model", unmatched)
    run(source, tmp_path / "out")
    wanted = logits_of(tiny_model, source)
    assert np.abs(logits_of(tmp_path / "out") - wanted).max() < 1e-4 * wanted.std()
    assert "omit --type" in refused(source, tmp_path / "other", type_="f16")
