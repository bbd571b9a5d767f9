# ruff: noqa: E501 - one line a case
"""SQL of other dialects: run in SQLite if that is exactly the same, else compared as text; never right or wrong by translation."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from finetune.tasks.sql.dialects import canonical, dialect_of
from finetune.tasks.sql.judging import Checking, ForeignJudge, Judgement
from finetune.tasks.sql.judging.execution import Description
from finetune.tasks.sql.judging.shell import SqlTables
from finetune.tasks.sql.task import SQL, open_scorer, to_messages
from postgres_shop import QUESTIONS, SCHEMA

MYSQL = r"""/*!40101 SET NAMES utf8 */;
DROP TABLE IF EXISTS `staff`;
CREATE TABLE `staff` (
  `id` int(11) NOT NULL AUTO_INCREMENT, `name` varchar(50) NOT NULL COMMENT 'first; last',
  `team` enum('north','south') DEFAULT NULL, `hired` date DEFAULT NULL, `pay` decimal(10,2) DEFAULT NULL,
  `hours` int DEFAULT '0', `active` tinyint(1) DEFAULT '1', PRIMARY KEY (`id`), KEY `k` (`team`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8;
LOCK TABLES `staff` WRITE;
INSERT INTO `staff` VALUES (1,'Ann Lee','north','2020-01-31',30.00,7,1),(2,'Bob Ray','south','2021-03-15',20.50,3,0),
(3,'cy Oak','north','2019-07-01',25.00,5,1),(4,'Dee O\'Hara',NULL,'2022-11-11',NULL,2,1);
UNLOCK TABLES;"""
TSQL = """CREATE TABLE [dbo].[orders] ([id] INT IDENTITY(1,1) PRIMARY KEY, [customer] NVARCHAR(50) NOT NULL, [placed] DATE,
[amount] DECIMAL(10,2), [qty] INT, [paid] BIT);
GO
INSERT INTO [dbo].[orders] ([customer],[placed],[amount],[qty],[paid]) VALUES (N'Ann','2023-01-05',10.5,3,1),
(N'Bob','2023-02-10',20,2,0),(N'ann','2023-03-01',7.25,4,1),(N'Cy',NULL,50,1,NULL);
GO"""
DUCKDB = """CREATE TABLE trips (id INTEGER PRIMARY KEY, rider VARCHAR, started TIMESTAMP, km DOUBLE, stops INTEGER, day DATE);
INSERT INTO trips VALUES (1,'Ann','2024-01-01 08:00:00',5.5,3,'2024-01-01'),(2,'bob','2024-01-01 09:30:00',2.25,2,'2024-01-01'),
(3,'Ann','2024-02-10 22:00:00',10,7,'2024-02-10'),(4,NULL,'2024-03-01 00:00:00',1,1,DATE '2024-03-01');"""
TABLES = {"postgres": SCHEMA, "mysql": MYSQL, "tsql": TSQL, "duckdb": DUCKDB}


@pytest.fixture(scope="module")
def judges() -> Iterator[dict[str, ForeignJudge]]:
    with ExitStack() as stack:
        yield {dialect: stack.enter_context(ForeignJudge(dialect)) for dialect in TABLES}


@pytest.fixture(scope="module")
def checking() -> Iterator[Checking]:
    with Checking() as checking:
        yield checking


def reference(beginning: str) -> str:
    return next(sql for question, sql, _ in QUESTIONS if question.startswith(beginning))


@pytest.mark.faults
def test_sixty_questions(judges: dict[str, ForeignJudge]) -> None:
    """Each reference is right against itself, and each wrong query wrong; 55 are told by running."""
    judge = judges["postgres"]
    right = [judge.judge(SCHEMA, sql, sql) for _, sql, _ in QUESTIONS]
    wrong = [judge.judge(SCHEMA, sql, other) for _, sql, other in QUESTIONS]
    assert [one for one in right if not one.right] == [] and len(right) == 60
    assert [one for one in wrong if one.right or not one.scored] == []
    assert sum("compared as text" in one.reason for one in right) <= 5


@pytest.mark.parametrize(
    ("dialect", "sql", "answer", "kind"),
    [
        # the same in other words
        ("postgres", "Which customers signed up", "SELECT full_name FROM customers WHERE EXTRACT(YEAR FROM signed_up) = 2022", "ok"),
        ("postgres", "Which customers signed up", "SELECT full_name FROM public.customers c WHERE DATE_TRUNC('year', c.signed_up) = '2022-01-01'", "ok"),
        ("postgres", "Which orders took more", "SELECT id FROM orders WHERE EXTRACT(EPOCH FROM (shipped_at - ordered_at)) / 3600 > 48", "ok"),
        ("postgres", "How long after the previous", "SELECT id, 1.0 * EXTRACT(EPOCH FROM ordered_at - LAG(ordered_at) OVER (PARTITION BY customer_id ORDER BY ordered_at)) / 3600 FROM orders", "ok"),
        ("postgres", "What is the latest order", "SELECT customer_id, id, ordered_at FROM (SELECT o.*, ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY ordered_at DESC) AS rn FROM orders o) x WHERE rn = 1", "ok"),
        ("postgres", "How many customers take", "SELECT SUM(CASE WHEN newsletter THEN 1 ELSE 0 END), SUM((newsletter = 'f')::int) FROM customers", "ok"),
        ("postgres", "What share of the orders", "SELECT ROUND(COUNT(*) FILTER (WHERE status = 'shipped') * 100 / COUNT(*)::numeric, 1) FROM orders", "ok"),
        ("postgres", "Which suppliers are worst", "SELECT name FROM suppliers ORDER BY rating NULLS LAST, name", "ok"),
        ("postgres", "Orders up to", "SELECT id FROM orders WHERE ordered_at < '2023-04-01'", "ok"),
        ("postgres", "Show name and e-mail", "SELECT full_name || ' <' || COALESCE(email, '') || '>' FROM customers", "ok"),
        ("postgres", "Which two products of", "SELECT c.name, x.name FROM public.categories AS c CROSS JOIN LATERAL (SELECT p.name FROM public.products AS p WHERE p.category_id = c.id ORDER BY p.price ASC LIMIT 2) AS x", "ok"),
        ("mysql", "SELECT name FROM staff WHERE team = 'North'", "SELECT name FROM staff WHERE team LIKE 'NORTH'", "ok"),
        ("mysql", "SELECT name, hours / 2 FROM staff", "SELECT name, hours * 0.5 FROM staff", "ok"),
        ("mysql", "SELECT name, TIMESTAMPDIFF(YEAR, hired, '2024-06-01') FROM staff", "SELECT name, FLOOR(TIMESTAMPDIFF(MONTH, hired, '2024-06-01') / 12) FROM staff", "ok"),
        ("mysql", "SELECT name FROM staff WHERE name REGEXP '^[A-C]'", "SELECT name FROM staff WHERE LEFT(name, 1) IN ('a', 'b', 'c')", "ok"),
        ("tsql", "SELECT TOP 2 customer, amount FROM orders ORDER BY amount DESC", "SELECT customer, amount FROM dbo.orders ORDER BY amount DESC OFFSET 0 ROWS FETCH NEXT 2 ROWS ONLY", "ok"),
        ("tsql", "SELECT AVG(qty) FROM orders", "SELECT SUM(qty) / COUNT(qty) FROM orders", "ok"),
        ("tsql", "SELECT customer + ' (' + CAST(qty AS VARCHAR(10)) + ')' FROM orders", "SELECT CONCAT(customer, ' (', qty, ')') FROM orders", "ok"),
        ("duckdb", "SELECT rider, km FROM trips QUALIFY row_number() OVER (PARTITION BY rider ORDER BY km DESC) = 1", "SELECT rider, km FROM (SELECT rider, km, row_number() OVER (PARTITION BY rider ORDER BY km DESC) n FROM trips) WHERE n = 1", "ok"),
        ("duckdb", "SELECT id, date_diff('day', day, DATE '2024-06-01') FROM trips", "SELECT id, DATE '2024-06-01' - day FROM trips", "ok"),
        ("duckdb", "SELECT rider FROM trips WHERE km > 2", "FROM trips SELECT rider WHERE km > 2", "ok"),
        # what SQLite alone would let pass
        ("postgres", "Which customers have an address", "SELECT full_name FROM customers WHERE email LIKE '%@MAIL.%' ORDER BY full_name", "wrong_rows"),
        ("postgres", "Which orders used", "SELECT id FROM orders WHERE voucher = \"SPRING\"", "unknown_column"),
        ("postgres", "Which orders used", "SELECT id FROM orders WHERE `voucher` = 'SPRING'", "parse_error"),
        ("postgres", "Which three products", "SELECT \"Name\", price FROM products ORDER BY price DESC LIMIT 3", "unknown_column"),
        ("postgres", "Which three products", "SELECT TOP 3 name, price FROM products ORDER BY price DESC", "parse_error"),
        ("postgres", "Which customers signed up", "SELECT full_name FROM customers WHERE strftime('%Y', signed_up) = '2022'", "unknown_function"),
        ("postgres", "What is the revenue", "SELECT p.name, SUM(l.quantity * l.unit_price) AS revenue FROM order_lines l JOIN products p ON p.id = l.product_id GROUP BY l.product_id ORDER BY revenue DESC", "other_sql_error"),
        ("postgres", "Which products have an underscore", "SELECT name AS n FROM products WHERE n LIKE '%!_%' ESCAPE '!'", "unknown_column"),
        ("postgres", "Which orders used", "SELECT id FROM orders WHERE voucher = 10", "other_sql_error"),
        ("postgres", "Half the number", "SELECT product_id, COUNT(*) * 0.5 FROM reviews GROUP BY product_id", "wrong_rows"),
        ("mysql", "SELECT name, hours / 2 FROM staff", "SELECT name, hours DIV 2 FROM staff", "wrong_rows"),
        ("mysql", "SELECT STDDEV(pay) FROM staff", "SELECT STDDEV_SAMP(pay) FROM staff", "wrong_rows"),
        ("mysql", "SELECT CONCAT(name, ' (', team, ')') FROM staff", "SELECT CONCAT_WS('', name, ' (', team, ')') FROM staff", "wrong_rows"),
        ("tsql", "SELECT AVG(qty) FROM orders", "SELECT AVG(qty * 1.0) FROM orders", "wrong_rows"),
        ("tsql", "SELECT id FROM orders WHERE paid = 1", "SELECT id FROM orders WHERE paid = TRUE", "parse_error"),
        ("tsql", "SELECT customer, LEN(customer) FROM orders", "SELECT customer, LENGTH(customer) FROM orders", "unknown_function"),
        ("duckdb", "SELECT rider, stops / 2 FROM trips", "SELECT rider, stops // 2 FROM trips", "wrong_rows"),
        # valid, and neither right nor wrong
        ("postgres", "Which customers prefer", "SELECT full_name FROM customers WHERE preferences @> '{\"theme\": \"dark\"}'", "unscorable"),
        ("tsql", "SELECT customer FROM orders WHERE customer = 'ANN'", "SELECT customer FROM orders WHERE customer LIKE '[Aa]nn'", "unscorable"),
    ],
)  # fmt: skip
def test_answers(judges: dict[str, ForeignJudge], dialect: str, sql: str, answer: str, kind: str) -> None:
    gold = reference(sql) if dialect == "postgres" else sql
    judged = judges[dialect].judge(TABLES[dialect], gold, f"```sql\n{answer};\n```" if kind == "ok" else answer)
    assert judged.kind == kind, judged
    assert kind == "ok" or judged.reason


def test_tables_without_rows_are_filled(judges: dict[str, ForeignJudge]) -> None:
    context = "CREATE TABLE pupils (id SERIAL PRIMARY KEY, name TEXT NOT NULL, born DATE, marks NUMERIC(3,1));"
    gold = "SELECT name FROM pupils WHERE EXTRACT(YEAR FROM born) = 2021"
    judge = judges["postgres"]
    assert judge.judge(
        context, gold, "SELECT name FROM pupils WHERE born >= '2021-01-01' AND born < '2022-01-01'"
    ) == Judgement("ok")
    assert judge.judge(context, gold, "SELECT name FROM pupils WHERE born >= '2021-02-01'").kind == "wrong_rows"


def test_rows_without_tables_are_compared_as_text(judges: dict[str, ForeignJudge]) -> None:
    judge, gold = judges["postgres"], "SELECT a FROM t WHERE b = 1"
    assert judge.judge("", gold, "select t.a\nfrom t\nwhere t.b = 1").kind == "ok"
    assert judge.judge("", gold, "SELECT a FROM t WHERE b = 2").kind == "other_text"
    assert judge.judge("", gold, "SELECT FROM WHERE (").kind == "parse_error"


@pytest.mark.parametrize(
    ("dialect", "context", "sql", "runs"),
    [
        ("tsql", "SET ANSI_NULLS ON\nGO\nCREATE TABLE [dbo].[T1]([A] [int] IDENTITY(1,1) NOT NULL, [B] [nvarchar](max) NULL, [C] [datetime2](7) NULL, CONSTRAINT [PK_T1] PRIMARY KEY CLUSTERED ([A] ASC) WITH (PAD_INDEX = OFF) ON [PRIMARY]) ON [PRIMARY]\nGO\nINSERT [dbo].[T1] ([B], [C]) VALUES (N'x', CAST(N'2024-01-01T00:00:00.000' AS DateTime2))\nGO\n", "SELECT TOP 1 B FROM T1 WHERE C >= '2024-01-01'", True),
        ("postgres", 'CREATE TABLE "Order Items" ("Item ID" INT GENERATED ALWAYS AS IDENTITY, "Unit Price" NUMERIC(8,2) DEFAULT 0.00 NOT NULL, total NUMERIC GENERATED ALWAYS AS ("Unit Price" * 2) STORED); INSERT INTO "Order Items" ("Unit Price") VALUES (1.5), (2);', 'SELECT "Item ID", total FROM "Order Items" WHERE "Unit Price" > 1', True),
        ("postgres", "CREATE TABLE p (id INT PRIMARY KEY, d DATE) PARTITION BY RANGE (d); CREATE TABLE p24 PARTITION OF p FOR VALUES FROM ('2024-01-01') TO ('2025-01-01'); INSERT INTO p VALUES (1, '2024-02-02');", "SELECT id FROM p", True),
        ("postgres", "CREATE TABLE t (a TEXT DEFAULT E'it\\'s', b TEXT); INSERT INTO t VALUES (E'a', 'x'), ('CREATE TABLE; --', 'y');", "SELECT a FROM t WHERE b = 'y'", True),
        ("mysql", "CREATE TABLE t (a INT UNSIGNED ZEROFILL, b SET('x','y'), c YEAR, d TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, FULLTEXT KEY ft (b)); INSERT INTO t (a, b, c) VALUES (1, 'x', 2024);", "SELECT a FROM t WHERE c = 2024", True),
        ("postgres", "CREATE TABLE p (id INT); CREATE TABLE c (x INT) INHERITS (p);", "SELECT id FROM c", False),
        ("postgres", "CREATE DOMAIN amount AS NUMERIC(10,2); CREATE TABLE t (a amount);", "SELECT a FROM t", False),
        ("postgres", "CREATE TABLE hr.emp (id INT); CREATE TABLE it.emp (id INT);", "SELECT id FROM hr.emp", False),
    ],
)  # fmt: skip
def test_scripts_are_made_or_kept(checking: Checking, dialect: str, context: str, sql: str, runs: bool) -> None:
    """No row is dropped because its tables cannot be made in SQLite."""
    wrong = checking.problem(context, sql, dialect, guess=False, only_foreign=False)
    assert wrong is None if runs else (wrong is not None and wrong.keeps), wrong


ORACLE = "CREATE TABLE t (id NUMBER PRIMARY KEY, name VARCHAR2(20), d DATE); INSERT INTO t VALUES (1, 'a', DATE '2024-01-02'); INSERT INTO t VALUES (2, 'B', NULL);"


@pytest.mark.parametrize("sql", ["SELECT name FROM t WHERE ROWNUM = 1", "SELECT name FROM t WHERE name <> ''"])
def test_what_sqlite_would_take_for_something_else_is_not_run(checking: Checking, sql: str) -> None:
    wrong = checking.problem(ORACLE, sql, "oracle", guess=False, only_foreign=False)
    assert wrong is not None and wrong.keeps and "compared with it as text" in wrong.reason
    assert (
        checking.problem(
            ORACLE,
            "SELECT NVL(name, 'x') FROM t WHERE d > DATE '2024-01-01'",
            "oracle",
            guess=False,
            only_foreign=False,
        )
        is None
    )


def test_tables_of_a_chat() -> None:
    with SqlTables("postgres") as tables:
        made = tables.describe(SCHEMA)
        assert isinstance(made, Description) and len(made.tables) == 12
        found, wrong, cannot = tables.run(
            SCHEMA, ["SELECT name FROM public.products WHERE name ILIKE 's%'", "SELECT IFNULL(1, 2)", "SELECT ARRAY[1]"]
        )
    assert (
        found.rows == (("Spade",),)
        and "ifnull() does not exist" in wrong.message
        and "cannot be run here" in cannot.message
    )


def test_the_scorer_knows_the_dialect_of_each_row() -> None:
    row = {
        "sql": "SELECT a FROM t WHERE b ILIKE 'X'",
        "sql_context": "CREATE TABLE t (a SERIAL, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'X');",
        "dialect": "postgres",
    }
    sqlite = {**row, "dialect": None, "sql": "SELECT a FROM t WHERE b LIKE 'X'"}
    with open_scorer(lambda: False) as score:
        assert [
            score(row, sql).kind for sql in ("SELECT a FROM t WHERE LOWER(b) = 'x'", "SELECT a FROM t WHERE b LIKE 'X'")
        ] == ["ok", "wrong_rows"]
        assert score(sqlite, "SELECT a FROM t WHERE LOWER(b) = 'x'").kind == "ok"


@pytest.mark.parametrize(
    "answer",
    [
        "SELECT " + "(" * 9_000 + "1" + ")" * 9_000,
        "SELECT " + "NOT " * 4_000 + "true",
        pytest.param("SELECT " + "-" * 1 + "- ".join(["1"] * 4_000), marks=pytest.mark.faults),
        "SELECT 1 " + "UNION SELECT 1 " * 1_200,
        "SELECT " + "CASE WHEN 1 = 1 THEN " * 900 + "1",
        "SELECT REPEAT('x', 2000000000)",
        pytest.param(
            "SELECT id FROM orders WHERE 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' ~ '^(a+)+b'", marks=pytest.mark.faults
        ),
        "SELECT LPAD('x', 2000000000, 'y')",
        "COPY orders TO PROGRAM 'touch evil'",
        "ATTACH 'evil.db' AS e",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT ft_repeat('x', 2000000000)",
    ],
)  # fmt: skip
def test_attacks_end_soon(judges: dict[str, ForeignJudge], answer: str) -> None:
    judge, gold = judges["postgres"], reference("Which orders used")
    started = time.perf_counter()
    judged = judge.judge(SCHEMA, gold, answer)
    assert not judged.right and time.perf_counter() - started < 6, judged
    assert not Path("evil").exists() and not Path("evil.db").exists()
    assert judge.judge(SCHEMA, gold, gold).right


@pytest.mark.parametrize(
    ("dialect", "context", "sql", "words", "kept"),
    [
        ("postgres", "CREATE TABLE t (a INT);", "SELECT a FROM t WHERE (", "its SQL does not parse as PostgreSQL", False),
        ("postgres", "CREATE TABLE t (a INT", "SELECT a FROM t", "its schema does not parse as PostgreSQL", False),
        ("postgres", "CREATE TABLE t (a INT);", "SELECT b FROM t", "its SQL fails on its tables: unknown column", False),
        ("postgres", "CREATE TABLE t (a INT);", "SELECT IFNULL(a, 1) FROM t", "its SQL is not valid PostgreSQL: unknown function", False),
        ("postgres", "CREATE TABLE t (a INT[]);", "SELECT a[1] FROM t", "compared with it as text", True),
        ("postgres", "CREATE TABLE t (a INT);", "CREATE INDEX i ON t (a)", "compared with it as text", True),
        ("mysql", "CREATE TABLE t (a INT);", "SELECT a FROM t LIMIT 1; SELECT 2", "multiple statements", False),
        ("sqlite", "CREATE TABLE t (a INT);", "SELECT a::date FROM t", "its SQL does not parse as SQLite", False),
    ],
)  # fmt: skip
def test_a_row_is_told_why(checking: Checking, dialect: str, context: str, sql: str, words: str, kept: bool) -> None:
    wrong = checking.problem(context, sql, dialect, guess=True, only_foreign=False)
    assert wrong is not None and words in wrong.reason and wrong.keeps == kept
    assert sql[:30] in wrong.detail
    assert kept or "--no-check-answers" in wrong.remedy or "--dialect postgres" in wrong.remedy


def test_the_prompt_names_the_dialect_of_the_row() -> None:
    row = {
        "sql_prompt": "How many?",
        "sql": "SELECT COUNT(*) FROM t",
        "sql_context": "CREATE TABLE t (a SERIAL)",
        "db_type": "PostgreSQL",
    }
    system, user, _ = to_messages(row)
    assert system["content"] == "You write PostgreSQL queries."
    assert user["content"] == "CREATE TABLE t (a SERIAL);\n\nWrite one PostgreSQL query: How many?"
    assert to_messages({**row, "db_type": None})[0]["content"] == "You write SQLite queries."
    assert (canonical("SQL Server"), canonical("MariaDB"), dialect_of({"dialect": "T-SQL"})) == (
        "tsql",
        "mysql",
        "tsql",
    )
    assert "dialect" in SQL.known
    with pytest.raises(ValueError, match="db_type: unknown dialect 'ansi'"):
        to_messages({**row, "db_type": "ansi"})
