"""Text to SQL: a question about a schema, answered by one SQLite query, judged by running it.

Fields are those of ``gretelai/synthetic_text_to_sql``: ``sql_prompt`` (the question), ``sql`` (the reference query),
``sql_context`` (CREATE TABLE and INSERT statements) and optionally ``sql_explanation``. The prompt shows the model the
tables, not their rows: a real database does not fit into a prompt, and answers must not be copied from it.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from finetune.models.conversation import Message
from finetune.records.files import Row
from finetune.signals import Stop
from finetune.tasks.base import Checker, Score, Scorer, Task
from finetune.tasks.sql.schema import schema_of

INSTRUCTION = "You write SQLite queries."  # the system message

# of the builtin domains; the rows of a split all come from its own domains
_DOMAIN_SHARES = {"valid": 0.1, "test": 0.2}


def user_message(context: str, question: str) -> str:
    """The prompt: the tables of the context, then the question. A schema in other words than SQL is shown as it is."""
    return f"{schema_of(context) or context.strip()}\n\nWrite one SQLite query: {question.strip()}".lstrip()


def to_messages(row: Row) -> list[Message]:
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": user_message(row.get("sql_context") or "", row["sql_prompt"])},
        {"role": "assistant", "content": row["sql"].strip()},
    ]


@contextmanager
def open_scorer(stop: Stop) -> Iterator[Scorer]:
    """A scorer that owns the process in which the SQL runs."""
    from finetune.tasks.sql.judging import SqlJudge

    with SqlJudge(stop=stop) as judge:

        def score(row: Row, answer: str) -> Score:
            judgement = judge.judge(row.get("sql_context") or "", row["sql"], answer)
            return Score(float(judgement.right) if judgement.scored else None, judgement.kind, judgement.reason)

        yield score


@contextmanager
def open_checker() -> Iterator[Checker]:
    """Whether a row's own SQL runs on the row's own tables."""
    from finetune.tasks.sql.judging import gold_problem
    from finetune.tasks.sql.judging.execution import SqlWorker

    with SqlWorker() as worker:
        yield lambda row: gold_problem(worker, row["sql_context"], row["sql"]) if row.get("sql_context") else None


def builtin(counts: Mapping[str, int], seed: int) -> dict[str, list[Row]]:
    """Generated rows for each split; no two splits share a domain. ValueError if there are not as many."""
    from finetune.tasks.sql.rows import DOMAINS, generate

    domains = list(DOMAINS)
    random.Random(f"domains {seed}").shuffle(domains)
    rows = {}
    for split in ("test", "valid", "train"):
        share = round(len(DOMAINS) * _DOMAIN_SHARES[split]) if split in _DOMAIN_SHARES else len(domains)
        rows[split] = list(generate(counts[split], seed, sorted(domains[:share])))
        domains = domains[share:]
    return rows


# rewards of wrong answers, so that answers differ before one is right: it parses, runs, has the right columns, the right rows.
# They are small: a model that is seldom right learns what is rewarded often, and queries that merely run are easy
_PARTIAL = dict.fromkeys(("unknown_table", "unknown_column", "unknown_function", "other_sql_error", "timeout"), 0.05)
_PARTIAL |= {"wrong_shape": 0.1, "wrong_rows": 0.15, "wrong_order": 0.5}

SQL = Task(
    name="sql",
    about="a question about tables, answered by one SQLite query",
    hub_dataset="gretelai/synthetic_text_to_sql",
    licence="Apache-2.0",
    required=("sql_prompt", "sql"),
    optional=("sql_context", "sql_explanation"),
    known=(  # of the default rows
        *("id", "domain", "domain_description", "sql_complexity", "sql_complexity_description"),
        *("sql_task_type", "sql_task_type_description"),
    ),
    aliases={
        "sql_prompt": ("question", "instruction", "prompt", "query_text"),
        "sql": ("query", "response", "answer", "output", "completion"),
        "sql_context": ("context", "schema", "input", "create_statements"),
        "sql_explanation": ("explanation",),
    },
    to_messages=to_messages,
    open_scorer=open_scorer,
    builtin=builtin,
    split_rule="no domain is in two splits",
    open_checker=open_checker,
    metric="execution accuracy",
    partial=_PARTIAL,
    malformed=frozenset({"no_sql", "multiple_statements", "parse_error"}),
    question=lambda row: row["sql_prompt"],
)
