"""python -m finetune convert-adapter: adapters of PEFT itself and of our own training, on tiny models in both libraries."""

import json
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
import made_adapters
from finetune.backends import peft_settings
from finetune.backends.mlx import adapters
from finetune.backends.mlx.model import load_network
from finetune.commands.convert_adapter import Config, main
from finetune.errors import UserError
from finetune.export.adapters import convert, mlx_side, peft_side
from finetune.models.fingerprint import fingerprint
from finetune.models.new_tokens import NewTokens
from finetune.records import files
from finetune.records.dataset import Source
from finetune.records.run import Data, Model, RunRecord, read_run
from finetune.settings.config import TrainingConfig

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

TOKENS = [[5, 17, 300, 42, 7, 7, 1999, 23, 11, 4, 900, 31]]


def mlx_adapter(model: Path, folder: Path, step: float = 0.05, **changed: Any) -> Path:
    """What train.py would write, with random numbers for what it learns."""
    return made_adapters.mlx_adapter(model, folder, step, **{"lora_dropout": 0.1, **changed})


def torch_model(model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)


def peft_adapter(model: Path, folder: Path, **changed: Any) -> Path:
    """What PEFT itself writes; random numbers in lora_B."""
    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 12, "target_modules": ["q_proj", "v_proj", "down_proj"], "task_type": "CAUSAL_LM"}
    made = peft.get_peft_model(torch_model(model), peft.LoraConfig(**{**settings, **changed}))
    for name, parameter in made.named_parameters():
        if "lora_B" in name or "magnitude" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_pretrained(folder)
    return folder


def logits_of_peft(model: Path, folder: Path) -> Any:
    with torch.no_grad():
        return peft.PeftModel.from_pretrained(torch_model(model), folder)(input_ids=torch.tensor(TOKENS)).logits.numpy()


def logits_of_mlx_lm(model: Path, folder: Path) -> Any:
    import numpy as np
    from mlx_lm.tuner.utils import load_adapters

    network = load_adapters(load_network(model, mx.float32), str(folder))
    network.eval()
    return np.array(network(mx.array(TOKENS)))


def refused(source: Path, to: str, output: Path, code: int = 2) -> str:
    """What is said; nothing may be left behind."""
    before = sorted(output.parent.iterdir())
    with pytest.raises(UserError) as refusal:
        main(Config(source, to, output))
    assert refusal.value.exit_code == code, refusal.value
    assert sorted(output.parent.iterdir()) == before
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("shape, kind", [("llama", "lora"), ("llama", "dora"), ("gemma", "lora"), ("gemma", "dora")])
def test_there_and_back_is_the_same(
    request: pytest.FixtureRequest, tmp_path: Path, shape: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = request.getfixturevalue("tiny_model" if shape == "llama" else "tiny_gemma")
    layers = 1 if kind == "dora" else None
    source = mlx_adapter(model, tmp_path / "source", fine_tune_type=kind, lora_layers=layers)
    capsys.readouterr()  # what it took to have the model
    main(Config(source, "peft", tmp_path / "peft"))
    said = capsys.readouterr().out
    assert said.startswith(f"{'LoRA' if kind == 'lora' else 'DoRA'} rank 4, ") and ", scale 2: " in said
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        peft.PeftModel.from_pretrained(torch_model(model), tmp_path / "peft")
    assert not [str(one.message) for one in caught if "key" in str(one.message).lower()]
    main(Config(tmp_path / "peft", "mlx", tmp_path / "mlx"))
    then, now = (mx.load(str(folder / files.ADAPTERS)) for folder in (source, tmp_path / "mlx"))
    assert then.keys() == now.keys() and all(mx.array_equal(then[name], now[name]) for name in then)
    settings, again = (json.loads((folder / files.ADAPTER_CONFIG).read_text()) for folder in (source, tmp_path / "mlx"))
    again["lora_parameters"].pop("keys")
    assert again == {**settings, "model": str(model.resolve())}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"use_dora": True, "use_rslora": True},
        {"alpha_pattern": {"v_proj": 3}},
        {"r": 2, "rank_pattern": {"q_proj": 4, "v_proj": 4, "down_proj": 4}},
        {"layers_to_transform": [1]},
        {"layers_to_transform": [0]},
        {"target_modules": r".*0\.self_attn\.q_proj|.*1\.self_attn\.[qv]_proj"},
        {"target_modules": r".*layers\.1\.(self_attn\.o|mlp\.up)_proj"},
    ],
    ids=["plain", "dora, rslora", "scales", "ranks", "a layer", "the first", "some", "regex"],
)
def test_what_peft_made_computes_the_same_in_mlx_lm(tiny_model: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    source = peft_adapter(tiny_model, tmp_path / "source", **changed)
    main(Config(source, "mlx", tmp_path / "mlx"))
    wanted = logits_of_peft(tiny_model, source)
    assert abs(logits_of_mlx_lm(tiny_model, tmp_path / "mlx") - wanted).max() < 1e-4 * wanted.std()


def test_layers_of_another_name_and_weights_the_other_way(builtin_model: Path, tmp_path: Path) -> None:
    """GPT-2: transformer.h and Conv1D in transformers, model.h and Linear in MLX."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = tmp_path / "model"
    config = GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=49152, n_positions=64, n_ctx=64)
    GPT2LMHeadModel(config).transformer.save_pretrained(model)  # the names that the Hub's has
    AutoTokenizer.from_pretrained(builtin_model).save_pretrained(model)
    settings = {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True, "use_dora": True}
    source = peft_adapter(model, tmp_path / "source", **settings)
    main(Config(source, "mlx", tmp_path / "mlx"))
    main(Config(tmp_path / "mlx", "peft", tmp_path / "peft"))
    name = "base_model.model.transformer.h.1.mlp.c_proj.lora_A.weight"
    then, now = (mx.load(str(folder / files.PEFT_ADAPTERS)) for folder in (source, tmp_path / "peft"))
    assert then.keys() == now.keys() and mx.array_equal(then[name], now[name])


@pytest.mark.parametrize("to", ["peft", "mlx"])
def test_a_wrong_scale_is_seen(tiny_model: Path, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (mlx_adapter if to == "peft" else peft_adapter)(tiny_model, tmp_path / "source")
    scale, alpha = mlx_side._one_scale, peft_side._alpha
    monkeypatch.setattr(mlx_side, "_one_scale", lambda adapter: (2 * scale(adapter)[0], scale(adapter)[1]))
    monkeypatch.setattr(peft_side, "_alpha", lambda scale, rank: 2 * alpha(scale, rank))
    assert "computes something else" in refused(source, to, tmp_path / "output", 3)


@pytest.mark.parametrize("factor", [1.001, 2])
def test_a_small_adapter_has_to_be_seen_above_the_rounding(
    tiny_model: Path, tmp_path: Path, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its logits are those of the base model but for 1e-5 of their spread; twice the scale would still be within 1e-3."""
    source = mlx_adapter(tiny_model, tmp_path / "source", step=1e-5)
    monkeypatch.setattr(peft_side, "_alpha", lambda scale, rank: factor * scale * rank)
    if factor == 2:
        assert "too little to tell" in refused(source, "peft", tmp_path / "output", 3)
    else:
        main(Config(source, "peft", tmp_path / "output"))


def test_all_layers_as_mlx_lm_says_it(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = mlx_adapter(tiny_model, tmp_path / "source", fine_tune_type="dora")
    settings = json.loads((source / files.ADAPTER_CONFIG).read_text())
    (source / files.ADAPTER_CONFIG).write_text(json.dumps({**settings, "num_layers": -1}))
    main(Config(source, "peft", tmp_path / "peft"))
    assert "DoRA rank 4, 14 modules" in capsys.readouterr().out


def test_an_adapter_that_changes_nothing_says_so(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(Config(mlx_adapter(tiny_model, tmp_path / "source", step=0), "peft", tmp_path / "peft"))
    assert "the adapter changes nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "lora_only"}, "bias 'lora_only'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changes the base model"),
        ({"rank_pattern": {"v_proj": 2}}, "different ranks"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens.lora_embedding_B has no counterpart"),
    ],
)
def test_what_mlx_cannot_express_is_named(tiny_model: Path, tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    assert said in refused(peft_adapter(tiny_model, tmp_path / "source", **changed), "mlx", tmp_path / "output")


def test_other_kinds_of_adapter_are_named(tiny_model: Path, tmp_path: Path) -> None:
    source = mlx_adapter(tiny_model, tmp_path / "source")
    settings = json.loads((source / files.ADAPTER_CONFIG).read_text())
    (source / files.ADAPTER_CONFIG).write_text(json.dumps({**settings, "fine_tune_type": "full"}))
    assert "fine_tune_type 'full'" in refused(source, "peft", tmp_path / "output")
    (source / files.ADAPTERS).rename(source / files.PEFT_ADAPTERS)
    (source / files.ADAPTER_CONFIG).write_text('{"peft_type": "IA3"}')
    assert "peft_type 'IA3'" in refused(source, "mlx", tmp_path / "output")
    assert "already an adapter of PEFT" in refused(source, "peft", tmp_path / "output")


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"r": "4"}, "r is '4'"),
        ({"r": 10**9}, "r is 1000000000"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"lora_dropout": 1}, "lora_dropout is 1"),
        ({"target_modules": 5}, "target_modules is 5"),
        ({"target_modules": "["}, "'[' is not a regular expression"),
        ({"target_modules": "((.*)*)*x"}, "a regular expression for modules took more than 1.0 s"),
        ({"rank_pattern": {"q_proj": -1}}, "rank_pattern is {'q_proj': -1}"),
        ({"base_model_name_or_path": {"a": 1}}, "base_model_name_or_path is {'a': 1}"),
        ({"megatron_config": {"a": 1}}, "megatron_config"),
    ],
    ids=str,
)
def test_settings_that_no_adapter_has_are_refused_by_both_readers(
    tiny_model: Path, tmp_path: Path, changed: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune.backends.torch import adapters as of_torch

    monkeypatch.setattr(peft_settings, "_SECONDS", 1)
    source = peft_adapter(tiny_model, tmp_path / "source")
    path = source / files.ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    network = torch_model(tiny_model)
    with pytest.raises(UserError, match=re.escape(said)):
        of_torch.load(network, source)
    with pytest.raises(UserError, match=re.escape(said)):
        peft_side.check(path, json.loads(path.read_text()))
        peft_side.load(network, source)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _arrays(change: Callable[[dict[str, Any], str], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        arrays = dict(mx.load(str(path)))
        change(arrays, min(name for name in arrays if "lora_b" in name.lower()))
        mx.save_safetensors(str(path), arrays)

    return damage


DAMAGE = {
    "cannot be loaded": _truncated,
    "not finite": _arrays(lambda arrays, name: arrays.update({name: arrays[name] * float("nan")})),
    "does not fit": _arrays(lambda arrays, name: arrays.update({name: arrays[name][:, :3]})),
    "is missing": _arrays(lambda arrays, name: arrays.pop(name)),
}


@pytest.mark.parametrize("to", ["peft", "mlx"])
@pytest.mark.parametrize("said", DAMAGE)
def test_damaged_adapters_are_refused(tiny_model: Path, tmp_path: Path, to: str, said: str) -> None:
    source = (mlx_adapter if to == "peft" else peft_adapter)(tiny_model, tmp_path / "source")
    DAMAGE[said](next(source.glob("*.safetensors")))
    assert said in refused(source, to, tmp_path / "output", 3)


def test_what_else_is_wrong_with_a_source(tiny_model: Path, tiny_gemma: Path, tmp_path: Path) -> None:
    source, output = mlx_adapter(tiny_model, tmp_path / "source"), tmp_path / "output"
    with pytest.raises(UserError, match="trained on another model"):
        main(Config(source, "peft", output, str(tiny_gemma)))
    files.write_json(
        source / files.RUN_RECORD, dict.fromkeys("config task model template_sha256 data command".split(), "?")
    )
    assert "run.json: not a record of" in (said := refused(source, "peft", output)) and "python train.py" in said
    (source / files.RUN_RECORD).unlink()
    shutil.copytree(source, tmp_path / "flipped")
    _flipped(tmp_path / "flipped" / files.ADAPTERS)
    assert "damaged" in refused(tmp_path / "flipped", "peft", output, 3)
    settings = json.loads((source / files.ADAPTER_CONFIG).read_text())
    (source / files.ADAPTER_CONFIG).write_text(json.dumps({**settings, "model": None}))
    assert "pass it with --model" in refused(source, "peft", output)
    (source / files.ADAPTER_CONFIG).unlink()
    assert "not found" in refused(source, "peft", output)
    assert "not found (use the folder" in refused(tmp_path, "peft", output)


def test_a_run_of_ours_stays_one(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = mlx_adapter(tiny_model, tmp_path / "source")
    model = Model("builtin", "builtin", None, str(tiny_model), "0")
    record = RunRecord(
        {"backend": "mlx", "seed": 7}, "sql", model, "0", Data("data", Source("x"), {}), "x", template="text"
    )
    record.write(source / files.RUN_RECORD)
    (tmp_path / "peft").mkdir()  # an empty folder is as good as none
    main(Config(source, "peft", tmp_path / "peft"))
    assert f"python test_finetuned.py --adapter-path {tmp_path / 'peft'}" in capsys.readouterr().out
    now = read_run(tmp_path / "peft")
    origin = now.converted_from
    assert replace(now, converted_from=None) == replace(record, config={"backend": "torch", "seed": 7})
    assert origin and origin.sha256 == files.file_hash(source / files.ADAPTERS)
    main(Config(tmp_path / "peft", "mlx", tmp_path / "mlx"))
    assert read_run(tmp_path / "mlx").config["backend"] == "mlx"
    assert "already exists" in refused(source, "peft", tmp_path / "peft")


def test_without_torch_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "find_spec", lambda name: None)
    assert "torch and peft are not installed" in (said := refused(tmp_path, "peft", tmp_path / "output"))
    assert "make setup-torch" in said


def test_a_model_with_eager_attention_is_converted_in_the_process_that_loaded_a_blas_for_mlx(
    builtin_model: Path, tmp_path: Path
) -> None:
    """PyTorch's batched matrix products are its own, not those of the BLAS that MLX uses."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(3)
    size = json.loads((builtin_model / "config.json").read_text())["vocab_size"]
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    small |= {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": size, "query_pre_attn_scalar": 8}
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 50000.0}}  # only in the new form
    Gemma2ForCausalLM(Gemma2Config(**small, **rope)).save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(builtin_model / name, tmp_path / "model" / name)
    source = mlx_adapter(tmp_path / "model", tmp_path / "mlx")
    done = convert.convert_adapter(source, "peft", tmp_path / "peft", None, print)
    assert done.agreement.base < 1e-3 and done.agreement.change < 1e-3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlx", "model", "peft"]  # no leftovers


@pytest.mark.parametrize(
    ("base", "effect", "change", "problem"),
    [
        (1.6e-3, 0.2, 4e-4, None),  # GELU by erf and by tanh
        (1e-5, 0.2, 1e-6, None),
        (4.0, 0.2, 1e-6, "without any adapter"),  # another RoPE
        (1.6e-3, 0.2, 0.1, "computes something else"),  # another scale
        (1.6e-3, 5e-3, 1.4e-3, "too little to tell"),
        (float("nan"), 0.2, 1e-6, "without any adapter"),
    ],
)
def test_what_the_libraries_approximate_differently_is_told_from_a_wrong_conversion(
    base: float, effect: float, change: float, problem: str | None
) -> None:
    from finetune.export.adapters.check import Agreement

    agreement = Agreement(difference=base + change, base=base, effect=effect, change=change)
    if problem is None:
        agreement.demand(changes_nothing=False)
        return
    with pytest.raises(UserError, match=problem):
        agreement.demand(changes_nothing=False)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_and_new_tokens_become_what_peft_loads(
    tied: bool, whole: bool, tiny_model: Path, tmp_path: Path
) -> None:
    """Plain PEFT computes what MLX does, with the tokens, on the base model that has been resized for them."""
    from mlx.utils import tree_flatten

    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    config = json.loads((base / "config.json").read_text()) | {"tie_word_embeddings": tied}
    (base / "config.json").write_text(json.dumps(config))
    weights = dict(tree_flatten(load_network(tiny_model).parameters()))
    if not tied:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"][::-1]
    mx.save_safetensors(str(base / "model.safetensors"), weights, metadata={"format": "pt"})
    network = load_network(base)
    new = NewTokens(("<a>", "<b>"), 49152, ((1, 2), (3,)))
    settings, _ = adapters.settings_and_notes(network, TrainingConfig(lora_rank=4, train_embeddings=whole), new)
    adapters.begin(network, settings, new)
    mx.random.seed(1)
    arrays = {name: array + 0.02 * mx.random.normal(array.shape) for name, array in adapters.trainable(network).items()}
    source = tmp_path / "source"
    source.mkdir()
    files.write_json(source / files.ADAPTER_CONFIG, {**settings, "model": str(base)})
    adapters.save(arrays, source / files.ADAPTERS, {"base": fingerprint(base)})
    main(Config(source, "peft", tmp_path / "peft", None))
    model = torch_model(base)
    model.resize_token_embeddings(49154)
    loaded = peft.PeftModel.from_pretrained(model, tmp_path / "peft").eval()
    adapters.put(network, arrays)
    tokens = [49152, 5, 49153, 17]
    with torch.no_grad():
        found = loaded(input_ids=torch.tensor([tokens])).logits[0].numpy()
    wanted = network(mx.array([tokens]))[0]
    assert found.shape == wanted.shape
    assert mx.abs(mx.array(found) - wanted).max().item() < 1e-3
    merged = loaded.merge_and_unload()
    with torch.no_grad():
        assert mx.abs(mx.array(merged(input_ids=torch.tensor([tokens])).logits[0].numpy()) - wanted).max().item() < 1e-3
