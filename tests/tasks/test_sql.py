"""What is a right answer, what is a wrong one, and which rows cannot be judged."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune.tasks.sql.judging import ANSWER_KINDS, UNSCORED_KINDS, SqlJudge, extract_sql
from finetune.tasks.sql.judging.compare import compare, ordered, unordered
from finetune.tasks.sql.judging.execution import Outcome, Row
from finetune.tasks.sql.schema import schema_of

SHARED = Path(__file__).parents[3] / "shared" / "data" / "gretel_text_to_sql_train.jsonl"

STAFF = """CREATE TABLE team (id INT PRIMARY KEY, city VARCHAR(20));
INSERT INTO team VALUES (1, 'Lima'), (2, 'Oslo'), (3, 'Oslo');
CREATE TABLE staff (name TEXT, team_id INT, pay DECIMAL(8, 2), born DATE);
INSERT INTO staff VALUES ('Ana', 1, 10, '1990-01-05'), ('Bo', 2, 20, '1985-07-30');
INSERT INTO staff VALUES ('Cy', 2, 30, '2001-02-03');"""
JOIN = "SELECT s.name, s.pay FROM staff s JOIN team t ON s.team_id = t.id WHERE t.city = 'Oslo' AND s.pay > 10"
ORDERED = "SELECT name, pay FROM staff ORDER BY pay DESC, name"
COUNTED = "SELECT team_id, COUNT(*) AS n FROM staff GROUP BY team_id ORDER BY n DESC LIMIT 1"


@pytest.fixture(scope="module")
def judge() -> Iterator[SqlJudge]:
    with SqlJudge() as judge:
        yield judge


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (JOIN, JOIN),
        (JOIN, f"```sql\n{JOIN};\n```"),
        (JOIN, f"You need a join:\n\n{JOIN};\n\nIt keeps Oslo's people only."),
        (JOIN, JOIN.lower().replace("'oslo'", "'Oslo'").replace(" where ", "\n  where ")),
        (JOIN, "SELECT pay AS salary, name AS who FROM staff WHERE pay > 10 AND team_id IN "
               "(SELECT id FROM team WHERE city = 'Oslo')"),
        (JOIN, JOIN + " ORDER BY s.pay"),
        (ORDERED, "SELECT pay, name FROM staff ORDER BY 1 DESC, 2 ASC"),
        (COUNTED, "SELECT COUNT(name), team_id FROM (SELECT team_id, COALESCE(name, '') AS name FROM staff) "
                  "GROUP BY team_id ORDER BY COUNT(*) DESC LIMIT 1"),
        ("SELECT AVG(pay) FROM staff", "SELECT SUM(pay) * 1.0 / COUNT(pay) FROM staff"),
        ("UPDATE staff SET pay = pay / 3.0", "UPDATE staff SET pay = 2 * pay / 6.0;"),
        ("DELETE FROM staff WHERE pay < 20", "DELETE FROM staff WHERE NOT pay >= 20"),
        ("INSERT INTO team VALUES (9, 'Rome')", "INSERT INTO team (city, id) VALUES ('Rome', 9)"),
    ],
)  # fmt: skip
def test_right(judge: SqlJudge, gold: str, answer: str) -> None:
    judged = judge.judge(STAFF, gold, answer)
    assert (judged.kind, judged.reason) == ("ok", "")
    assert judged.right and judged.scored and judged.write == (not gold.startswith("SELECT"))


@pytest.mark.parametrize(
    ("gold", "answer", "kind"),
    [
        (JOIN, "", "no_sql"),
        (JOIN, "I would select the people of Oslo with care.", "no_sql"),
        (JOIN, "SELECT 42", "wrong_shape"),
        ("SELECT MAX(pay) FROM staff WHERE team_id = 2", "SELECT 30", "wrong_rows"),
        (JOIN, JOIN + "; SELECT 1", "multiple_statements"),
        (JOIN, "SELECT FROM WHERE", "parse_error"),
        (JOIN, JOIN.replace("team t", "teams t"), "unknown_table"),
        (JOIN, JOIN.replace("s.pay >", "s.wage >"), "unknown_column"),
        (JOIN, JOIN.replace("s.pay >", "MONEY(s.pay) >"), "unknown_function"),
        (JOIN, JOIN.replace("t.id", "id").replace("s.name", "MAX(s.name, MIN())"), "other_sql_error"),
        (JOIN, "DELETE FROM staff", "forbidden"),
        (JOIN, JOIN.replace("s.name, ", ""), "wrong_shape"),
        (JOIN, JOIN.replace(" AND s.pay > 10", ""), "wrong_rows"),
        (JOIN, JOIN.replace("s.pay > 10", "s.pay >= 10"), "wrong_rows"),
        (JOIN, JOIN.replace("JOIN", "LEFT JOIN").replace("WHERE", "OR"), "wrong_rows"),
        (JOIN, JOIN.replace("SELECT", "SELECT DISTINCT"), "wrong_rows"),
        (JOIN, JOIN.replace("s.name, s.pay", "s.name, s.name"), "wrong_rows"),
        (ORDERED, "SELECT name, pay FROM staff ORDER BY pay, name", "wrong_order"),
        (ORDERED, ORDERED + " LIMIT 3", "wrong_rows"),
        ("DELETE FROM staff WHERE pay < 20", "DELETE FROM staff WHERE pay <= 20", "wrong_rows"),
        ("DELETE FROM staff WHERE pay < 20", "SELECT * FROM staff WHERE pay < 20", "wrong_rows"),
    ],
)  # fmt: skip
def test_wrong(judge: SqlJudge, gold: str, answer: str, kind: str) -> None:
    judged = judge.judge(STAFF, gold, answer)
    assert judged.kind == kind, judged
    assert kind in ANSWER_KINDS and judged.scored and judged.reason


@pytest.mark.parametrize(
    ("context", "gold", "kind"),
    [
        (STAFF, "SELECT nothing FROM staff", "gold_error"),
        ("CREATE TABLE (", "SELECT 1", "gold_error"),
        (STAFF + "DROP TABLE staff;", "SELECT * FROM staff", "gold_error"),
        (STAFF, "SELECT name FROM staff WHERE pay > 99", "unscorable"),
        (STAFF, "SELECT SUM(pay) FROM staff WHERE pay > 99", "unscorable"),
        (STAFF, "SELECT name FROM staff WHERE 1 = 1", "unscorable"),
        (STAFF, "SELECT name FROM staff LIMIT 1", "unscorable"),
        (STAFF, "SELECT name FROM staff ORDER BY RANDOM()", "unscorable"),
        (STAFF, "SELECT name FROM staff WHERE born < DATE('now')", "unscorable"),
        (STAFF, "CREATE TABLE x (y INT)", "unscorable"),
        (STAFF, "UPDATE staff SET pay = 1 WHERE pay > 99", "unscorable"),
    ],
)
def test_rows_that_say_nothing(judge: SqlJudge, context: str, gold: str, kind: str) -> None:
    judged = judge.judge(context, gold, gold)
    assert judged.kind == kind, judged
    assert kind in UNSCORED_KINDS and not judged.scored and not judged.right


def test_generated_databases_find_what_the_own_one_cannot(judge: SqlJudge) -> None:
    context = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'y');"
    gold = "SELECT COUNT(*) FROM t WHERE b = 'y'"
    lucky = ["SELECT 2", "SELECT COUNT(*) FROM t WHERE a > 1", "SELECT COUNT(*) FROM t WHERE b LIKE '%y%'"]
    with SqlJudge(generated=0) as own_only:
        assert [own_only.judge(context, gold, answer).kind for answer in lucky] == ["ok"] * 3
    assert [judge.judge(context, gold, answer).kind for answer in lucky] == ["wrong_rows"] * 3


def table(*rows: Row) -> Outcome:
    return Outcome(rows=rows, columns=len(rows[0]))


def test_compare() -> None:
    bag = [unordered(((1, "a", None), (1, "a", None), (2, "b", 0.1)), 3)]
    assert compare(bag, [table((0.1000000001, 2.0, "b"), (None, 1, "a"), (None, 1, "a"))])[0] == "ok"
    assert compare(bag, [table((0.1, 2, "b"), (0.1, 2, "b"), (None, 1, "a"))])[0] == "wrong_rows"
    assert compare(bag, [table(("0.1", 2, "b"), (None, 1, "a"), (None, 1, "a"))])[0] == "wrong_rows"
    assert compare(bag, [table((0, 2, "b"), (None, 1, "a"), (None, 1, "a"))])[0] == "wrong_rows"
    # each of two databases alone has a permutation that fits, but not the same one
    two = [unordered(((1, 2),), 2), unordered(((3, 4),), 2)]
    assert compare(two, [table((2, 1)), table((4, 3))])[0] == "ok"
    assert compare(two, [table((2, 1)), table((3, 4))])[0] == "wrong_rows"
    # whole numbers are not rounded
    assert compare([unordered(((1000000,),), 1)], [table((1000001,))])[0] == "wrong_rows"
    # eight columns of the same values in other places
    wide = tuple(tuple((row * place) % 7 for place in range(1, 9)) for row in range(1, 7))
    assert compare([unordered(wide, 8)], [table(*(row[::-1] for row in wide))])[0] == "ok"


INF = float("inf")


@pytest.mark.parametrize(
    ("gold", "answer", "same", "functions"),
    [
        ([2460310.5], [2460311.5], False, "julianday"),  # days since 4713 BC, and one more
        ([1 + step * 5e-7 for step in range(1000)], [1.0] * 1000, False, ""),
        ([1 + step * 9e-10 for step in range(1000)], [1.0] * 1000, False, ""),
        ([1e6, 1e6 + 1], [1e6, 1e6], False, ""),
        ([1e14, 1e14 + 1], [1e14, 1e14], False, ""),
        ([123456.78], [123456.79], False, ""),
        ([1e-10], [2e-10], False, ""),
        ([1.6e-19], [9.1e-31], False, ""),
        ([2**53, 2**53 + 1], [2**53, 2**53], False, ""),
        ([2**53 + 1, 2.0**53], [2**53, 2.0**53], False, ""),
        ([INF], [1e308], False, ""),
        ([None], [0], False, ""),
        (["1"], [1], False, ""),
        ([INF, None, -0.0], [None, 0, INF], True, ""),
        ([2**53 + 1], [2.0**53], True, ""),
        ([10**18, 10**18 + 128], [1e18, 1e18 + 128], True, ""),
        ([0.1 + 0.2, 3], [0.3, 2.9999999999999996], True, ""),
        ([54321.98765, 7], [54321.99, 7], True, ""),  # ROUND(AVG(x), 2) of large numbers, and of small ones
        ([4.98765, 7], [4.99, 7], False, ""),
        ([0.1 + 0.2 - 0.3], [0], True, ""),  # a sum that should be 0
        ([0.0, 5e3], [-1e-13, 5e3], True, ""),
        ([300], [300.00004], True, "julianday"),  # seconds between two times
        ([300], [300.00004], False, ""),
        ([1_700_000_000, 1_700_000_001], [1_700_000_000.00004, 1_700_000_000.99998], True, "julianday"),
    ],
)
def test_floats_are_the_same_but_for_rounding(gold: list, answer: list, same: bool, functions: str) -> None:
    """Whichever of the two is gold."""
    for one, other in ((gold, answer), (answer, gold)):
        outcome = Outcome(rows=tuple((value,) for value in other), columns=1, functions=frozenset({functions}))
        kind, _ = compare([unordered(tuple((value,) for value in one), 1)], [outcome])
        assert kind == ("ok" if same else "wrong_rows")


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["equal", "permutations of one", "two kinds", "floats"])
@pytest.mark.parametrize("right", [True, False])
def test_large_results_are_compared_in_time(columns: str, right: bool) -> None:
    """Or the answer is late, and the reason says why: which columns belong together cannot be told by trying all of them."""
    draw, rows = random.Random(1), 10_000
    made: list[list[float]] = {
        "equal": [list(range(rows))] * 25,
        "permutations of one": [draw.sample(range(rows), rows) for _ in range(25)],
        "two kinds": [
            draw.sample([place * 2 * row // rows for row in range(rows)], rows) for place in (1, 3) for _ in range(12)
        ],
        "floats": [[draw.random() for _ in range(rows)] for _ in range(25)],
    }[columns]
    gold = unordered(tuple(zip(*made, strict=True)), len(made))
    others = (
        [made[0], *made[:0:-1]]
        if right
        else [[*column[1:], column[0]] if at else column for at, column in enumerate(made)]
    )
    answer = table(*zip(*others, strict=True))
    started = time.process_time()
    kind, reason = compare([gold], [answer])
    assert time.process_time() - started < 2  # at most 0.8 seconds on the slowest machine that it was tried on
    assert kind in (("ok", "timeout") if right else ("wrong_rows", "timeout"))
    assert kind != "timeout" or reason.startswith("10000 rows of 2")


def test_ties_may_stand_in_any_order() -> None:
    # ORDER BY the number LIMIT 2: "b" or "c" may come second
    gold = [ordered((("a",), ("b",)), 1, (("a", 1), ("b", 2), ("c", 2), ("d", 3)), 0)]
    assert compare(gold, [table(("a",), ("c",))])[0] == "ok"
    assert compare(gold, [table(("a",), ("d",))])[0] == "wrong_rows"
    assert compare(gold, [table(("c",), ("a",))])[0] == "wrong_order"


@pytest.mark.parametrize(
    ("context", "schema"),
    [
        ("CREATE TABLE t (a VARCHAR(9) DEFAULT 'x;y');;INSERT INTO t VALUES (';'); create view v", 2),
        ("CREATE TABLE [t;u] (`a;b` INT);\nCREATE TEMP TRIGGER x BEGIN DELETE FROM t; END; CREATE TABLE v (b INT)", 3),
        ("CREATE TABLE t (a INT) -- it's; done\n; /* CREATE TABLE u (b INT);", 1),
        ("CREATE TABLE t (a INT);" + 190_000 * ";", 1),
        ("CREATE TABLE t (a INT); INSERT INTO t VALUES ('" + 190_000 * ";", 1),
        ("CREATE TABLE t (a INT" + 190_000 * ";", 1),
        (95_000 * " " + "CREATE TRIGGER x BEGIN" + 95_000 * "; ", 1),
        (60_000 * "CREATE TRIGGER x; END; ", 60_000),
    ],
)
def test_the_tables_of_a_context_are_found_in_one_pass(context: str, schema: int) -> None:
    """A semicolon in quotes or in a trigger ends no statement; each took as long as all before it."""
    started = time.process_time()
    assert len(schema_of(context).split("\n")) == schema
    assert time.process_time() - started < 2


QUERY = "SELECT a FROM t WHERE x = 'it''s; so'"


@pytest.mark.parametrize(
    ("answer", "sql"),
    [
        (QUERY, QUERY),
        (f"{QUERY} ;;\n-- that is all", QUERY),
        (f"```sql\n{QUERY};\n```", QUERY),
        (f"```SQL {QUERY}```", QUERY),
        (f"Sure!\n~~~\n-- names\n{QUERY}\n~~~\nThis doesn't select b.", QUERY),
        (f"```\n{QUERY}", QUERY),
        (f"Rows:\n```text\na b\n```\nQuery:\n```sql\n{QUERY}\n```", QUERY),
        (f"SQL: {QUERY}", QUERY),
        (f"**Answer:** {QUERY};\n\nIt's easy.", QUERY),
        (f"1. {QUERY}", QUERY),
        (f"sqlite> {QUERY};", QUERY),
        (f"The query you want is: {QUERY}; it's short.", QUERY),
        (f"Use `{QUERY}` here.", QUERY),
        (f"I would run {QUERY}; and no more.", QUERY),
        (f"{QUERY}\nThis query doesn't need a join.", QUERY),
        (f"{QUERY}\n\nExplanation: x isn't unique.", QUERY),
        (f"{QUERY};\n\nSelect the rows of t, then update it.", QUERY),
        (f"<think>SELECT b FROM t;</think>\n{QUERY}", QUERY),
        (f"{QUERY};\n{QUERY};", QUERY),
        ("select a\nfrom t\n\nwhere x = 1\n\nand y = 2", "select a\nfrom t\n\nwhere x = 1\n\nand y = 2"),
        ("Select a From t", "Select a From t"),
        ("WITH u AS (SELECT 1)\n\nSELECT * FROM u\n\nThat is u.", "WITH u AS (SELECT 1)\n\nSELECT * FROM u"),
        ("UPDATE t SET a = 1;", "UPDATE t SET a = 1"),
        ("PRAGMA query_only = off", "PRAGMA query_only = off"),
        ("SELECT 1; select 2", "SELECT 1;\nselect 2"),
        ("```sql\nSELECT 1;\n```\nor\n```sql\nSELECT 2;\n```", "SELECT 1;\nSELECT 2"),
        ("", None),
        ("You select the rows with a filter, or update them.", None),
        ("```python\nprint(1)\n```", None),
    ],
)  # fmt: skip
def test_extract_sql(answer: str, sql: str | None) -> None:
    assert extract_sql(answer) == sql


@pytest.mark.slow
def test_real_rows(judge: SqlJudge) -> None:
    if not SHARED.exists():
        pytest.skip(f"{SHARED} is not here")
    with SHARED.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(150), strict=False)]
    judged = [judge.judge(row["sql_context"], row["sql"], row["sql"]) for row in rows]
    assert {one.kind for one in judged if one.scored} == {"ok"}
    proving = [one for one in judged if one.kind == "ok" or "too few" in one.reason]
    assert len(proving) > 60 and sum(one.right for one in proving) / len(proving) > 0.9
