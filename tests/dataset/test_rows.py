"""Rows in, splits out: what dataset.py makes of good and bad files."""

import json
import subprocess
from pathlib import Path

import pytest

from finetune.dataset.prepare import Dataset, prepare
from finetune.dataset.readers import json_rows, tables
from finetune.errors import UserError
from finetune.models.hub import HubProblem
from finetune.records.dataset import Source, write_dataset
from finetune.records.files import Row
from finetune.settings.config import DatasetConfig
from finetune.tasks import TASKS

SQL_ROW = {
    "sql_prompt": "How many?",
    "sql": "SELECT COUNT(*) FROM t;",
    "sql_context": "CREATE TABLE t (a INT);",
}


def prepared(tmp_path: Path, rows: list[Row], kind: str = "sql", **options: object) -> Dataset:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return prepare(DatasetConfig(type_=kind, dataset_name=str(path), **options), TASKS[kind], print)


def numbered(count: int) -> list[Row]:
    return [{**SQL_ROW, "sql_prompt": f"How many, case {i}?"} for i in range(count)]


def prompts(dataset: Dataset, split: str) -> list[str]:
    return [row["sql_prompt"] for row in dataset.splits[split]]


@pytest.mark.parametrize(
    ("name", "text", "limit", "message"),
    [
        ("rows.jsonl", '{"prompt": "%s"}\n', (json_rows, "_LONGEST"), "rows.jsonl:1: a line of more than 0 MB"),
        ("rows.csv", 'prompt,completion\n"%s,a\n', (tables, "_MOST_FIELD"), "rows.csv:2: not CSV: field larger than"),
        ("rows.csv", 'prompt,completion\n"%s,a\n', (tables, "_LONGEST"), "rows.csv:2: a line of more than 0 MB"),
        ("rows.json", '[{"prompt": "%s"}]', (json_rows, "_LONGEST"), "rows.json:1: a value of more than 0 MB"),
        (
            "rows.json",
            '{"a": [{"prompt": "%s"}]}',
            (json_rows, "_MOST_OBJECT"),
            "rows.json:1: a value of more than 0 MB",
        ),
    ],
)
def test_what_is_read_as_a_whole_has_a_limit(
    tmp_path: Path, name: str, text: str, limit: tuple[object, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*limit, 1000)
    (tmp_path / name).write_text(text % ("x" * (3 << 20)))
    with pytest.raises(UserError, match=message):
        prepare(DatasetConfig(type_="chat", dataset_name=str(tmp_path / name)), TASKS["chat"], print)


def test_splits_are_drawn_by_seed_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    first = prepared(tmp_path, numbered(40))
    again = prepared(tmp_path, numbered(40)[::-1])
    other = prepared(tmp_path, numbered(40), seed=7)
    assert [prompts(first, split) for split in first.splits] == [prompts(again, split) for split in first.splits]
    assert prompts(first, "test") != prompts(other, "test")
    assert {split: len(rows) for split, rows in first.splits.items()} == {"test": 2, "valid": 2, "train": 36}


def test_one_answer_of_a_prompt_is_kept_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    rows: list[Row] = [
        {**SQL_ROW, "sql_prompt": f"How many, case {i % 20}?", "sql": f"SELECT {i} FROM t", "by": f"{i % 5}"}
        for i in range(40)
    ]
    rows[0] |= {"sql": "SELECT no_column FROM t", "by": "1"}  # the other row of this prompt is by 0
    for options in ({}, {"split_by": "by"}):
        first, again = (prepared(tmp_path, order, same_prompt="first", **options) for order in (rows, rows[::-1]))
        assert first.splits == again.splits
        assert first.findings.dropped == again.findings.dropped
        kept = {row["sql_prompt"]: row["sql"] for row in first.splits["train"]}
        assert kept["How many, case 0?"] == "SELECT 20 FROM t"
        assert first.findings.dropped["the same prompt with another answer"] == 19
        assert (
            len({split for split, kept in first.splits.items() for row in kept if row["by"] in "01"}) == 1
            or not options
        )


def test_every_row_read_is_kept_or_dropped_for_a_reason(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, numbered(30) + numbered(5), sample_size=20)
    kept = sum(len(rows) for rows in dataset.splits.values())
    assert dataset.findings.dropped == {"duplicate row": 5, "not sampled (--sample-size)": 10}
    assert dataset.read == 35 == kept + sum(dataset.findings.dropped.values())


def test_bad_rows_are_listed_and_fix_leaves_them_out(tmp_path: Path) -> None:
    bad = [{**SQL_ROW, "sql": " "}, {"unlike": "?"}]
    with pytest.raises(UserError, match=r"2 of 12 rows.*--fix skips them") as error:
        prepared(tmp_path, numbered(10) + bad)
    for line, words in zip(error.value.details, (":11: sql is empty", ":12: no field sql_prompt"), strict=True):
        assert words in line
    with pytest.raises(UserError) as error:
        prepared(tmp_path, numbered(10) + bad, strict=True)
    assert "--fix" not in str(error.value)  # it would be refused
    dataset = prepared(tmp_path, numbered(10) + bad, fix=True)
    assert [(row["place"][-2:], row["row"]) for row in dataset.findings.rejected] == [("11", bad[0]), ("12", bad[1])]
    assert dataset.record(DatasetConfig()).kept == 10


def test_a_latin_1_row_of_a_csv_can_be_rejected(tmp_path: Path) -> None:
    lines = [b"prompt,completion\n", *(b"q%d,a\n" % i for i in range(5)), b"caf\xe9,a\n"]
    (tmp_path / "rows.csv").write_bytes(b"".join(lines))
    config = DatasetConfig(type_="chat", dataset_name=str(tmp_path / "rows.csv"), fix=True)
    dataset = prepare(config, TASKS["chat"], print)
    write_dataset(tmp_path / "data", dataset.splits, dataset.findings.rejected, dataset.record(config))
    rejected = json.loads((tmp_path / "data" / "rejected.jsonl").read_text())
    assert rejected["place"].endswith("rows.csv:7") and "not UTF-8" in rejected["reason"]


def test_strict_refuses_what_a_rule_would_handle(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--strict: 1 x duplicate row \(.*rows\.jsonl:11\)"):
        prepared(tmp_path, numbered(10) + numbered(1), strict=True)
    assert prepared(tmp_path, numbered(10), strict=True, sample_size=5).read == 10


USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    "row, words",
    [
        ({"unlike": "hello"}, "fields: unlike"),
        ({"messages": []}, "the list of messages is empty"),
        ({"messages": [USER]}, "nothing to learn"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "role 'robot'"),
        ({"messages": [{"role": "user", "content": ""}]}, "the content of a message of the user is empty"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "a message of the assistant is null, not text"),
        ({"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [1]}]}, "a call is a number, not an"),
        (
            {"messages": [USER, {"role": "assistant", "content": []}]},
            "the content of a message of the assistant is empty",
        ),
        ({"messages": {"role": "user"}}, "the list of messages is an object"),
        ({"messages": "hello"}, "'hello' is not a list of messages in JSON"),
        ({"messages": ["hello"]}, "a message is text, not an object"),
        ({"messages": [ASSISTANT]}, "no user message before"),
        (
            {"messages": [USER, ASSISTANT, {"role": "system", "content": "s"}, ASSISTANT]},
            "system message between two turns",
        ),
        ({"prompt": "p", "completion": ["a", "b"]}, "completion is a list of 2 texts .one row for each"),
        ({"prompt": "p", "completion": {}}, "completion is empty"),
        ({"prompt": "p", "completion": None}, "completion is null, not text"),
        ({"prompt": " ", "completion": "c"}, "prompt is empty"),
        ({"text": ["a"]}, "'text' is a list"),
    ],
)
def test_chat_rows_are_refused_with_the_reason(tmp_path: Path, row: Row, words: str) -> None:
    with pytest.raises(UserError, match=words):
        prepared(tmp_path, [row], kind="chat")


@pytest.mark.parametrize(
    "row, turns",
    [
        ({"prompt": "p", "completion": "c"}, ["user: p", "assistant: c"]),
        (
            {"instruction": "i", "input": "x", "output": "o", "system": "s"},
            ["system: s", "user: i\n\nx", "assistant: o"],
        ),
        (
            {"conversations": [{"from": "human", "value": "h"}, {"from": "gpt", "value": "g"}]},
            ["user: h", "assistant: g"],
        ),
        ({"text": "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>"}, ["user: u", "assistant: a"]),
        ({"text": "Below.\n### Instruction:\ni\n\n### Response:\nr"}, ["user: i", "assistant: r"]),
        ({"text": "<s>[INST] <<SYS>>\ns\n<</SYS>>\n\nq [/INST] a </s>"}, ["system: s", "user: q", "assistant: a"]),
        ({"text": "<|im_start|>user\r\nu<|im_end|>\r\n<|im_start|>assistant\r\na"}, ["user: u", "assistant: a"]),
        ({"text": "A plain text."}, ["user: Write a text.", "assistant: A plain text."]),
        ({"messages": [ASSISTANT, USER, USER, ASSISTANT, USER]}, ["user: q\n\nq", "assistant: a"]),
    ],
)
def test_every_shape_of_conversation_may_be_mixed_in_one_file(tmp_path: Path, row: Row, turns: list[str]) -> None:
    others = [{"prompt": f"p{i}", "completion": "c"} for i in range(5)]
    dataset = prepared(tmp_path, [row, *others], kind="chat", seed=1)
    messages = [
        [f"{m['role']}: {m['content']}" for m in row["messages"]] for rows in dataset.splits.values() for row in rows
    ]
    assert turns in messages
    assert not any(
        {"prompt", "completion", "text"} & set(row) for row in dataset.splits["train"]
    )  # mlx-lm would take those


def test_fields_are_found_under_other_names(tmp_path: Path) -> None:
    rows = [
        {"question": f"How many, {i}?", "query": "SELECT 1", "schema": "CREATE TABLE t (a INT);"} for i in range(10)
    ]
    dataset = prepared(tmp_path, rows)
    assert dataset.splits["train"][0]["sql"] == "SELECT 1"
    assert "'query' read as sql (10 rows)" in dataset.notes
    odd = [{"frage": row["question"], "sql": "SELECT 1"} for row in rows]
    assert prepared(tmp_path, odd, column="sql_prompt=frage").splits["train"][0]["sql_prompt"].startswith("How")
    with pytest.raises(UserError, match=r"no row has the field 'frag' .did you mean frage"):
        prepared(tmp_path, odd, column="sql_prompt=frag")


@pytest.mark.slow
def test_files_of_every_kind_give_the_same_rows(tmp_path: Path) -> None:
    from pyarrow import Table, parquet

    rows = numbered(20)
    wanted = prepared(tmp_path, rows).splits
    (tmp_path / "rows.csv").write_text(
        "\ufeffsql_prompt,sql,sql_context\r\n"
        + "".join('"{sql_prompt}",{sql},"{sql_context}"\r\n'.format(**row) for row in rows),
        newline="",
    )
    (tmp_path / "rows.json").write_text(json.dumps({"data": rows}))
    (tmp_path / "bom.jsonl").write_text("\ufeff" + "\r\n\r\n".join(map(json.dumps, rows)), newline="")
    (tmp_path / "parts").mkdir()
    parquet.write_table(Table.from_pylist(rows[:9]), tmp_path / "parts" / "a.parquet")
    (tmp_path / "parts" / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[9:]))
    for name in ("rows.csv", "rows.json", "bom.jsonl", "parts", "parts/*.*"):
        dataset = prepare(DatasetConfig(dataset_name=str(tmp_path / name)), TASKS["sql"], print)
        assert (name, dataset.read, dataset.splits) == (name, 20, wanted)
        assert dataset.findings.blank_lines == (19 if name == "bom.jsonl" else 0)


@pytest.mark.slow
def test_no_prompt_is_in_two_splits(tmp_path: Path) -> None:
    rows = [
        {**SQL_ROW, "sql_prompt": f"How many, {'case' if i % 2 else 'CASE'}  {i // 2}{'?' * (i % 2)}"}
        for i in range(80)
    ]
    splits = prepared(tmp_path, rows, test_fraction=0.3).splits
    keys = [{row["sql_prompt"].lower().split()[-1].strip("?") for row in splits[split]} for split in splits]
    assert sum(map(len, splits.values())) == 80 and not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    by_field = prepared(tmp_path, [{**row, "db": i % 7} for i, row in enumerate(numbered(70))], split_by="db").splits
    assert sum(len({row["db"] for row in by_field[split]}) for split in by_field) == 7
    uneven = [{**row, "db": max(0, i - 180)} for i, row in enumerate(numbered(200))]  # one value has most of the rows
    for seed in range(5):
        assert len(prepared(tmp_path, uneven, split_by="db", seed=seed).splits["train"]) > 150


def test_the_source_s_own_splits_can_be_kept(tmp_path: Path) -> None:
    rows = numbered(30)
    for name, part in {"train": rows[:15], "validation": rows[14:20], "test": rows[19:30]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    config = DatasetConfig(dataset_name=str(tmp_path), keep_splits=True)
    dataset = prepare(config, TASKS["sql"], print)
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 14, "valid": 5, "test": 11}


def test_a_dropped_row_does_not_claim_its_prompt_for_its_split(tmp_path: Path) -> None:
    broken = {**SQL_ROW, "sql_prompt": "How many, case 0?", "sql": "SELECT missing FROM t"}
    for name, part in {"train": numbered(5), "test": [broken, *numbered(9)[7:]], "valid": numbered(7)[5:]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    dataset = prepare(DatasetConfig(dataset_name=str(tmp_path), keep_splits=True), TASKS["sql"], print)
    assert dataset.findings.dropped == {"its SQL fails in SQLite: unknown column": 1}
    assert "How many, case 0?" in prompts(dataset, "train") and len(dataset.splits["train"]) == 5


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("sql=a,sql_prompt=a", "--column: 'a' cannot be both sql and sql_prompt"),
        ("sql=a,sql=b", "--column: sql cannot be read from both 'a' and 'b'"),
        ("sql=a, sql = a", "--column: 'a' cannot be both sql and sql"),
        ("sql", "'sql' does not have the form sql=query"),
        ("sql=", "does not have the form"),
        ("=a", "does not have the form"),
        ("sql=a=b", "does not have the form"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(tmp_path: Path, columns: str, words: str) -> None:
    rows = [{"a": f"SELECT {i}", "b": f"How many {i}?"} for i in range(9)]
    with pytest.raises(UserError, match=words):
        prepared(tmp_path, rows, column=columns)
    assert len(prepared(tmp_path, rows, column=" sql = a ,sql_prompt=b,").splits["train"]) == 7


def test_one_problem_of_many_rows_is_one_line_and_its_remedy_works(tmp_path: Path) -> None:
    tickets = [{"ticket_text": f"Where is parcel {i}?", "category": "Delivery"} for i in range(40)]
    with pytest.raises(UserError) as error:
        prepared(tmp_path, tickets)
    assert str(error.value) == (
        f"{tmp_path / 'rows.jsonl'}:1: no field sql_prompt and no field sql (fields: ticket_text, category)"
        " (and 39 more rows, such as :2, :3)"
        " (if the field has another name: --column sql_prompt=FIELD,sql=FIELD; for prompts and answers"
        " of another kind: --type chat, and name its fields, for example --column prompt=ticket_text,completion=category)"
    )
    column = str(error.value).rpartition("--column ")[2].rstrip(")")
    assert len(prepared(tmp_path, tickets, kind="chat", column=column).splits["train"]) == 36
    with pytest.raises(
        UserError, match=r"rows.jsonl:1: not a conversation .*39 more rows.*--column prompt=ticket_text"
    ):
        prepared(tmp_path, tickets, kind="chat")
    mixed = (
        [{"prompt": "p", "completion": ""}] * 30
        + [{"prompt": "", "completion": "c"}] * 2
        + [{"prompt": "p", "completion": "c"}]
    )
    with pytest.raises(UserError) as error:
        prepared(tmp_path, mixed, kind="chat")
    assert str(error.value) == "32 of 33 rows cannot be trained on, and nothing was written (--fix skips them)"
    assert [line.partition("rows.jsonl:")[2] for line in error.value.details] == [
        "1: completion is empty (and 29 more rows, such as :2, :3)",
        "31: prompt is empty (and 1 more row: :32)",
    ]


@pytest.mark.parametrize("asked, told", [("your question", "the answer"), ("a;b", "$(touch x)"), ("it's", "new\nline")])
@pytest.mark.parametrize("column", [None, "foo=ASKED"])
def test_the_remedy_for_unknown_fields_can_be_pasted(tmp_path: Path, asked: str, told: str, column: str | None) -> None:
    rows = [{"id": number, asked: f"Where is {number}?", told: "Here."} for number in range(9)]
    with pytest.raises(UserError, match="not a conversation") as error:
        prepared(tmp_path, rows, kind="chat", column=column and column.replace("ASKED", asked))
    words = str(error.value).rpartition("--column ")[2].rstrip(")")
    shell = subprocess.run(["bash", "-c", f"printf %s {words}"], capture_output=True, text=True)
    dataset = prepared(tmp_path, rows, kind="chat", column=shell.stdout)
    assert dataset.splits["train"][0]["messages"][1]["content"] == "Here."


@pytest.mark.parametrize(
    ("context", "sql", "words"),
    [
        (
            "CREATE TYPE mood AS ENUM ('ok');",
            "SELECT 1",
            'its schema does not parse as SQLite: near "TYPE": syntax error',
        ),
        ("CREATE TABLE t (a INT);", "SELECT a::date FROM t", "its SQL does not parse as SQLite: unrecognized token"),
        (
            "CREATE TABLE t (a INT);",
            "SELECT now() FROM t",
            "its SQL fails in SQLite: unknown function: no such function: now",
        ),
    ],
)
def test_sql_of_another_dialect_is_told_with_its_first_message_and_a_remedy(
    tmp_path: Path, context: str, sql: str, words: str
) -> None:
    rows = [{**row, "sql_context": context, "sql": sql} for row in numbered(30)]
    with pytest.raises(UserError) as error:
        prepared(tmp_path, rows)
    assert "none of its 30 rows is usable: 30 x" in str(error.value) and words in str(error.value)
    assert "(these rows look like PostgreSQL: --dialect postgres)" in str(error.value)
    assert prepared(tmp_path, rows, dialect="postgres").findings.dropped == {}
    assert prepared(tmp_path, rows, dialect="sqlite", check_answers=False).findings.dropped == {}
    with pytest.raises(UserError, match=r"its prompt would ask for SQLite.*--dialect postgres"):
        prepared(tmp_path, rows, check_answers=False)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rows.csv", 'prompt,completion\n"two\nlines",c\n\np,"",more\n', r"rows\.csv:5: more fields"),
        ("rows.csv", 'prompt,completion\n"two\n\nlines"," "\n', r"rows\.csv:2: completion is empty"),
        ("rows.csv", "prompt,prompt\na,b\n", "more than one column is named 'prompt'"),
        ("rows.csv", 'prompt,completion\np,c\n"a"b,c\n' + "p,c\n" * 50, r"rows\.csv:3: not CSV: .*unpaired quote"),
        ("rows.jsonl.gz", "\x1f\x8b", r"rows\.jsonl\.gz: ends in the middle of its gzip data"),
        (
            "rows",
            "prompt,completion\n",
            r"rows:1: not JSON lines: it begins with 'prompt,completion' .if it is a table",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_told_why(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=words):
        prepare(DatasetConfig(type_="chat", dataset_name=str(tmp_path / name)), TASKS["chat"], print)


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "data" / "train.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in numbered(9)))
    with pytest.raises(UserError, match="would be overwritten"):
        prepare(DatasetConfig(dataset_name=str(path), output_dir=path.parent), TASKS["sql"], print)


def test_what_no_file_could_hold_is_refused(tmp_path: Path) -> None:
    for value, words in (("NaN", "NaN or infinite"), ('"\\ud800"', "half a surrogate"), ("1e999", "NaN or infinite")):
        (tmp_path / "rows.json").write_text(f'[{{"prompt": "p", "completion": "c", "more": [{value}]}}]')
        with pytest.raises(UserError, match=words):
            prepare(DatasetConfig(type_="chat", dataset_name=str(tmp_path / "rows.json")), TASKS["chat"], print)


def test_texts_without_a_prompt_are_all_kept_and_the_system_message_counts(tmp_path: Path) -> None:
    texts = [{"text": f"Story {i}."} for i in range(30)]
    assert len(prepared(tmp_path, texts, kind="chat").splits["train"]) == 26
    books = [{**row, "book": i % 10} for i, row in enumerate(texts)]
    divided = prepared(tmp_path, books, kind="chat", split_by="book").splits
    assert sum(len({row["book"] for row in rows}) for rows in divided.values()) == 10
    same = [{"role": "user", "content": "Sum up."}, {"role": "assistant", "content": "It is."}]
    rows = [{"messages": [{"role": "system", "content": f"Document {i}"}, *same]} for i in range(30)]
    assert len(prepared(tmp_path, rows, kind="chat").splits["train"]) == 26


LONG = "word " * 50_000


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": LONG, "completion": "c"},
        {"messages": [USER, {"role": "assistant", "content": LONG}]},
        {"messages": [USER, ASSISTANT] * 30_000 + [{"role": "user", "content": LONG[:190_000]}, ASSISTANT]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": LONG}]}, ASSISTANT]},
        {"messages": json.dumps([USER, {"role": "assistant", "content": LONG}])},
        {"conversations": [{"from": "human", "value": LONG}, {"from": "gpt", "value": "a"}]},
        {"prompt": "p", "completion": "c", "documents": [{"pages": [[LONG]]}]},
    ],
)
def test_a_row_that_would_take_minutes_to_tokenise_is_dropped_wherever_its_text_is(tmp_path: Path, row: Row) -> None:
    others = [{"prompt": f"p{i}", "completion": "c"} for i in range(5)]
    dataset = prepared(tmp_path, [row, *others], kind="chat")
    assert dataset.findings.dropped == {"longer than 200,000 characters": 1}


def test_a_long_text_takes_no_longer_than_its_length(tmp_path: Path) -> None:
    texts = ["### Instruction:" + " " * 100_000 + "x", "<|im_start|>user\n" * 9_000]
    with pytest.raises(UserError):
        prepared(tmp_path, [{"text": text} for text in texts], kind="chat")


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
    monkeypatch.setattr("finetune.dataset.opening.hub_problem", lambda name, kind, files: "the Hub cannot be reached")
    monkeypatch.setattr(
        "finetune.models.hub.ask_hub", lambda name, kind: HubProblem("the Hub cannot be reached", False)
    )
    said: list[str] = []
    dataset = prepare(DatasetConfig(sample_size=50), TASKS["sql"], said.append)
    assert dataset.source == Source("builtin")
    assert len(said) == 1 and "the Hub cannot be reached" in said[0]
    with pytest.raises(UserError, match="gretelai/synthetic_text_to_sql: the Hub cannot be reached"):
        prepare(DatasetConfig(dataset_name="gretelai/synthetic_text_to_sql"), TASKS["sql"], said.append)


@pytest.mark.parametrize(
    "settings, words",
    [
        (
            {"dataset_name": "builtin", "type_": "sql", "split_by": "domain"},
            "--split-by has no effect with the builtin rows",
        ),
        ({"subset": "main"}, "--subset has no effect with a local file"),
        ({"keep_splits": True}, "--keep-splits: .*has no splits of its own"),
        ({"check_answers": False}, "--no-check-answers has no effect with --type chat"),
        ({"revision": "main"}, "--revision has no effect with a local file"),
    ],
)
def test_what_a_source_cannot_have_is_refused(tmp_path: Path, settings: dict, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"prompt": "p{n}", "completion": "c{n}"}}\n' for n in range(9)))
    with pytest.raises(UserError, match=words):
        config = DatasetConfig(**{"type_": "chat", "dataset_name": str(path), **settings})
        prepare(config, TASKS[config.type_], print)


def test_columns_of_parquet_become_what_json_can_hold_or_are_named(tmp_path: Path) -> None:
    import datetime
    import decimal

    import pyarrow
    from pyarrow import parquet

    turns = [
        {"role": "user", "content": "a", "tool_calls": None},
        {"role": "assistant", "content": "b", "tool_calls": None},
    ]
    when = datetime.datetime(2026, 1, 2, 3, 4)
    columns = {
        "messages": [turns],  # with a field of nulls, as datasets and pandas write it
        "day": [when.date()],
        "when": [{"at": when}],
        "price": [decimal.Decimal("1.50")],
        "nothing": [None],
        "picture": [b"\x89PNG"],
        "pictures": [[{"bytes": b"\x89PNG"}]],
        "note": [b"PNG"],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    dataset = prepare(
        DatasetConfig(type_="chat", dataset_name=str(tmp_path / "rows.parquet"), valid_fraction=0, test_fraction=0),
        TASKS["chat"],
        print,
    )
    (row,) = dataset.splits["train"]
    assert [turn["content"] for turn in row["messages"]] == ["a", "b"]
    assert (row["day"], row["when"], row["price"]) == ("2026-01-02", {"at": "2026-01-02 03:04:00"}, "1.50")
    unused = {"picture": 1, "bytes in pictures": 1, "day": 1, "when": 1, "price": 1, "note": 1, "pictures": 1}
    assert row["note"] == "PNG" and dict(dataset.record(DatasetConfig()).unused) == unused
