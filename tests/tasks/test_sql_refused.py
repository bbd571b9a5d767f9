# ruff: noqa: E501 - one line a case
"""SQL that another engine refuses and SQLite takes is wrong; what both take in other words is right."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from finetune.tasks.json_worker import JsonWorker, WorkerDied
from finetune.tasks.sql.judging import ForeignJudge
from finetune.tasks.sql.judging.execution import Description
from finetune.tasks.sql.judging.shell import SqlTables
from finetune.tasks.sql.judging.translating.process import CONTEXTS
from finetune.tasks.sql.judging.translation import SCRIPT_SECONDS, SECONDS, Translator

POSTGRES = """CREATE TABLE emp (id INT PRIMARY KEY, name TEXT, dept TEXT, salary NUMERIC(10,2), rate DOUBLE PRECISION, bonus INT, hired DATE,
seen TIMESTAMP, active BOOLEAN);
INSERT INTO emp VALUES (1,'Ann','it',100.5,1.25,10,'2023-01-31','2023-02-01 08:00:00',true),
(2,'bob','it',80,0.5,0,'2023-03-15','2023-03-16 00:00:00',false),(3,'Cy','hr',120,2.0,NULL,'2022-12-01','2023-01-01 10:30:00',true),
(4,'Dee','hr',60.25,NULL,5,NULL,NULL,NULL),(5,'ann','ops',99,3.5,20,'2024-02-29','2024-03-01 00:00:00',true);
CREATE TABLE sales (id INT PRIMARY KEY, emp_id INT, amount NUMERIC(10,2), qty INT, day DATE);
INSERT INTO sales VALUES (1,1,10,1,'2023-02-01'),(2,1,20.5,0,'2023-02-02'),(3,2,30,3,'2023-03-20'),(4,3,5,0,'2023-01-05'),
(5,5,50,7,'2024-03-03');"""
MYSQL = POSTGRES.replace("DOUBLE PRECISION", "DOUBLE").replace("TIMESTAMP", "DATETIME").replace("TEXT", "VARCHAR(50)")
TSQL = MYSQL.replace("BOOLEAN", "BIT").replace("true", "1").replace("false", "0").replace("DOUBLE", "FLOAT")
TABLES = {"postgres": POSTGRES, "mysql": MYSQL, "tsql": TSQL, "spark": MYSQL.replace(" PRIMARY KEY", "")}
TABLES["bigquery"] = MYSQL
DATES = "SELECT name FROM emp WHERE EXTRACT(YEAR FROM hired) = 2023"
FIRST = "SELECT DISTINCT ON (dept) dept, name, salary FROM emp ORDER BY dept, salary DESC"
NUMBERED = "SELECT dept, name, salary FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY dept ORDER BY salary DESC) n FROM emp) x WHERE n = 1"


@pytest.fixture(scope="module")
def judges() -> Iterator[Mapping[str, ForeignJudge]]:
    with ExitStack() as stack:
        yield {dialect: stack.enter_context(ForeignJudge(dialect)) for dialect in (*TABLES, "duckdb")}


@pytest.mark.parametrize(
    ("dialect", "sql", "answer", "kind"),
    [
        # a division by zero, where SQLite has NULL
        ("postgres", "SELECT SUM(amount / NULLIF(qty, 0)) FROM sales", "SELECT SUM(amount / qty) FROM sales", "other_sql_error"),
        ("postgres", "SELECT SUM(amount / qty) FROM sales WHERE qty <> 0", "SELECT SUM(amount / NULLIF(qty, 0)) FROM sales", "ok"),
        ("mysql", "SELECT SUM(amount / NULLIF(qty, 0)) FROM sales", "SELECT SUM(amount / qty) FROM sales", "ok"),
        # values of the wrong type
        ("postgres", "SELECT COUNT(*) FILTER (WHERE bonus > 5) FROM emp", "SELECT SUM(bonus > 5) FROM emp", "other_sql_error"),
        ("postgres", DATES, "SELECT name FROM emp WHERE hired LIKE '2023%'", "other_sql_error"),
        ("postgres", DATES, "SELECT name FROM emp WHERE hired::text LIKE '2023%'", "ok"),
        ("postgres", DATES, "SELECT name FROM emp WHERE SUBSTR(hired, 1, 4) = '2023'", "other_sql_error"),
        ("postgres", "SELECT dept, ROUND(AVG(rate)::numeric, 2) FROM emp GROUP BY dept", "SELECT dept, ROUND(AVG(rate), 2) FROM emp GROUP BY dept", "other_sql_error"),
        ("postgres", "SELECT dept, ROUND(AVG(salary)::numeric, 2) FROM emp GROUP BY dept", "SELECT dept, ROUND(AVG(salary), 2) FROM emp GROUP BY dept", "ok"),
        ("postgres", "SELECT id, COALESCE(bonus::text, 'none') FROM emp", "SELECT id, COALESCE(bonus, 'none') FROM emp", "other_sql_error"),
        ("postgres", "SELECT id, COALESCE(bonus, 7) FROM emp", "SELECT id, COALESCE(bonus, '7') FROM emp", "ok"),
        ("postgres", "SELECT id FROM emp WHERE bonus <> 0", "SELECT id FROM emp WHERE bonus", "other_sql_error"),
        ("tsql", "SELECT SUM(CASE WHEN active = 1 THEN 1 ELSE 0 END) FROM emp", "SELECT SUM(active) FROM emp", "other_sql_error"),
        ("tsql", "SELECT SUM(CASE WHEN active = 1 THEN 1 ELSE 0 END) FROM emp", "SELECT SUM(CAST(active AS INT)) FROM emp", "ok"),
        ("tsql", "SELECT id FROM emp WHERE active = 1", "SELECT id FROM emp WHERE active", "other_sql_error"),
        # clauses that the dialect does not have there
        ("postgres", FIRST, "SELECT DISTINCT ON (dept) dept, name, salary FROM emp ORDER BY salary DESC", "other_sql_error"),
        ("postgres", FIRST + " LIMIT 2", NUMBERED + " ORDER BY dept LIMIT 2", "ok"),
        ("postgres", FIRST, NUMBERED + " ORDER BY dept DESC", "wrong_order"),
        ("postgres", "SELECT DISTINCT dept FROM emp ORDER BY dept", "SELECT DISTINCT dept FROM emp ORDER BY UPPER(dept)", "other_sql_error"),
        ("postgres", "SELECT dept, SUM(qty) AS n FROM emp JOIN sales ON emp_id = emp.id GROUP BY dept ORDER BY n", "SELECT dept, SUM(qty) AS n FROM emp JOIN sales ON emp_id = emp.id GROUP BY dept ORDER BY ABS(n)", "unknown_column"),
        ("postgres", "SELECT dept, COUNT(*) FROM emp GROUP BY dept", "SELECT dept, COUNT(*) FROM emp GROUP BY dept ORDER BY salary", "other_sql_error"),
        ("postgres", "SELECT name FROM emp ORDER BY id LIMIT 2 OFFSET 1", "SELECT name FROM emp ORDER BY id LIMIT 1, 2", "parse_error"),
        ("postgres", "WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 4) SELECT id FROM emp JOIN n ON x = id WHERE id > 1", "WITH n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 4) SELECT id FROM emp JOIN n ON x = id WHERE id > 1", "unknown_table"),
        ("postgres", "SELECT LEFT(name, 2) FROM emp", "SELECT ft_left(name, 2) FROM emp", "unknown_function"),
        ("postgres", "SELECT id FROM emp WHERE seen > '2023-01-31'", "SELECT id FROM emp WHERE seen > DATE('2023-01-01', '+30 days')", "unknown_function"),
        ("postgres", 'SELECT dept, SUM(salary) AS "Total" FROM emp GROUP BY dept ORDER BY "Total"', 'SELECT dept, SUM(salary) AS "Total" FROM emp GROUP BY dept ORDER BY Total', "unknown_column"),
        ("mysql", "SELECT name FROM emp ORDER BY bonus IS NULL, bonus, id", "SELECT name FROM emp ORDER BY bonus NULLS LAST, id", "parse_error"),
        ("mysql", "SELECT SUM(active) FROM emp", "SELECT COUNT(*) FILTER (WHERE active) FROM emp", "parse_error"),
        ("mysql", "SELECT emp.id, day FROM emp LEFT JOIN sales ON emp_id = emp.id", "SELECT emp.id, day FROM emp FULL OUTER JOIN sales ON emp_id = emp.id", "parse_error"),
        ("mysql", "SELECT n FROM (SELECT COUNT(*) n FROM emp GROUP BY dept) x WHERE n > 1", "SELECT n FROM (SELECT COUNT(*) n FROM emp GROUP BY dept) WHERE n > 1", "parse_error"),
        ("tsql", "SELECT YEAR(hired) AS y, COUNT(*) AS n FROM emp GROUP BY YEAR(hired)", "SELECT YEAR(hired) AS y, COUNT(*) AS n FROM emp GROUP BY y", "unknown_column"),
        ("tsql", "SELECT TOP 2 name FROM emp ORDER BY id", "SELECT name FROM emp ORDER BY id FETCH FIRST 2 ROWS ONLY", "parse_error"),
        # the same in other words
        ("postgres", DATES, "SELECT name FROM emp WHERE hired >= '2023-1-1' AND hired < '2024-1-1'", "ok"),
        ("postgres", DATES, "SELECT name FROM emp WHERE hired >= '01/01/2023' AND hired < '01/01/2024'", "unscorable"),
        ("postgres", "SELECT s.id FROM sales s JOIN emp e ON e.id = emp_id WHERE day >= hired + 1 AND day <= hired + 60", "SELECT s.id FROM sales s JOIN emp e ON e.id = emp_id WHERE day BETWEEN hired + INTERVAL '1 day' AND hired + INTERVAL '60 days'", "ok"),
        ("postgres", "SELECT id, LEFT(name, 2) FROM emp", "SELECT id, SUBSTRING(name FROM '^..') FROM emp", "ok"),
        ("postgres", "UPDATE emp SET dept = '5' WHERE id = 2", "UPDATE emp SET dept = 5 WHERE id = 2", "ok"),
        ("postgres", "INSERT INTO emp (id, active, hired) VALUES (99, TRUE, '2024-01-05')", "INSERT INTO emp (id, active, hired) VALUES (99, 'yes', '2024-1-5')", "ok"),
        ("bigquery", "SELECT id, DATE_TRUNC(hired, MONTH) FROM emp", "SELECT id, DATE_SUB(hired, INTERVAL (EXTRACT(DAY FROM hired) - 1) DAY) FROM emp", "ok"),
        ("postgres", "SELECT TO_CHAR(hired, 'YYYY-MM-01')::date, COUNT(*) FROM emp GROUP BY 1", "SELECT DATE_TRUNC('month', hired)::date, COUNT(*) FROM emp GROUP BY DATE_TRUNC('month', hired)", "ok"),
        ("postgres", "SELECT id FROM emp UNION SELECT qty FROM sales", "(SELECT id FROM emp) UNION (SELECT qty FROM sales)", "ok"),
        ("postgres", "UPDATE emp SET hired = hired + 1 WHERE id = 1", "UPDATE emp SET hired = hired + INTERVAL '1 day' WHERE id = 1", "ok"),
        ("postgres", "UPDATE emp SET bonus = ROUND(bonus * 1.25) WHERE dept = 'it'", "UPDATE emp SET bonus = bonus * 1.25 WHERE dept = 'it'", "ok"),
        ("postgres", "SELECT id, CONCAT(active, '!') FROM emp", "SELECT id, COALESCE(active::text, '') || '!' FROM emp", "wrong_rows"),
        ("mysql", "SELECT id FROM emp WHERE name = 'ann'", "SELECT id FROM (SELECT id, CONCAT(name, '') AS n FROM emp) x WHERE n = 'ANN'", "ok"),
        ("mysql", "SELECT COUNT(DISTINCT name) FROM emp", "SELECT COUNT(*) FROM (SELECT CONCAT(name, '') AS n FROM emp GROUP BY n) x", "ok"),
        ("mysql", "SELECT id FROM emp WHERE name = 'ann'", "SELECT id FROM emp WHERE name COLLATE utf8mb4_bin = 'ann'", "unscorable"),
        # what an argument that is not read would change
        ("mysql", "SELECT id, REGEXP_REPLACE(name, 'n', 'x') FROM emp", "SELECT id, REGEXP_REPLACE(name, 'n', 'x', 3) FROM emp", "unscorable"),
        ("spark", "SELECT id, DATEDIFF(seen, hired) FROM emp", "SELECT id, DATEDIFF(MONTH, hired, seen) FROM emp", "unscorable"),
    ],
)  # fmt: skip
def test_answers(judges: Mapping[str, ForeignJudge], dialect: str, sql: str, answer: str, kind: str) -> None:
    judged = judges[dialect].judge(TABLES[dialect], sql, answer)
    assert judged.kind == kind, judged
    assert judged.kind != "ok" or "as text" not in judged.reason


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE emp e JOIN sales s ON s.emp_id = e.id SET e.dept = 'x' WHERE s.qty > 2",
        "INSERT IGNORE INTO sales (id, emp_id) VALUES (1, 2), (77, 3)",
        "DELETE e FROM emp e JOIN sales s ON s.emp_id = e.id",
        "TRUNCATE TABLE sales",
    ],
)
def test_statements_that_sqlite_does_not_have_are_found(judges: Mapping[str, ForeignJudge], sql: str) -> None:
    judged = judges["mysql"].judge(MYSQL, sql, f"This does it:\n\n{sql};\n\nAll rows are changed.")
    assert judged.kind == "ok", judged


def test_text_of_another_schema_is_another_text(judges: Mapping[str, ForeignJudge]) -> None:
    judge = judges["postgres"]
    assert judge.judge("", "SELECT a FROM sales.orders", "SELECT a FROM archive.orders").kind == "other_text"
    assert judge.judge("", "SELECT a FROM public.orders", "SELECT a FROM orders").kind == "ok"


def test_a_query_that_begins_with_from_is_compared_as_text(judges: Mapping[str, ForeignJudge]) -> None:
    sampled = judges["duckdb"].judge(POSTGRES, "SELECT * FROM emp USING SAMPLE 3", "FROM emp USING SAMPLE 3")
    assert "compared as text" in sampled.reason


def test_cells_of_a_dump_keep_their_backslashes() -> None:
    script = "CREATE TABLE t (a TEXT);\nCOPY t (a) FROM stdin;\nC:\\\\temp\na\\tb\n\\\\N\n\\.\n"
    with SqlTables("postgres") as tables:
        made = tables.describe(script)
    assert isinstance(made, Description)
    assert made.tables[0].rows == (("C:\\temp",), ("a\tb",), ("\\N",))


def test_tables_that_the_process_has_forgotten_have_their_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump of many rows takes longer than a statement; every answer to it must have that time, not the first one alone."""
    seconds = []
    ask = JsonWorker.ask
    monkeypatch.setattr(
        JsonWorker, "ask", lambda self, request, most: (seconds.append(most), ask(self, request, most))[1]
    )
    contexts = [f"CREATE TABLE t{number} (a INT);" for number in range(CONTEXTS + 1)]
    with Translator() as translator:
        for number, context in enumerate([*contexts, contexts[-1], contexts[0]]):
            translator.translate("postgres", context, f"SELECT {number}")
        translator.close()
        translator.translate("postgres", contexts[0], "SELECT a FROM t0")
    assert seconds == [SCRIPT_SECONDS] * len(contexts) + [SECONDS, SCRIPT_SECONDS, SCRIPT_SECONDS]


def test_a_translation_that_fails_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(self: JsonWorker, request: object, seconds: float) -> object:
        raise WorkerDied(1)

    monkeypatch.setattr(JsonWorker, "ask", ask)
    with Translator() as translator:
        found = translator.translate("postgres", "CREATE TABLE t (a INT);", "SELECT a FROM t")
    assert found.untranslated and not found.error
