"""Runs with new tokens and trained embeddings, from the rows to the later stages, each in this process."""

import importlib.util
import io
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from finetune import scripts
from finetune.backends import load_backend
from finetune.errors import UserError

mlx = load_backend("mlx")

from finetune.backends.mlx import adapters, embeddings, training  # noqa: E402
from finetune.backends.mlx.model import load_network  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402
from finetune.commands import fuse as fuse_command  # noqa: E402
from finetune.evaluation.tuned_run import open_run  # noqa: E402
from finetune.models.conversation import Conversation  # noqa: E402
from finetune.models.encoder import ChatEncoder  # noqa: E402
from finetune.records.run import read_run  # noqa: E402
from finetune.settings.config import DatasetConfig, TrainingConfig  # noqa: E402
from finetune.settings.fields import build  # noqa: E402

ROOT = Path(__file__).parents[2]
TOKENS = ["<order>", "<nowhere>", "</order>"]
FEW = {
    "iters": 2,
    "batch_size": 2,
    "lora_rank": 2,
    "warmup": 0,
    "show_samples": 0,
    "steps_per_eval": 2,
    "learning_rate": 1e-2,
}


def script(name: str, kind: Any) -> Callable[..., None]:
    """The script's ``main``, called with flags as the command line gives them."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(**flags: object) -> None:
        flags = {key: str(value) if isinstance(value, Path) else value for key, value in flags.items()}
        config = build(kind, [("flag", flags), *scripts.layers_of(kind)(flags)], scripts.CHOICES)
        scripts.prepare(config)
        module.main(config)

    return run


train = script("train", TrainingConfig)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(24):
            answer = f"<order>{number} lamps</order>"
            messages = [{"role": "user", "content": f"{number} lamps"}, {"role": "assistant", "content": answer}]
            pair = {"chosen": answer, "rejected": "no", "prompt": f"{number} lamps"}
            file.write(json.dumps({"messages": messages, **pair}) + "\n")
    (folder / "tokens.txt").write_text("\n".join(TOKENS))
    script("dataset", DatasetConfig)(
        type_="chat", dataset_name=str(folder / "rows.jsonl"), output_dir=folder / "data", valid_fraction=0.2
    )
    return folder


@pytest.fixture(scope="module")
def given(data: Path, tiny_model: Path) -> Mapping[str, Any]:
    return {**FEW, "model": str(tiny_model), "data_dir": data / "data", "backend": "mlx"}


SAID: list[str] = []  # by the run below


@pytest.fixture(scope="module")
def run(data: Path, given: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    with redirect_stderr(io.StringIO()) as said:
        train(**given, add_tokens=data / "tokens.txt", adapter_path=folder)
    SAID.append(said.getvalue())
    return folder


def test_a_run_says_what_it_adds_and_leaves_a_tokenizer(run: Path, tiny_model: Path) -> None:
    said, record = SAID[0], read_run(run)
    assert "New tokens: 3, one id each from 49152 on; in the training rows <order> 18x, </order> 18x." in said
    assert "Warning: 1 of the new tokens is in no training row and will not be learned: <nowhere>." in said
    assert "For mlx-lm, which refuses adapters with embeddings, and for transformers: python -m finetune fuse" in said
    assert list(record.new_tokens) == TOKENS
    written = ChatEncoder(tiny_model, added=dict.fromkeys(record.new_tokens, "")).tokenizer
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(run)
    text = "a <order>b</order>"
    assert loaded.encode(text) == written.encode(text) and 49152 in loaded.encode(text)
    arrays, _ = adapters.read(run / "adapters.safetensors")
    assert arrays["model.embed_tokens.rows"].shape == (3, 64)


def test_later_stages_ask_each_model_with_its_own_tokenizer(run: Path, tiny_model: Path) -> None:
    opened = open_run(run)
    tuned = opened.load()
    base = tuned.without_adapter()
    assert tuned.encoder.new_tokens is not None and base.encoder.new_tokens is None
    conversation = Conversation.of({"messages": [{"role": "user", "content": "3 <order>"}]})
    assert 49152 in tuned.encoder.prompt(conversation) and max(base.encoder.prompt(conversation)) < 49152
    probe = mx.array([[1, 2, 3]])
    assert mx.array_equal(base.network(probe), load_network(tiny_model)(probe)).item()
    assert tuned.network(mx.array([[49152, 49153]])).shape[-1] == 49155
    assert not tuned.changes_nothing
    assert len(tuned.answers([conversation], max_tokens=3)) == len(base.answers([conversation], max_tokens=3)) == 1


def test_a_run_that_is_resumed_or_continued_keeps_the_tokens(
    run: Path, data: Path, given: Mapping[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "tokens.txt"
    tokens.write_bytes((data / "tokens.txt").read_bytes())
    begun = tmp_path / "begun"
    stopped = training.Trainer.run

    def one_step(self: Any, stop: Any) -> Any:
        yield next(stopped(self, stop))

    training.Trainer.run = one_step  # type: ignore[method-assign]
    try:
        with pytest.raises(BaseException, match="Stopped after step 1"):
            train(**given, add_tokens=tokens, adapter_path=begun)
    finally:
        training.Trainer.run = stopped  # type: ignore[method-assign]
    tokens.write_text("<order>\n")
    with pytest.raises(
        UserError, match=r"cannot resume .*: inputs changed: tokens of --add-tokens was \w+, is now \w+"
    ):
        train(resume=True, adapter_path=begun)
    tokens.unlink()  # the record has them
    train(resume=True, adapter_path=begun)
    assert (begun / "adapters.safetensors").read_bytes() == (run / "adapters.safetensors").read_bytes()
    capsys.readouterr()
    train(from_adapter=run, adapter_path=tmp_path / "next", **FEW)
    assert list(read_run(tmp_path / "next").new_tokens) == TOKENS
    assert "New tokens: 3" in capsys.readouterr().err
    open_run(tmp_path / "next").load()
    with pytest.raises(UserError, match="--add-tokens has no effect with --from-adapter: tokens are added when a base"):
        train(from_adapter=run, adapter_path=tmp_path / "more", add_tokens=data / "tokens.txt")


@pytest.mark.parametrize("method", ["dpo", "grpo"])
def test_the_reference_model_is_the_base(method: str, tiny_model: Path) -> None:
    """Whatever is learned, log-probabilities at the start are those of the base's own embeddings."""
    from finetune.methods import METHODS, RowSource
    from finetune.models.examples import as_rows
    from finetune.models.loss_mask import Example

    encoder = ChatEncoder(tiny_model)
    example = Example([1, 40, 300, 7, 9], [False, False, True, True, True])
    config = TrainingConfig(method=method, train_embeddings=True, lora_rank=2, learning_rate=1e-1, warmup=0)
    source = RowSource(METHODS["sft"], as_rows([example]), config)
    base = -sum(mlx.load(tiny_model, encoder).losses([example]))
    trainer: Any = mlx.Trainer(mlx.load(tiny_model, encoder), METHODS[method], source, config, 2, "")
    name = "model.embed_tokens.weight"
    moved = adapters.trainable(trainer.network)[name] + 1.0
    adapters.put(trainer.network, {name: moved})
    assert sum(trainer.logprobs([example], at_start=True)[0]) == pytest.approx(base, rel=1e-4)
    assert sum(trainer.logprobs([example])[0]) != pytest.approx(base, rel=1e-2)


def test_fused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """mlx-lm itself loads the folder and computes the same, with the tokens."""
    from mlx_lm import load

    fuse_command.main(fuse_command.Config(run, tmp_path / "fused"))
    assert "differ from those of the adapters by" in capsys.readouterr().out
    tokens = [49152, 5, 49153]
    network, tokenizer = load(str(tmp_path / "fused"))
    assert tokenizer.encode("<order>")[-1] == 49152
    wanted = open_run(run).load().network(mx.array([tokens]))
    assert mx.abs(network(mx.array([tokens])) - wanted).max().item() < 1e-3
    assert json.loads((tmp_path / "fused/config.json").read_text())["vocab_size"] == 49155
    with pytest.raises(UserError, match="already exists"):
        fuse_command.main(fuse_command.Config(run, tmp_path / "fused"))


def test_a_plan_counts_the_embeddings(given: Mapping[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    train(**given, train_embeddings=True, dry_run=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "trained in adapters of 14 modules and in the embeddings" in said
    assert "embeddings, gradient 13 MB" in said  # 49152 x 64 numbers, and two of each in the optimizer
    assert "optimizer 25 MB" in said


def test_what_cannot_be_is_refused_before_anything_is_loaded(
    data: Path, given: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlx, "load", None)
    (tmp_path / "none.txt").write_text("<nowhere>\n")
    run = {**given, "adapter_path": tmp_path / "run"}
    for flags, message in (
        ({"add_tokens": tmp_path / "none.txt"}, r"none of its tokens occurs in the training rows"),
        ({"add_tokens": tmp_path / "gone.txt"}, r"gone\.txt: not found"),
        ({"add_tokens": data / "tokens.txt", "backend": "torch"}, r"--add-tokens: not supported by --backend torch"),
        ({"train_embeddings": True, "backend": "torch"}, r"--train-embeddings: not supported by --backend torch"),
        (
            {"train_embeddings": True, "export_mlx_lm": tmp_path / "x.yml"},
            r"--export-mlx-lm has no effect with --train-emb",
        ),
    ):
        with pytest.raises(UserError, match=message):
            train(**{**run, **flags})
    tokenizer = tmp_path / "own" / "tokenizer.json"
    tokenizer.parent.mkdir()
    tokenizer.write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer\.json: not written by a run that added tokens"):
        train(**{**run, "adapter_path": tokenizer.parent, "add_tokens": data / "tokens.txt"})
    assert not (tmp_path / "run").exists() and tokenizer.read_text() == "{}"


def test_the_tokenizer_moves_with_its_run(run: Path, given: Mapping[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(run, folder)
    train(**given, adapter_path=folder)
    assert not (folder / "tokenizer.json").exists() and (folder / "previous/tokenizer.json").exists()
    assert list(read_run(folder).new_tokens) == [] and embeddings.KEY not in json.loads(
        (folder / "adapter_config.json").read_text()
    )


@pytest.mark.models
def test_the_builtin_model_writes_new_tokens_and_mlx_lm_too(
    data: Path, builtin_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """60 steps on answers with two new tokens: each is written as one token, by the run and by the fused folder."""
    from mlx_lm import generate, load

    few = {
        **FEW,
        "iters": 60,
        "batch_size": 4,
        "lora_rank": 16,
        "learning_rate": 2e-4,
        "steps_per_eval": 60,
        "warmup": 10,
    }
    run = tmp_path / "run"
    train(
        **few, model="builtin", backend="mlx", data_dir=data / "data", add_tokens=data / "tokens.txt", adapter_path=run
    )
    tuned = open_run(run).load()
    conversation = Conversation.of({"messages": [{"role": "user", "content": "31 lamps"}]})
    prompt = tuned.encoder.prompt(conversation)
    tokens = list(tuned.stream(prompt, 16))
    assert tokens.count(49152) == tokens.count(49154) == 1 and tokens[0] == 49152
    (answer,) = tuned.answers([conversation], max_tokens=16)
    assert answer.text == "<order>31 lamps</order>" and answer.stopped
    fuse_command.main(fuse_command.Config(run, tmp_path / "fused"))
    network, tokenizer = load(str(tmp_path / "fused"))
    assert generate(network, tokenizer, prompt, max_tokens=16) == answer.text
