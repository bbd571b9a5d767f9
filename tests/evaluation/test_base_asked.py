"""The base model is asked fairly: a system message and examples of its own, which the record and the table name."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.evaluation import scorecard
from finetune.evaluation.base_asked import BaseAsked, base_asked
from finetune.evaluation.compare import compare
from finetune.evaluation.run import show_again
from finetune.records import files
from finetune.records.evaluation import EvaluationRecord
from finetune.records.files import Row
from finetune.report import answers
from finetune.settings import conflicts
from finetune.settings.config import EvaluationConfig
from finetune.tasks import TASKS
from report_records import ROWS, Scripted, comparison

ROW: Row = {
    "messages": [
        {"role": "system", "content": "old"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ],
    "sql_prompt": "q",
}
TRAIN: list[Row] = [
    {
        "messages": [
            {"role": "system", "content": "old"},
            {"role": "user", "content": f"t{i}"},
            {"role": "assistant", "content": f"u{i}"},
        ]
    }
    for i in range(4)
]


def asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rows: Sequence[Row] = (ROW,), **options: Any
) -> BaseAsked | None:
    (folder / "dataset.json").touch()
    monkeypatch.setattr("finetune.evaluation.base_asked.read_dataset_record", lambda data_dir: None)
    monkeypatch.setattr("finetune.evaluation.base_asked.read_split", lambda *_: list(enumerate([*TRAIN, ROW])))
    run: Any = SimpleNamespace(task=options.pop("task", TASKS["sql"]))
    return base_asked(run, EvaluationConfig(**options), folder, rows)


def test_system_message_and_examples_stand_before_the_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("\ufeffOnly labels.\n")
    both = asked(tmp_path, monkeypatch, base_prompt=prompt, few_shot=2)
    assert both and both == asked(tmp_path, monkeypatch, base_prompt=prompt, few_shot=2)
    said = [turn["content"] for turn in both.row(ROW)["messages"]]
    assert said[0] == "Only labels." and said[-2:] == ["q", "a"] and len(said) == 7
    assert all(said[i][0] + said[i + 1][0] == "tu" and said[i][1] == said[i + 1][1] for i in (1, 3))
    assert [turn["content"] for turn in BaseAsked(None, [TRAIN[0]]).row(ROW)["messages"]] == [
        "old",
        "t0",
        "u0",
        "q",
        "a",
    ]
    assert len(ROW["messages"]) == 3 and both.row(ROW)["sql_prompt"] == "q"
    assert asked(tmp_path, monkeypatch) is None
    everyone = asked(tmp_path, monkeypatch, few_shot=4)  # a row that is asked is no example
    assert everyone and "q" not in [turn["content"] for turn in everyone.row(TRAIN[0])["messages"][:-2]]


def test_what_cannot_be_told_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(match: str, **options: Any) -> None:
        with pytest.raises(UserError, match=match):
            asked(tmp_path, monkeypatch, **options)

    for name, content, match in (
        ("none.txt", None, "no such file"),
        ("empty.txt", b" \n", "no text in it"),
        ("x", b"\xff", "UTF-8"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        refused(f"--base-prompt: .*{match}", base_prompt=tmp_path / name)
    refused(r"--few-shot 9: .* has only 4 rows beside those that are asked \(at most --few-shot 4\)", few_shot=9)
    refused("--few-shot has no effect with plain text", few_shot=1, task=TASKS["text"])
    refused("--few-shot: these rows have tools", few_shot=1, rows=[{**ROW, "tools": [{}]}])


@pytest.mark.parametrize("given", [{"base_prompt": Path("p")}, {"few_shot": 2}])
@pytest.mark.parametrize(
    ("other", "why"), [({"against": Path("x")}, "--against"), ({"interactive": True}, "--interactive")]
)
def test_contradictions_are_refused_by_name(given: dict[str, Any], other: dict[str, Any], why: str) -> None:
    config = EvaluationConfig(**given, **other, origins=dict.fromkeys([*given, *other], "flag"))
    with pytest.raises(UserError, match=f"has no effect with {why}"):
        conflicts.check(config)


def test_the_base_model_alone_is_told_and_the_record_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: dict[int, list[str]] = {}
    whole: list[int] = []

    def answers_of(self: Scripted, conversations: Sequence[Any], on_answer: Callable[..., None], **options: Any) -> Any:
        heard.setdefault(self.knows, [conversation.messages[0]["content"] for conversation in conversations])
        return plain(self, conversations, on_answer, **options)

    def losses_of(self: Scripted, examples: Sequence[Any], on_batch: Callable[[int], None]) -> list[float]:
        whole.append(len(examples[0].tokens))
        return losses(self, examples, on_batch)

    plain, losses = Scripted.answers, Scripted.losses
    monkeypatch.setattr(Scripted, "answers", answers_of)
    monkeypatch.setattr(Scripted, "losses", losses_of)
    monkeypatch.setenv("COLUMNS", "120")
    told = BaseAsked("Only labels.", TRAIN[:2])
    record = compare(comparison(tmp_path, base_asked=told))
    assert heard == {73: ["Only labels."] * 5, 66: [row["messages"][0]["content"] for row in ROWS]}
    assert whole[1] > whole[0]  # of the references: the tuned model first
    assert (record.base_prompt, record.few_shot) == ("Only labels.", 2)
    assert [row.prompt for row in record.rows] == [row["messages"][0]["content"] for row in ROWS]
    record.write(tmp_path / files.EVALUATION)
    capsys.readouterr()
    show_again(tmp_path / files.EVALUATION)
    out = capsys.readouterr().out
    assert "The base model is asked with a system message of its own and 2 training rows as examples." in out
    assert "the base model (asked with a system message" in out
    with pytest.raises(UserError, match="had a different --base-prompt or --few-shot"):
        compare(comparison(tmp_path, base_asked=replace(told, system="Other."), resume=True))


def test_a_finished_evaluation_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = compare(comparison(tmp_path))
    capsys.readouterr()
    scorecard.print_comparison(record, 3)
    first = capsys.readouterr().out
    record.write(tmp_path / files.EVALUATION)
    for path in (tmp_path, tmp_path / files.EVALUATION):
        show_again(path)
        assert capsys.readouterr().out == first
    with pytest.raises(UserError, match=r"none\.json: not found"):
        show_again(tmp_path / "none.json")
    (tmp_path / "other.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"other\.json: .*run again"):
        show_again(tmp_path / "other.json")
    older = {name: value for name, value in json.loads((tmp_path / files.EVALUATION).read_text()).items()
             if name not in ("measure", "scorer", "base_prompt", "few_shot")}  # fmt: skip
    (tmp_path / "older.json").write_text(json.dumps(older | {"format": 3}))
    assert answers.decided_by(EvaluationRecord.read(tmp_path / "older.json")) == "execution accuracy"
