"""SQL that means harm is refused or stopped and leaves no file; the next answer is judged as before."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune.sql import SqlJudge

CONTEXT = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'y');"
GOLD = "SELECT a FROM t WHERE b = 'y'"
BOMB = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
DOUBLING = "WITH RECURSIVE d(s) AS (SELECT 'xxxxxxxx' UNION ALL SELECT s || s FROM d)"
LONG_ROWS = f"WITH RECURSIVE d(i, s) AS (SELECT 1, '{'x' * 9000}' UNION ALL SELECT i + 1, s || 'x' FROM d)"


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlJudge]:
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("here"))  # before the worker starts: a relative path would end here
    try:
        with SqlJudge(seconds=0.5) as judge:
            yield judge
        assert list(Path.cwd().iterdir()) == []
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        ("ATTACH DATABASE 'evil.db' AS e", "forbidden"),
        ("VACUUM INTO 'evil.db'", "forbidden"),
        ("PRAGMA query_only=off", "forbidden"),
        ("PRAGMA journal_mode=wal", "forbidden"),
        ("SELECT * FROM pragma_table_info('t')", "forbidden"),
        ("SELECT load_extension('evil')", "forbidden"),
        ("SELECT writefile('evil.txt', 'x')", "forbidden unknown_function"),
        ("SELECT printf('%.*c', 1000000000, 'x')", "forbidden"),
        ("SELECT zeroblob(1000000000)", "forbidden"),
        ("SELECT hex(randomblob(1000000000))", "forbidden"),
        ("INSERT INTO t VALUES (4, 'z')", "forbidden"),
        ("UPDATE t SET a = 0", "forbidden"),
        ("WITH u AS (SELECT 1) DELETE FROM t", "forbidden"),
        ("CREATE TABLE evil (a INT)", "forbidden"),
        ("DROP TABLE t", "forbidden"),
        ("EXPLAIN DELETE FROM t", "forbidden"),
        (f"{BOMB} SELECT COUNT(*) FROM n", "timeout"),
        (f"{BOMB} SELECT i FROM n", "too_large"),
        (f"{DOUBLING} SELECT s FROM d", "too_large"),
        (f"{LONG_ROWS} SELECT s FROM d ORDER BY i DESC", "too_large"),
        ("SELECT COUNT(*) FROM " + ", ".join(f"t t{number}" for number in range(40)), "timeout"),
        ("SELECT 'a' LIKE '" + "%a" * 4000 + "'", "other_sql_error too_large"),
        ("SELECT " + "(" * 9000 + "1" + ")" * 9000, "too_large parse_error"),
        ("SELECT " + "1+" * 9000 + "1", "too_large"),
        ("SELECT 1 " + "UNION SELECT 1 " * 1000, "too_large"),
        ("SELECT " + "1," * 9000 + "1", "too_large"),
        ("SELECT '" + "x" * 1_000_000 + "'", "too_large"),
        ("SELECT a\0 FROM t", "parse_error"),
        ("SELECT '\ud800' FROM t", "parse_error"),
        ("SELECT a FROM t; ATTACH DATABASE 'evil.db' AS e; SELECT a FROM t", "multiple_statements"),
        (";" * 10_000, "no_sql"),
        ("SELECT ? FROM t", "other_sql_error"),
    ],
)  # fmt: skip
def test_hostile_answers(judge: SqlJudge, answer: str, kinds: str) -> None:
    judged = judge.judge(CONTEXT, GOLD, answer)
    assert judged.kind in kinds.split(), judged
    assert judge.judge(CONTEXT, GOLD, GOLD).right


@pytest.mark.parametrize(
    "context",
    [
        "ATTACH DATABASE 'evil.db' AS e;",
        "CREATE VIRTUAL TABLE v USING fts5(a);",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END;",
        "PRAGMA hard_heap_limit = 0;",
        "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 0, 'CREATE TABLE x (a)');",
        f"INSERT INTO t {BOMB} SELECT i, 'x' FROM n;",
        "INSERT INTO t VALUES (4, zeroblob(900000));",
    ],
)
def test_hostile_contexts(judge: SqlJudge, context: str) -> None:
    assert judge.judge(CONTEXT + context, GOLD, GOLD).kind == "gold_error"
    assert judge.judge(CONTEXT, GOLD, GOLD).right


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("DROP TABLE t", "forbidden"),
        ("DELETE FROM sqlite_master", "forbidden other_sql_error"),
        ("ATTACH DATABASE 'evil.db' AS e", "forbidden"),
        (f"INSERT INTO t {BOMB} SELECT i, 'x' FROM n", "too_large timeout"),
        ("UPDATE t SET b = printf('%.*c', 1000000, 'x')", "forbidden"),
    ],
)
def test_hostile_writes(judge: SqlJudge, answer: str, kind: str) -> None:
    gold = "DELETE FROM t WHERE b = 'y'"
    assert judge.judge(CONTEXT, gold, answer).kind in kind.split()
    assert judge.judge(CONTEXT, gold, gold).right


def test_a_function_that_no_clock_of_sqlite_can_stop() -> None:
    long = f"REPLACE('{'x' * 8000}', 'x', '{'a' * 100}')"
    slow = f"SELECT INSTR({long}, SUBSTR({long}, 400000) || 'b')"  # one call, 10 ** 11 steps
    with SqlJudge(seconds=0.2) as judge:
        assert judge.judge(CONTEXT, GOLD, slow).kind == "timeout"
        assert judge.judge(CONTEXT, GOLD, GOLD).right


def test_a_worker_killed_from_outside_is_replaced() -> None:
    with SqlJudge(seconds=1.0) as judge:
        assert judge.judge(CONTEXT, GOLD, GOLD).right
        first = judge._worker.pid
        assert first is not None
        assert judge.judge(CONTEXT, GOLD, f"{BOMB} SELECT COUNT(*) FROM n").kind == "timeout"
        assert judge._worker.pid == first  # stopped by its own clock
        os.kill(first, signal.SIGKILL)
        assert judge.judge(CONTEXT, GOLD, GOLD).right

        def kill_in_the_middle() -> None:
            time.sleep(0.3)
            os.kill(judge._worker.pid or 0, signal.SIGKILL)

        killer = threading.Thread(target=kill_in_the_middle)
        killer.start()
        assert judge.judge(CONTEXT, GOLD, f"{BOMB} SELECT COUNT(*) FROM n").kind == "timeout"
        killer.join()
        assert judge.judge(CONTEXT, GOLD, GOLD).right
        assert judge._worker.pid != first
        last = judge._worker.pid
    with pytest.raises(ProcessLookupError):
        os.kill(last or 0, 0)
