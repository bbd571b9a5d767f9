"""Rows of SQL of somebody's own through dataset.py: dialects, --schema, dumps; each refusal's remedy is followed and works."""

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.records.files import Row
from finetune.settings.config import DatasetConfig
from finetune.tasks import TASKS
from postgres_shop import QUESTIONS, SCHEMA

SHOP = QUESTIONS[:12]


def prepared(source: Path, **options: object) -> Dataset:
    return prepare(DatasetConfig(type_="sql", dataset_name=str(source), **options), TASKS["sql"], print)


def rows_file(folder: Path, *rows: Row, copies: int = 20) -> Path:
    path = folder / "rows.jsonl"
    numbered = [{**row, "sql_prompt": f"{row['sql_prompt']} ({n})"} for n in range(copies) for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in numbered), encoding="utf-8")
    return path


def first(dataset: Dataset) -> Row:
    return dataset.splits["train"][0]


ROW = {"sql_prompt": "How many?", "sql": "SELECT COUNT(*) FROM t", "sql_context": "CREATE TABLE t (a INT);"}
POSTGRES = {
    **ROW,
    "sql_context": "CREATE TABLE t (a SERIAL);",
    "sql": "SELECT a::text FROM t WHERE a = ANY(ARRAY[1, 2])",
}


def test_rows_without_tables_are_told_beforehand(tmp_path: Path) -> None:
    bare = {name: value for name, value in ROW.items() if name != "sql_context"}
    source = rows_file(tmp_path, bare)
    told = prepared(source).findings.noted
    assert told == {"it has no tables (sql_context, or --schema for all rows), so no answer to it can be judged": 20}
    schema = tmp_path / "tables.sql"
    schema.write_text(str(ROW["sql_context"]))
    assert not prepared(source, schema=schema).findings.noted  # the remedy
    assert not prepared(rows_file(tmp_path, {**bare, "sql": "SELECT 1 + 1"})).findings.noted


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, Path]:
    """A CSV of questions and queries, and one schema: the usual case."""
    questions, schema = tmp_path / "questions.csv", tmp_path / "shop.sql"
    with questions.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "sql"), *((question, sql) for question, sql, _ in SHOP)])
    schema.write_text(SCHEMA, encoding="utf-8")
    return questions, schema


def test_one_schema_for_all_rows(shop: tuple[Path, Path]) -> None:
    questions, schema = shop
    dataset = prepared(questions, schema=schema, dialect="PostgreSQL", valid_fraction=0, test_fraction=0)
    assert len(dataset.splits["train"]) == 12 and not dataset.findings.dropped
    row = first(dataset)
    system, user, answer = (message["content"] for message in row["messages"])
    assert row["dialect"] == "postgres" and system == "You write PostgreSQL queries."
    assert "\n\nWrite one PostgreSQL query: " in user and answer in [sql for _, sql, _ in SHOP]
    # what a query needs to know, and no row, owner or setting
    assert "COMMENT ON TABLE public.customers IS 'Everybody who has an account; see also orders';" in user
    assert "status public.order_status DEFAULT 'cart'::public.order_status NOT NULL" in user
    assert "ADD CONSTRAINT customers_pkey PRIMARY KEY (id);" in user and "CREATE INDEX orders_customer_idx" in user
    for left_out in ("Ada Lund", "COPY", "OWNER", "set_config", "EXTENSION", "GRANT", "SEQUENCE"):
        assert left_out not in user
    record = dataset.record(DatasetConfig(type_="sql", schema=schema))
    assert record.dialect == "postgres" and record.schema == str(schema) and record.schema_sha256


def test_the_dialect_of_a_schema_is_guessed(shop: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"cannot be read as SQLite.*--dialect postgres"):
        prepared(shop[0], schema=shop[1])


def test_a_database_of_sqlite_as_schema(tmp_path: Path) -> None:
    path = tmp_path / "my.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript("CREATE TABLE t (\"a b\" INT, c TEXT CHECK (c IN ('x', 'y')), d BLOB);")
        database.executemany("INSERT INTO t VALUES (?, ?, ?)", [(n, "x", b"\0") for n in range(50)])
        database.commit()
    row = {"sql_prompt": "What?", "sql": "SELECT \"a b\" FROM t WHERE c = 'x'"}
    dataset = prepared(rows_file(tmp_path, row), schema=path)
    user = first(dataset)["messages"][1]["content"]
    assert user.startswith(
        "CREATE TABLE t (\"a b\" INT, c TEXT CHECK (c IN ('x', 'y')), d BLOB);\n\nWrite one SQLite query: What?"
    )
    assert first(dataset)["sql_context"].count("INSERT INTO") == 20
    with pytest.raises(UserError, match=r"a database of SQLite, but --dialect says postgres \(omit --dialect\)"):
        prepared(rows_file(tmp_path, row), schema=path, dialect="postgres")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.sql", None, "cannot be read: No such file"),
        ("rows.sql", b"INSERT INTO t VALUES (1);", "no CREATE statement"),
        ("latin.sql", "CREATE TABLE t (\xe9 INT);".encode("latin-1"), "neither UTF-8 text nor a database of SQLite"),
        ("evil.sql", b"CREATE TABLE t (a INT); ATTACH 'evil.db' AS e;", "\"ATTACH 'evil.db' AS e\" is not allowed"),
        ("large.sql", b"CREATE TABLE t (a INT);" + b" " * 200_000, "larger than 200 kB"),
        ("bad.db", b"SQLite format 3\0" + b"x" * 5_000, "not readable as a database of SQLite"),
    ],
)
def test_a_schema_that_cannot_be_used(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        prepared(rows_file(tmp_path, {"sql_prompt": "What?", "sql": "SELECT 1"}), schema=path)
    assert str(error.value).startswith(f"--schema {path}: ") and words in str(error.value).replace("'\"", '"').replace(
        "\"'", '"'
    )


def test_a_schema_without_end_is_not_read(tmp_path: Path) -> None:
    row = {"sql_prompt": "What?", "sql": "SELECT 1"}
    with pytest.raises(UserError, match=r"--schema /dev/zero: not a regular file \(give a \.sql file"):
        prepared(rows_file(tmp_path, row), schema=Path("/dev/zero"))
    path = tmp_path / "large.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (a BLOB)")
        database.execute("INSERT INTO t VALUES (zeroblob(300000))")
        database.commit()
    with pytest.raises(UserError, match=r"a value in its first rows is larger than 200 kB \(give a \.sql file"):
        prepared(rows_file(tmp_path, row), schema=path)


def test_rows_that_name_a_file(tmp_path: Path) -> None:
    (tmp_path / "t.sql").write_text(ROW["sql_context"])
    source = rows_file(tmp_path, {**ROW, "sql_context": "t.sql"})
    with pytest.raises(UserError, match=r"sql_context is the name of a file, 't\.sql'.*--schema t\.sql"):
        prepared(source)
    assert prepared(source, schema=tmp_path / "t.sql").splits["train"]
    with pytest.raises(UserError, match=r"it has a sql_context of its own, and --schema is given \(omit one"):
        prepared(rows_file(tmp_path, {**ROW, "sql_context": "CREATE TABLE u (b INT);"}), schema=tmp_path / "t.sql")


def test_rows_of_another_dialect_are_never_asked_for_sqlite(tmp_path: Path) -> None:
    source = rows_file(tmp_path, POSTGRES)
    for options in ({}, {"check_answers": False}):
        with pytest.raises(UserError, match="these rows look like PostgreSQL: --dialect postgres"):
            prepared(source, **options)
    assert first(prepared(source, dialect="postgres"))["messages"][0]["content"] == "You write PostgreSQL queries."
    assert not prepared(source, dialect="sqlite", check_answers=False).findings.dropped


def test_a_row_names_its_own_dialect(tmp_path: Path) -> None:
    source = rows_file(tmp_path, ROW, {**POSTGRES, "db_type": "PostgreSQL"})
    found = {(row.get("dialect"), row["messages"][0]["content"]) for row in prepared(source).splits["train"]}
    assert found == {(None, "You write SQLite queries."), ("postgres", "You write PostgreSQL queries.")}
    with pytest.raises(UserError, match=r"its dialect is postgres, but --dialect says mysql \(omit --dialect"):
        prepared(source, dialect="mysql")
    with pytest.raises(UserError, match="dialect: unknown dialect 'ansi'"):
        prepared(rows_file(tmp_path, {**ROW, "dialect": "ansi"}))
    with pytest.raises(UserError, match="--dialect: unknown dialect 'postgre' "):
        prepared(source, dialect="postgre")


def test_other_tasks_have_no_dialect(tmp_path: Path) -> None:
    source = rows_file(tmp_path, {"sql_prompt": "x", "prompt": "Hello?", "completion": "Yes."})
    for options in ({"dialect": "postgres"}, {"schema": tmp_path / "x.sql"}):
        with pytest.raises(UserError, match="has no effect with --type chat"):
            prepare(DatasetConfig(type_="chat", dataset_name=str(source), **options), TASKS["chat"], print)


DUMP = """PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT DEFAULT 'PRAGMA x; y');
INSERT INTO t VALUES(1,'x;PRAGMA y');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('t',1);
COMMIT;"""


@pytest.mark.parametrize(
    ("change", "repair"),
    [
        ({"sql": "```sql\nSELECT COUNT(*) FROM t;\n```"}, "a fence around the SQL taken off"),
        ({"sql": "SQL: SELECT COUNT(*) FROM t"}, "a label in front of the SQL taken off"),
        ({"sql": "sqlite> SELECT COUNT(*) FROM t"}, "a label in front of the SQL taken off"),
        ({"sql_context": DUMP}, "settings of a dump (PRAGMA, sqlite_sequence) taken out of sql_context"),
    ],
)
def test_repairs_are_counted(tmp_path: Path, change: Row, repair: str) -> None:
    dataset = prepared(rows_file(tmp_path, {**ROW, **change}))
    assert dict(dataset.findings.mended) == {repair: 20} and not dataset.findings.dropped
    assert first(dataset)["messages"][-1]["content"].rstrip(";") == "SELECT COUNT(*) FROM t"
    assert "PRAGMA foreign_keys" not in first(dataset)["sql_context"]


@pytest.mark.parametrize(
    "statement", ["PRAGMA writable_schema=ON;", "ATTACH 'evil.db' AS e;", "SELECT load_extension('x');"]
)
def test_dangerous_statements_of_a_dump_are_not_taken_out(tmp_path: Path, statement: str) -> None:
    with pytest.raises(UserError, match="none of its 20 rows is usable"):
        prepared(rows_file(tmp_path, {**ROW, "sql_context": f"{ROW['sql_context']} {statement}"}))
