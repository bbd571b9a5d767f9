"""Rows in, splits out: what dataset.py makes of good and bad files."""

import json
from pathlib import Path

import pytest

from finetune.artifacts import Row
from finetune.cli import UserError
from finetune.config import DatasetConfig
from finetune.rows import Dataset, prepare
from finetune.tasks import TASKS

SQL_ROW = {
    "sql_prompt": "How many?",
    "sql": "SELECT COUNT(*) FROM t;",
    "sql_context": "CREATE TABLE t (a INT);",
}


def prepared(tmp_path: Path, rows: list[Row], kind: str = "sql", **options: object) -> Dataset:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return prepare(DatasetConfig(type=kind, dataset_name=str(path), **options), TASKS[kind], print)


def numbered(count: int) -> list[Row]:
    return [{**SQL_ROW, "sql_prompt": f"How many, case {i}?"} for i in range(count)]


def prompts(dataset: Dataset, split: str) -> list[str]:
    return [row["sql_prompt"] for row in dataset.splits[split]]


def test_splits_are_drawn_by_seed_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    first = prepared(tmp_path, numbered(40))
    again = prepared(tmp_path, numbered(40)[::-1])
    other = prepared(tmp_path, numbered(40), seed=7)
    assert [prompts(first, split) for split in first.splits] == [prompts(again, split) for split in first.splits]
    assert prompts(first, "test") != prompts(other, "test")
    assert {split: len(rows) for split, rows in first.splits.items()} == {"test": 2, "valid": 2, "train": 36}


def test_every_row_read_is_kept_or_dropped_for_a_reason(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, numbered(30) + numbered(5), sample_size=20)
    kept = sum(len(rows) for rows in dataset.splits.values())
    assert dataset.dropped == {"duplicate prompt": 5, "not drawn (--sample-size)": 10}
    assert dataset.read == 35 == kept + sum(dataset.dropped.values())


def test_bad_rows_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    bad = [{**SQL_ROW, "sql": " "}, {"question": "?"}]
    with pytest.raises(UserError, match=r"rows\.jsonl:3: no text in sql .* and 1 more of 4 rows"):
        prepared(tmp_path, numbered(2) + bad)


@pytest.mark.parametrize(
    "row, words",
    [
        ({"text": "hello"}, "fields: text"),
        ({"messages": [{"role": "user", "content": "a"}]}, "last message"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "role 'robot'"),
        ({"messages": [{"role": "user", "content": ""}]}, "no text"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "begin with the user"),
    ],
)
def test_chat_rows_are_refused_with_the_reason(tmp_path: Path, row: Row, words: str) -> None:
    with pytest.raises(UserError, match=words):
        prepared(tmp_path, [row], kind="chat")


def test_chat_rows_may_be_prompt_and_completion(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "completion": "c"} for i in range(5)]
    dataset = prepared(tmp_path, rows, kind="chat")
    assert dataset.splits["train"][0]["messages"][1] == {"role": "assistant", "content": "c"}


def test_the_prompt_shows_the_tables_without_rows_or_sizes() -> None:
    context = "CREATE TABLE t (a VARCHAR(50), b DECIMAL(10, 2)); INSERT INTO t VALUES ('x; CREATE y', 1);"
    prompt = TASKS["sql"].to_messages({**SQL_ROW, "sql_context": context})[-2]["content"]
    assert "CREATE TABLE t (a VARCHAR, b DECIMAL);" in prompt
    assert "INSERT" not in prompt and "x; CREATE" not in prompt


def test_builtin_splits_share_no_domain() -> None:
    dataset = prepare(DatasetConfig(dataset_name="builtin", sample_size=400), TASKS["sql"], print)
    domains = [{row["domain"] for row in dataset.splits[split]} for split in ("train", "valid", "test")]
    assert [len(dataset.splits[split]) for split in ("train", "valid", "test")] == [360, 20, 20]
    assert not domains[0] & domains[1] and not domains[0] & domains[2] and not domains[1] & domains[2]


def test_default_rows_fall_back_with_one_warning_and_a_given_name_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("finetune.rows.dataset.hub_problem", lambda name, kind: "the Hub cannot be reached")
    monkeypatch.setattr("finetune.hub._ask_hub", lambda name, kind: "the Hub cannot be reached")
    said: list[str] = []
    dataset = prepare(DatasetConfig(sample_size=50), TASKS["sql"], said.append)
    assert dataset.source == {"source": "builtin"}
    assert len(said) == 1 and "the Hub cannot be reached" in said[0]
    with pytest.raises(UserError, match="gretelai/synthetic_text_to_sql: the Hub cannot be reached"):
        prepare(DatasetConfig(dataset_name="gretelai/synthetic_text_to_sql"), TASKS["sql"], said.append)
