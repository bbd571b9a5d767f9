"""Forty attacks and 21 bombs as answers: judged wrong, in time, in little memory, nothing left behind.

Each attack also goes to the worker as it stands, without the search for SQL in it. ``pytest -s`` shows two tables.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune.tasks.sql.judging import Judgement, SqlJudge
from finetune.tasks.sql.judging.execution import Run
from finetune.tasks.sql.judging.judge import MAX_ANSWER

CONTEXT = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'y');"
GOLD = "SELECT a FROM t WHERE b = 'y'"
SECONDS, MEGABYTES = 2, 200  # of a bomb, by the wall clock; of the worker at its largest

ATTACKS = {
    "ATTACH": ("forbidden", "ATTACH DATABASE 'evil.db' AS e"),
    "ATTACH, as URI": ("forbidden", "ATTACH 'file:evil.db?mode=rwc' AS e"),
    "VACUUM INTO": ("forbidden", "VACUUM INTO 'evil.db'"),
    "PRAGMA query_only": ("forbidden", "PRAGMA query_only=off"),
    "PRAGMA hard_heap_limit": ("forbidden", "```sql\nPRAGMA hard_heap_limit=0;\n```"),
    "PRAGMA behind a comment": ("no_sql", "PRAGMA/**/writable_schema=1"),
    "pragma function": ("forbidden", "SELECT * FROM pragma_table_info('t')"),
    "pragma function that sets": ("forbidden", "SELECT * FROM pragma_hard_heap_limit(0)"),
    "TEMP table": ("forbidden", "CREATE TEMP TABLE evil AS SELECT a FROM t"),
    "TEMP trigger": ("forbidden", "CREATE TEMP TRIGGER evil AFTER INSERT ON t BEGIN SELECT 1; END"),
    "trigger": ("forbidden", "CREATE TRIGGER evil AFTER INSERT ON t BEGIN DELETE FROM t; END"),
    "virtual table fts5": ("forbidden", "CREATE VIRTUAL TABLE evil USING fts5(a)"),
    "virtual table dbstat": ("forbidden unknown_table", "SELECT * FROM dbstat"),
    "DROP": ("forbidden", "DROP TABLE t"),
    "ALTER": ("forbidden", "ALTER TABLE t RENAME TO evil"),
    "load_extension": ("forbidden", f"{GOLD} AND load_extension('evil') IS NULL"),
    "writefile": ("forbidden unknown_function", "SELECT writefile('evil.txt', 'x')"),
    "readfile": ("forbidden unknown_function", "SELECT readfile('/etc/passwd')"),
    "edit": ("forbidden unknown_function", "SELECT edit('x', 'touch evil.txt')"),
    "INTO OUTFILE": ("parse_error", "SELECT a FROM t INTO OUTFILE 'evil.txt'"),
    "sqlite_master, INSERT": ("forbidden", "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 0, 'x')"),
    "sqlite_master, DELETE": ("forbidden other_sql_error", "DELETE FROM sqlite_master"),
    "CTE and DELETE": ("forbidden", "WITH u AS (SELECT 1) DELETE FROM t"),
    "CTE and INSERT": ("forbidden", "WITH u AS (SELECT 4) INSERT INTO t SELECT 4, 'y' FROM u"),
    "INSERT RETURNING": ("forbidden", "INSERT INTO t VALUES (4, 'y') RETURNING a"),
    "UPDATE RETURNING": ("forbidden", "UPDATE t SET b = 'y' RETURNING a"),
    "EXPLAIN DELETE": ("forbidden", "EXPLAIN DELETE FROM t"),
    "EXPLAIN of gold": ("wrong_shape", f"EXPLAIN {GOLD}"),
    "BEGIN": ("forbidden", "BEGIN TRANSACTION;"),
    "ROLLBACK": ("no_sql", "ROLLBACK"),
    "two statements": ("multiple_statements", f"{GOLD}; DROP TABLE t"),
    "a statement after a comment": ("multiple_statements", f"{GOLD}; -- that's it\nDELETE FROM t"),
    "WHERE within a comment": ("wrong_rows", "SELECT a FROM t /* WHERE b = 'y' */"),
    "NUL": ("parse_error", "SELECT a FROM t WHERE b = 'y\0'"),
    "half a surrogate pair": ("parse_error", "SELECT a FROM t WHERE b = '\ud800'"),
    "a semicolon of another width": ("parse_error", f"{GOLD} \uff1b DROP TABLE t"),
    "a space without width": ("unknown_table", "SELECT a FROM t\u200b WHERE b = 'y'"),
    "dot command": ("no_sql", "```\n.shell touch evil.txt\n```"),
    "dot command within": ("parse_error", "SELECT a FROM t\n.output evil.txt\nWHERE b = 'y'"),
    "the result as constants": ("wrong_rows", "SELECT column1 AS a FROM (VALUES (2), (3))"),
}

ROWS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
CROSS = ", ".join(f"t t{number}" for number in range(40))
LONG = f"REPLACE('{'x' * 9000}', 'x', '{'a' * 100}')"  # 900,000 characters
LONG_TENTH = LONG.replace("a" * 100, "a" * 10)
DOUBLING = "WITH RECURSIVE d(s) AS (SELECT 'xxxxxxxx' UNION ALL SELECT {} FROM d)"
TWICE = "".join(f", c{n} AS (SELECT x.a FROM c{n - 1} x, c{n - 1} y)" for n in range(1, 30))

BOMBS = {
    "recursion": ("timeout", f"{ROWS}) SELECT COUNT(*) FROM n"),
    "recursion, its rows": ("too_large", f"{ROWS}) SELECT i FROM n"),
    "cross join": ("timeout", f"SELECT COUNT(*) FROM {CROSS}"),
    "ORDER BY of a cross join": ("too_large timeout", f"SELECT t0.a FROM {CROSS} ORDER BY t3.b, t5.a + t6.a"),
    "window over a cross join": ("too_large timeout", f"SELECT SUM(t0.a) OVER (ORDER BY t1.a) FROM {CROSS}"),
    "group_concat doubling": ("too_large", f"{DOUBLING.format('s || s')} SELECT GROUP_CONCAT(s) FROM d"),
    "hex chain": ("too_large", f"{DOUBLING.format('HEX(s)')} SELECT COUNT(*) FROM d"),
    "replace chain": ("too_large", f"""{DOUBLING.format("REPLACE(s, 'x', 'xx')")} SELECT COUNT(*) FROM d"""),
    "json_group_array": ("too_large timeout", f"{ROWS}) SELECT json_group_array(json_array(i, i)) FROM n"),
    "200 columns of 90,000": ("too_large", f"SELECT {', '.join(['s'] * 200)} FROM (SELECT {LONG_TENTH} s), {CROSS}"),
    "50 columns that grow fourfold": (
        "too_large",
        f"SELECT {', '.join(['s || CHAR(128512)'] * 50)} FROM (SELECT {LONG} s)",
    ),
    "200 columns of 1": ("too_large", f"{ROWS}) SELECT {', '.join(['CHAR(9000 + i)'] * 200)} FROM n LIMIT 9000"),
    "GROUP BY": ("too_large timeout", f"{ROWS}) SELECT i, GROUP_CONCAT(i) FROM n GROUP BY i"),
    "CTEs doubling": ("too_large timeout", f"WITH c0 AS (SELECT a FROM t){TWICE} SELECT COUNT(*) FROM c29"),
    "nesting": ("too_large", "SELECT " + "(" * 9000 + "1" + ")" * 9000),
    "IN of 3,500": ("wrong_rows", f"SELECT a FROM t WHERE a IN ({', '.join(map(str, range(3500)))})"),
    "LIKE": ("timeout", f"SELECT COUNT(*) FROM {CROSS} WHERE {LONG} || t0.a || t1.a LIKE '%{'a' * 900}b'"),
    "INSTR": ("timeout", f"SELECT INSTR({LONG}, SUBSTR({LONG}, 400000) || 'b')"),
    "REGEXP": ("unknown_function", f"SELECT '{'a' * 40}' REGEXP '(a+)+b'"),
    "zeroblob, randomblob, printf": (
        "forbidden",
        "SELECT HEX(zeroblob(900000000)), HEX(randomblob(900000000)), printf('%.*c', 900000000, 'x')",
    ),
    "blank lines": ("timeout", f"{ROWS}) SELECT COUNT(*) FROM n{chr(10) * 19_000}WHERE i > 0"),
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlJudge]:
    with pytest.MonkeyPatch.context() as patch, SqlJudge() as judge:
        patch.chdir(tmp_path_factory.mktemp("here"))  # before the worker starts: a relative path would end here
        yield judge


@pytest.fixture(scope="module")
def tables() -> Iterator[dict[str, list[str]]]:
    tables: dict[str, list[str]] = {"attack": [], "bomb": []}
    yield tables
    for title, lines in tables.items():
        print(f"\n{title:<30}{'kind':<22}{'ms':>5}{'worker MB':>11}", *lines, sep="\n")


def largest(pid: int | None) -> float:
    """The most memory that the process has had, in MB; 0 where the system does not tell, or the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmHWM:")), 0.0)


def measured(judge: SqlJudge, answer: str) -> tuple[Judgement, float, float]:
    """What is judged, in how many ms, and the worker's MB, looked at all the while: what is killed cannot be asked."""
    done = threading.Event()
    sizes = [largest(judge.worker.pid)]

    def watch() -> None:
        while not done.wait(0.005):
            sizes.append(largest(judge.worker.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    judged = judge.judge(CONTEXT, GOLD, answer)
    milliseconds = 1000 * (time.perf_counter() - started)
    done.set()
    watcher.join()
    return judged, milliseconds, max(*sizes, largest(judge.worker.pid))


def line(name: str, judged: Judgement, milliseconds: float, megabytes: float) -> str:
    return f"{name:<30}{judged.kind:<22}{milliseconds:>5.0f}" + (f"{megabytes:>11.0f}" if megabytes else f"{'-':>11}")


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks(judge: SqlJudge, tables: dict[str, list[str]], name: str) -> None:
    kinds, answer = ATTACKS[name]
    assert judge.judge(CONTEXT, GOLD, GOLD).right
    judged, milliseconds, megabytes = measured(judge, answer)
    (bare,) = judge.worker.run([Run(CONTEXT, answer)])
    tables["attack"].append(line(name, judged, milliseconds, megabytes))
    assert judged.kind in kinds.split(), judged
    assert bare.error or kinds in ("wrong_rows", "wrong_shape")  # else only read
    assert list(Path.cwd().iterdir()) == []
    assert judge.judge(CONTEXT, GOLD, GOLD).right


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_bombs(judge: SqlJudge, tables: dict[str, list[str]], name: str) -> None:
    kinds, answer = BOMBS[name]
    judge.worker.close()  # each has a worker of its own to fill
    assert len(answer) <= MAX_ANSWER and judge.judge(CONTEXT, GOLD, GOLD).right
    judged, milliseconds, megabytes = measured(judge, answer)
    tables["bomb"].append(line(name, judged, milliseconds, megabytes))
    assert judged.kind in kinds.split(), judged
    assert milliseconds < 1000 * SECONDS and megabytes < MEGABYTES
    assert list(Path.cwd().iterdir()) == []
    assert judge.judge(CONTEXT, GOLD, GOLD).right
