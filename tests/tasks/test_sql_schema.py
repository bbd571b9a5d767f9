"""The schema in a prompt: what SQLite would have, as it was written, without rows and sizes of types."""

import sqlite3

import pytest

from finetune.tasks.sql.schema import schema_of
from finetune.tasks.sql.task import user_message


@pytest.mark.parametrize(
    ("script", "schema"),
    [
        # sizes of types go, wherever blanks stand
        (
            "CREATE TABLE t (a VARCHAR(255), b DECIMAL (10 , 2), c INT( 11 ) UNSIGNED)",
            "CREATE TABLE t (a VARCHAR, b DECIMAL, c INT UNSIGNED)",
        ),
        (
            'CREATE TABLE t ("the name" DOUBLE PRECISION(8) NOT NULL)',
            'CREATE TABLE t ("the name" DOUBLE PRECISION NOT NULL)',
        ),
        # what looks like a size stays
        ('CREATE TABLE "Population (2020)" ("Share (5)" REAL)', None),
        ("CREATE TABLE t (a INT CHECK (a IN (1)), b INT DEFAULT (5))", None),
        ("CREATE TABLE t (a TEXT CHECK (a IN ('a', 'b')), CONSTRAINT c CHECK (b > f(3)))", None),
        ("CREATE TABLE t (a INT, CHECK (length (4) > a), b INT GENERATED ALWAYS AS (abs(7)))", None),
        ("CREATE VIEW v AS SELECT CAST(a AS VARCHAR(10)), round(2) FROM t WHERE a IN (1)", None),
        ("CREATE INDEX i ON t(a) WHERE a IN (3)", None),
        ("CREATE TABLE t AS SELECT a FROM (SELECT b in (4) FROM u)", None),
        ("CREATE TABLE [a  (9)] (`b  (8)` TEXT DEFAULT 'x  (7)  --no', c TEXT DEFAULT '')", None),
        ("CREATE TABLE t (a TEXT DEFAULT 'it''s  (2)', b TEXT DEFAULT \"(3)\")", None),
        # a comment does not swallow what follows it in the line
        (
            "CREATE TABLE t (\n  a INT, -- in euros (2)\n  b INT /* a\n  list */\n)",
            "CREATE TABLE t ( a INT, /* in euros (2) */ b INT /* a list */ )",
        ),
        (
            "CREATE TABLE t (a INT, -- what ends */ here\n b INT)",
            "CREATE TABLE t (a INT, /* what ends * / here */ b INT)",
        ),
        ("-- made by hand\nCREATE TABLE t (a INT)", "CREATE TABLE t (a INT)"),
        # rows and settings are no schema
        (
            "PRAGMA foreign_keys=OFF; BEGIN; CREATE TABLE t(a INT); INSERT INTO t VALUES ('CREATE; x'); COMMIT;",
            "CREATE TABLE t(a INT);",
        ),
        ("create table trigger (a int); CREATE TABLE u (b)", "create table trigger (a int);\nCREATE TABLE u (b)"),
        # several statements, and one with statements in it
        (
            "CREATE TABLE t (a); create trigger r AFTER INSERT ON t BEGIN DELETE FROM t; END; CREATE TABLE u (b)",
            "CREATE TABLE t (a);\ncreate trigger r AFTER INSERT ON t BEGIN DELETE FROM t; END;\nCREATE TABLE u (b)",
        ),
    ],
)
def test_by_hand(script: str, schema: str | None) -> None:
    found = schema_of(script)
    assert found.replace(";\n", "\n").rstrip(";") == (schema or script).replace(";\n", "\n").rstrip(";")


@pytest.mark.parametrize(
    ("script", "schema"),
    [
        (
            "CREATE TABLE t (a INT); ALTER TABLE t ADD COLUMN b TEXT DEFAULT '(5)';",
            "CREATE TABLE t (a INT, b TEXT DEFAULT '(5)');",
        ),
        ("CREATE TABLE t (a INT); ALTER TABLE t RENAME TO u", 'CREATE TABLE "u" (a INT);'),
        (
            "DROP TABLE IF EXISTS t; CREATE TABLE t (a VARCHAR(9)); CREATE TABLE u (b); DROP TABLE u",
            "CREATE TABLE t (a VARCHAR);",
        ),
        ("CREATE TEMP TABLE t (a); ALTER TABLE t ADD b INT", "CREATE TABLE t (a, b INT);"),
        # what SQLite does not run is shown as it was written
        ("CREATE TABLE t (a INT); ALTER TABLE t ADD CONSTRAINT k UNIQUE (a)", None),
        (
            "CREATE TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n; DROP TABLE t",
            None,
        ),
    ],
)
def test_statements_that_change_a_schema(script: str, schema: str | None) -> None:
    assert schema_of(script) == (schema or script.replace("; ", ";\n") + ";")


@pytest.mark.parametrize(
    "script", ["CREATE TABLE t (a VARCHAR(255), b NUMERIC(9,2) DEFAULT 1 /* x */, CHECK (b IN (2)))"]
)
def test_it_creates_the_same_table(script: str) -> None:
    columns = []
    for sql in (script, schema_of(script)):
        database = sqlite3.connect(":memory:")
        database.executescript(sql)
        columns.append(
            [row[1:] for row in database.execute("SELECT cid, name, dflt_value FROM pragma_table_info('t')")]
        )
        database.close()
    assert columns[0] == columns[1]


def test_a_schema_in_other_words_is_shown_as_it_is() -> None:
    assert user_message("boats(id, name)\nA boat has a name.", "How many?").startswith(
        "boats(id, name)\nA boat has a name.\n\nWrite"
    )


@pytest.mark.parametrize(
    "open_end",
    [
        "CREATE TABLE t (a TEXT DEFAULT 'x",
        "CREATE TABLE t (a /* x",
        "CREATE TABLE t ([a",
        "CREATE",
        "((((",
        "CREATE TABLE t (a VARCHAR(",
        "CREATE TABLE t (a b(1",
        ")))",
    ],
)
def test_what_is_cut_off_is_no_error(open_end: str) -> None:
    schema_of(open_end)
