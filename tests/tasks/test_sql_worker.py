"""Limits, hostile contexts and writes, and a worker that dies: the next answer is judged as before."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune.tasks.sql.judging import Judgement, SqlJudge, gold_problem
from finetune.tasks.sql.judging.execution import SqlWorker

pytestmark = pytest.mark.slow

CONTEXT = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'y');"
GOLD = "SELECT a FROM t WHERE b = 'y'"
BOMB = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
SLOW = f"{GOLD} AND 0 < ({BOMB.replace('FROM n', 'FROM n LIMIT 1000000')} SELECT COUNT(*) FROM n)"
LONG_ROWS = f"WITH RECURSIVE d(i, s) AS (SELECT 1, '{'x' * 9000}' UNION ALL SELECT i + 1, s || 'x' FROM d)"


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlJudge]:
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("here"))  # before the worker starts: a relative path would end here
    try:
        with SqlJudge() as judge:
            yield judge
        assert list(Path.cwd().iterdir()) == []
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        (f"{LONG_ROWS} SELECT s FROM d ORDER BY i DESC", "too_large"),
        ("SELECT 'a' LIKE '" + "%a" * 4000 + "'", "other_sql_error too_large"),
        ("SELECT " + "1+" * 9000 + "1", "too_large"),
        ("SELECT 1 " + "UNION SELECT 1 " * 1000, "too_large"),
        ("SELECT " + "1," * 9000 + "1", "too_large"),
        ("SELECT '" + "x" * 1_000_000 + "'", "too_large"),
        ("SELECT CAST(x'ff' AS TEXT) FROM t", "other_sql_error"),
        (";" * 10_000, "no_sql"),
        ("SELECT ? FROM t", "other_sql_error"),
    ],
)  # fmt: skip
def test_answers_past_a_limit(judge: SqlJudge, answer: str, kinds: str) -> None:
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
        "ALTER TABLE t ADD COLUMN c; INSERT INTO t VALUES (4, printf('%.*c', 900000, 'x'), 1);",
        "DROP TABLE t; CREATE TABLE t (a INT, b TEXT); DELETE FROM sqlite_master;",
        "ALTER TABLE t ADD COLUMN c; PRAGMA quick_check(t); PRAGMA writable_schema = 1;",
    ],
)
def test_hostile_contexts(judge: SqlJudge, context: str) -> None:
    assert judge.judge(CONTEXT + context, GOLD, GOLD).kind == "gold_error"
    assert judge.judge(CONTEXT, GOLD, GOLD).right


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'a; b' CHECK (length(c) < 9);",
        "BEGIN; ALTER TABLE t ADD COLUMN c INT REFERENCES t (a); COMMIT;",
        "ALTER TABLE t RENAME COLUMN b TO d; ALTER TABLE t RENAME COLUMN d TO b;",
        "CREATE TABLE u (a); CREATE INDEX i ON u (a); DROP INDEX i; DROP TABLE u; -- the end; really",
        "ALTER TABLE t RENAME TO u; CREATE VIEW w AS SELECT * FROM u; DROP VIEW w; ALTER TABLE u RENAME TO t;",
    ],
)
def test_a_context_that_changes_what_it_made(judge: SqlJudge, change: str) -> None:
    assert judge.judge(CONTEXT + change, GOLD, GOLD).right
    for answer in (
        "ALTER TABLE t ADD COLUMN e",
        "WITH u AS (SELECT 1) DELETE FROM t",
        f"{GOLD} AND printf('%d', 1) = '1'",
    ):
        assert judge.judge(CONTEXT + change, GOLD, answer).kind == "forbidden"  # it may not do what the script may


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


@contextmanager
def killing(worker: SqlWorker, times: int, number: int) -> Iterator[None]:
    """Sends the signal to the present process in the middle of a request, and to as many after it as ``times`` says."""

    def kill() -> None:
        killed: set[int | None] = {None}
        for _ in range(times):
            while (pid := worker.pid) in killed:
                time.sleep(0.01)
            time.sleep(0.05)
            os.kill(pid or 0, number)
            killed.add(pid)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    yield
    killer.join(timeout=10)
    assert not killer.is_alive()


@pytest.mark.parametrize(
    ("number", "times", "answer", "kind", "reason"),
    [
        ("SIGKILL", 1, SLOW, "ok", "tried again: the worker was killed from outside"),
        ("SIGTERM", 1, f"{SLOW} OR a > 0", "wrong_rows", "; tried again: the worker was killed from outside"),
        ("SIGKILL", 2, SLOW, "worker_killed", "the worker was killed from outside twice (exit code -9)"),
        ("SIGSEGV", 2, SLOW, "too_large", "its process died twice: out of memory or processor time"),
    ],
)
def test_a_worker_killed_in_the_middle(number: str, times: int, answer: str, kind: str, reason: str) -> None:
    with SqlJudge() as judge:
        assert judge.judge(CONTEXT, GOLD, GOLD).right
        first = judge.worker.pid
        with killing(judge.worker, times, getattr(signal, number)):
            judged = judge.judge(CONTEXT, GOLD, answer)
        assert judged.kind == kind and judged.reason.endswith(reason), judged
        assert judged.scored == (kind != "worker_killed") and not (judged.right and kind != "ok")
        assert judge.worker.pid != first
        assert judge.judge(CONTEXT, GOLD, GOLD) == Judgement("ok")  # the run goes on, unmarked
        last = judge.worker.pid
    with pytest.raises(ProcessLookupError):
        os.kill(last or 0, 0)


def test_a_worker_killed_while_it_waits_marks_nothing() -> None:
    with SqlJudge() as judge:
        assert judge.judge(CONTEXT, GOLD, f"{BOMB} SELECT COUNT(*) FROM n").kind == "timeout"
        first = judge.worker.pid or 0
        assert judge.judge(CONTEXT, GOLD, GOLD).right
        assert judge.worker.pid == first  # the bomb was stopped by the worker's own clock
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        assert judge.judge(CONTEXT, GOLD, GOLD) == Judgement("ok")


def test_a_worker_killed_at_gold_is_no_fault_of_the_row() -> None:
    endless = f"{BOMB} SELECT COUNT(*) FROM n"
    with SqlJudge() as judge:
        judge.worker.run([])
        with killing(judge.worker, 2, signal.SIGKILL):
            assert judge.judge(CONTEXT, endless, GOLD).kind == "worker_killed"
        assert judge.judge(CONTEXT, endless, GOLD).kind == "gold_error"  # tried again, not remembered
        with killing(judge.worker, 2, signal.SIGKILL):
            problem = gold_problem(judge.worker, CONTEXT, endless)
            assert problem and "not tried: the worker was killed" in problem.reason
