"""Rows on their way to the trainer: each stays one object, and long ones are skipped."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.models.examples import Encoded, as_rows, encode_rows, examples_of
from finetune.models.find import ModelFolder
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig
from finetune.training import check_only, inputs


class Line(int):
    hashed = 0

    def __hash__(self) -> int:
        Line.hashed += 1
        return int.__hash__(self)


def encode(encoder: Any, rows: Any) -> Iterator[Encoded]:
    """A row's number of tokens, twice: as of a pair whose answers are about as long."""
    for row in rows:
        yield [Example([0] * row["tokens"], [True] * row["tokens"]), Example([0], [True])]


def test_a_row_keeps_its_line_its_fields_and_its_examples(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(line, {"tokens": 9 if line == 3 else line}) for line in range(1, 6)]
    found = inputs._encoded(None, rows, "train", TrainingConfig(max_seq_length=5), encode)  # type: ignore[arg-type]
    assert [(row.line, row.fields["tokens"], row.tokens, len(row.examples)) for row in found] == [
        (line, line, line, 2) for line in (1, 2, 4, 5)
    ]
    assert "1 of 5 rows of data/train.jsonl with more than 5 tokens (the first on line 3" in capsys.readouterr().err


def test_the_work_of_skipping_grows_with_the_rows_alone() -> None:
    """Not with their number times the number of long ones: a fifth of a million of each took minutes."""
    rows = [(Line(line), {"tokens": 9 if line % 10 == 0 else 3}) for line in range(2000)]
    Line.hashed = 0
    found = inputs._encoded(None, rows, "train", TrainingConfig(max_seq_length=5), encode)  # type: ignore[arg-type]
    assert len(found) == 1800 and Line.hashed <= len(rows)


def test_rows_that_cannot_be_trained_on_are_counted() -> None:
    def refuse(encoder: Any, rows: Any) -> Iterator[Encoded]:
        for row in rows:
            yield ValueError("no") if row["tokens"] < 3 else [Example([0], [True])]

    rows = [(line, {"tokens": line}) for line in range(1, 5)]
    with pytest.raises(UserError, match=r"^train\.jsonl:1: no \.\.\. and 1 more row like it$"):
        encode_rows(None, rows, Path("train.jsonl"), 5, refuse)  # type: ignore[arg-type]


def test_rows_of_bare_examples() -> None:
    examples = [Example([number], [True]) for number in range(5)]
    assert [len(row.examples) for row in as_rows(examples, 2)] == [2, 2, 1]
    assert examples_of(as_rows(examples, 2)) == examples and as_rows([]) == []


GPT2 = {"model_type": "gpt2", "n_positions": 64}
ROPE = {"model_type": "llama", "max_position_embeddings": 64, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("config", "length", "given", "longest", "refused", "said"),
    [
        (GPT2, 1024, False, 64, None, ""),  # the default is no mistake
        (GPT2, 1024, True, 30, "--max-seq-length 1024, and the model has a table of 64 positions", ""),
        (GPT2, 1024, False, 65, r"the longest row has 65 tokens, .* \(use --max-seq-length 64\)", ""),
        (GPT2, 64, True, 64, None, ""),
        (ROPE, 1024, True, 30, None, "Note: --max-seq-length 1024, and x was made for 64 tokens."),
        (ROPE, 1024, False, 90, None, "Note: the longest row has 90 tokens, and x was made for 64 tokens."),
        (ROPE, 1024, False, 64, None, ""),
        ({"model_type": "mamba"}, 10**6, True, 9999, None, ""),
    ],
)
def test_rows_are_compared_with_the_positions_that_the_model_has(
    config: dict[str, object],
    length: int,
    given: bool,
    longest: int,
    refused: str | None,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    asked = TrainingConfig(max_seq_length=length, origins={"max_seq_length": "flag" if given else "default"})
    rows = as_rows([Example([0] * longest, [True] * longest), Example([0], [True])])
    model = ModelFolder(tmp_path, "x", "folder", None)
    if refused:
        with pytest.raises(UserError, match=refused):
            inputs._check_length(asked, model, rows)
        again = replace(asked, max_seq_length=64)  # the remedy, with the rows that it leaves
        inputs._check_length(again, model, [row for row in rows if row.tokens <= 64])
    else:
        inputs._check_length(asked, model, rows)
    assert capsys.readouterr().err.strip() == said


def test_validate_looks_at_the_files_that_flags_name(tmp_path: Path) -> None:
    """Each refusal, then its remedy."""
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": f"a{i}"}]} for i in range(9)
    ]
    data = SimpleNamespace(type="chat", pieces=None)
    given = {"data_dir": tmp_path, "method": "grpo", "iters": 2, "warmup": 0}

    def check(**more: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            numbered = [*enumerate(rows, start=1)]
            patch.setattr(inputs, "read_rows", lambda config, columns: (data, {"train": numbered, "valid": numbered}))
            check_only.run(TrainingConfig(**given, **more))

    for flag in ("grpo_reward", "add_tokens"):
        with pytest.raises(UserError, match=f"--{flag.replace('_', '-')}: .*(no such file|not found)"):
            check(**{flag: tmp_path / "gone"})
        (tmp_path / flag).write_text("<order>" if flag == "add_tokens" else "def reward(row, answer): return 1")
        check(**{flag: tmp_path / flag})
