"""Continued pre-training through all four scripts, with a base model that has no chat template."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.backends.mlx.runtime import mx  # noqa: F401  # before any other import of MLX
from finetune.errors import UserError
from finetune.methods import METHODS
from finetune.models.encoder import ChatEncoder
from finetune.records.dataset import DatasetRecord
from finetune.settings.config import TrainingConfig
from finetune.training import check_only, start
from finetune.training.inputs import read_inputs
from scripts import refused, run

WORDS = "The quick brown fox jumps over the lazy dog while seven wizards boxed. "
pytestmark = pytest.mark.scripts


@pytest.fixture(scope="module")
def base(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").unlink()
    return folder


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    (folder / "docs").mkdir()
    for at in range(12):
        (folder / "docs" / f"{at}.md").write_text(
            f"# Note {at}\n\n" + "".join(f"{at}.{n} {WORDS}" for n in range(at + 2))
        )
    cut = ("--max-seq-length", 48, "--valid-fraction", 0.2, "--test-fraction", 0.3)
    run(folder, "dataset.py", "--type", "text", "--dataset-name", "docs", "--model", base, *cut)
    train = ("--iters", 4, "--warmup", 1, "--batch-size", 2, "--steps-per-eval", 4, "--learning-rate", 0.01)
    run(folder, "train.py", *train)
    run(folder, "test_finetuned.py", "--max-tokens", 4, "--num-samples", 8)
    return folder


def json_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_model_and_length_come_from_the_cut_documents(trained: Path, base: Path) -> None:
    record = json_of(trained / "checkpoints/run.json")
    assert (record["task"], record["config"]["model"], record["config"]["max_seq_length"]) == ("text", str(base), 48)
    assert record["origins"]["model"] == record["origins"]["max_seq_length"] == "data/dataset.json"


def test_texts_are_judged_by_their_loss(trained: Path, base: Path) -> None:
    quality = json_of(trained / "results/evaluation.json")
    assert quality["decided_by"] == "loss per token" and quality["scored"] == 0 and quality["general"] is None
    encoder = ChatEncoder(base, chats=False)
    rows = [json.loads(line) for line in (trained / "data/test.jsonl").read_text().splitlines()]
    assert {row["document"] for row in rows}.isdisjoint(
        json.loads(line)["document"] for line in (trained / "data/train.jsonl").read_text().splitlines()
    )
    for side in ("base", "tuned"):
        found = quality[side]
        bits = sum(row[side]["loss"] for row in quality["rows"]) / math.log(2)
        tokens = bits * math.log(2) / found["loss_per_token"]
        assert 0 < found["bits_per_byte"] < bits and tokens == pytest.approx(round(tokens))
    for row in quality["rows"]:  # what is continued and how it goes on are the piece
        piece = next(one for one in rows if row["prompt"] + row["reference"] == one["text"])
        assert row["question"].startswith(f"{piece['document']} {piece['piece']}/{piece['pieces']}: ")
    assert quality["tuned"]["loss_per_token"] < quality["base"]["loss_per_token"]
    assert encoder.plain.fingerprint == json_of(trained / "data/dataset.json")["pieces"]["tokenizer_sha256"]


@pytest.mark.faults
def test_a_benchmark_of_texts(trained: Path) -> None:
    run(trained, "benchmark.py", "--compare", "--quick", "--max-tokens", 4, "--runs", 1, "--num-samples", 8)
    page = (trained / "results/report.html").read_text(encoding="utf-8")
    assert "perplexity" in page and "bits per byte" in page and "cannot be scored" not in page


def test_a_model_without_a_template_does_not_chat(trained: Path) -> None:
    error = refused(trained, "test_finetuned.py", "--interactive")
    assert "has no chat template" in error and "or train with --template chatml" in error


def config_of(trained: Path, **options: Any) -> TrainingConfig:
    explicit = {"data_dir": trained / "data", **options}
    values: dict[str, Any] = {}
    for _, layer in reversed([("flag", explicit), *start.layers(explicit)]):
        values |= layer
    return replace(TrainingConfig(), **values, origins=dict.fromkeys(options, "flag"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"method": "grpo"},
            r"--method grpo: .* holds plain text, which has no prompts and no answers \(use --method sft\)",
        ),
        ({"method": "dpo"}, r"--method dpo: .* holds plain text"),
        (
            {"max_seq_length": 47},
            r"--max-seq-length 47: the pieces in .* have up to 48 tokens \(train with --max-seq-length 48",
        ),
        ({"eval_samples": 3}, r"--eval-samples has no effect with plain text"),
    ],
)
def test_what_plain_text_cannot_be_trained_with_is_refused(
    trained: Path, options: dict[str, Any], problem: str
) -> None:
    config = config_of(trained, **options)
    with pytest.raises(UserError, match=problem):
        read_inputs(config, METHODS[config.method].encode, METHODS[config.method].columns)
        check_only.run(config)


def test_the_remedies_work(trained: Path) -> None:
    for options in ({"method": "sft"}, {"max_seq_length": 48}, {"max_seq_length": 64}):
        config = config_of(trained, **options)
        assert len(read_inputs(config).train) == json_of(trained / "data/dataset.json")["rows"]["train"]
        check_only.run(config)


def test_conversations_can_be_learned_after_texts(trained: Path, base: Path, tmp_path: Path) -> None:
    """The adapters of plain text have no chat template; those that continue from them choose one."""
    after = {"from_adapter": trained / "checkpoints", "adapter_path": tmp_path / "chat", "template": "chatml"}
    config = config_of(trained, **after)
    assert config.model == str(base)
    start.check_start(config)
    with pytest.raises(UserError, match="--lora-rank was 16, is now 4"):
        start.check_start(replace(config, lora_rank=4))


def test_another_tokenizer_is_refused(trained: Path, tmp_path: Path, base: Path) -> None:
    shutil.copytree(base, tmp_path / "other")
    path = tmp_path / "other/tokenizer.json"
    tokenizer = json_of(path)
    tokenizer["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": True,
        "trim_offsets": True,
        "use_regex": False,
    }
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(
        UserError, match=r"were cut for the tokenizer of .*, and that of .*other is another \(train with --model"
    ):
        read_inputs(config_of(trained, model=str(tmp_path / "other")))
    shutil.rmtree(tmp_path / "other")
    shutil.copytree(base, tmp_path / "other")  # the same one elsewhere is the same
    assert read_inputs(config_of(trained, model=str(tmp_path / "other"))).train


def test_mlx_lm_trains_on_the_same_rows(trained: Path, base: Path) -> None:
    from mlx_lm.tuner.datasets import TextDataset, create_dataset

    encoder = ChatEncoder(base, chats=False)
    rows = [json.loads(line) for line in (trained / "data/train.jsonl").read_text().splitlines()]
    theirs = create_dataset(rows, encoder.tokenizer, object())
    assert isinstance(theirs, TextDataset)
    inputs = read_inputs(config_of(trained))
    for row, ours, other in zip(rows, inputs.train, map(theirs.process, rows), strict=True):
        tokens = ours.examples[0].tokens
        assert [*tokens, *([] if row["piece"] == row["pieces"] else encoder.plain.end)] == other[0]
    assert DatasetRecord.read(trained / "data/dataset.json").pieces is not None
