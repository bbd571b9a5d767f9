"""Text to SQL: a question about a schema, answered by one query in SQLite or another dialect, judged by running it.

Fields are those of ``gretelai/synthetic_text_to_sql``: ``sql_prompt`` (the question), ``sql`` (the reference query),
``sql_context`` (CREATE TABLE and INSERT statements) and optionally ``sql_explanation``. The prompt shows the model the
tables, not their rows: a real database does not fit into a prompt, and answers must not be copied from it. ``dialect`` names
what the SQL is written in; SQL of another dialect is translated into SQLite and run there.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.errors import UserError
from finetune.models.conversation import Message
from finetune.records.files import Row
from finetune.signals import Stop
from finetune.tasks.base import Checker, RowKind, Score, Scorer, Task, WrongAnswer
from finetune.tasks.sql.dialects import DIALECTS, FIELDS, SQLITE, canonical, dialect_of, own_dialect
from finetune.tasks.sql.schema import schema_of

if TYPE_CHECKING:
    pass

# of the builtin domains; the rows of a split all come from its own domains
_DOMAIN_SHARES = {"valid": 0.1, "test": 0.2}


def instruction(dialect: str = SQLITE) -> str:
    """The system message."""
    return f"You write {DIALECTS[dialect]} queries."


def user_message(context: str, question: str, dialect: str = SQLITE) -> str:
    """The prompt: the tables of the context, then the question. A schema in other words than SQL is shown as it is."""
    shown = schema_of(context, dialect)
    return f"{shown}\n\nWrite one {DIALECTS[dialect]} query: {question.strip()}".lstrip()


def to_messages(row: Row) -> list[Message]:
    dialect = dialect_of(row)
    return [
        {"role": "system", "content": instruction(dialect)},
        {"role": "user", "content": user_message(row.get("sql_context") or "", row["sql_prompt"], dialect)},
        {"role": "assistant", "content": row["sql"].strip()},
    ]


@contextmanager
def open_scorer(stop: Stop) -> Iterator[Scorer]:
    """A scorer that owns the processes in which the SQL is translated and run."""
    from finetune.tasks.sql.judging import ForeignJudge, SqlJudge

    with ExitStack() as stack:
        judges: dict[str, SqlJudge | ForeignJudge] = {}

        def score(row: Row, answer: str) -> Score:
            dialect = dialect_of(row)
            if dialect not in judges:
                opened = SqlJudge(stop=stop) if dialect == SQLITE else ForeignJudge(dialect, stop)
                judges[dialect] = opened
                stack.callback(opened.close)
            judgement = judges[dialect].judge(row.get("sql_context") or "", row["sql"], answer)
            return Score(float(judgement.right) if judgement.scored else None, judgement.kind, judgement.reason)

        yield score


@contextmanager
def open_checker(*, guesses: bool = True, only_foreign: bool = False) -> Iterator[Checker]:
    """Whether a row's own SQL runs on the row's own tables, or, in another dialect, is valid there.

    ``guesses``: whether a row that does not say its dialect may be in another one; ``only_foreign``: that is all that counts.
    """
    from finetune.tasks.sql.judging import Checking

    with Checking() as checking:

        def check(row: Row) -> WrongAnswer | None:
            guess = guesses and own_dialect(row) is None
            return checking.problem(
                row.get("sql_context") or "", row["sql"], dialect_of(row), guess=guess, only_foreign=only_foreign
            )

        yield check


def configured(dialect: str | None, schema: Path | None, *, check_answers: bool) -> RowKind:
    """The task for rows in one dialect, with the tables of one file. UserError if there is no such dialect or usable file."""
    from finetune.tasks.sql.own_rows import prepared, read_schema

    script = None
    if dialect is not None:
        try:
            dialect = canonical(dialect)
        except ValueError as error:
            raise UserError(f"--dialect: {error}") from None
    if schema is not None:
        script, dialect = read_schema(schema, dialect)
    checker: Callable[[], AbstractContextManager[Checker]] | None = partial(
        open_checker, guesses=dialect is None, only_foreign=not check_answers
    )
    if dialect is not None and not check_answers:
        checker = None
    return replace(SQL, prepared=partial(prepared, dialect=dialect, schema=script), open_checker=checker)


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
_PARTIAL |= {"wrong_shape": 0.1, "wrong_rows": 0.15, "wrong_order": 0.5, "other_text": 0.05}

_KIND_WORDS = {
    "no_sql": "no SQL",
    "multiple_statements": "more than one statement",
    "parse_error": "SQL that cannot be parsed",
    "unknown_table": "an unknown table",
    "unknown_column": "an unknown column",
    "unknown_function": "an unknown function",
    "other_sql_error": "another SQL error",
    "forbidden": "a statement that is not allowed",
    "timeout": "a query that takes too long",
    "too_large": "too long an answer, or too large a result",
    "wrong_shape": "another number of columns",
    "wrong_rows": "wrong rows",
    "wrong_order": "the right rows in the wrong order",
    "other_text": "other SQL than the reference, compared as text",
    "gold_error": "the reference does not run",
    "unscorable": "the reference tells nothing when it is run",
    "worker_killed": "the process that runs SQL was killed",
}

SQL = Task(
    name="sql",
    about="a question about tables, answered by one query (--dialect)",
    hub_dataset="gretelai/synthetic_text_to_sql",
    licence="Apache-2.0",
    required=("sql_prompt", "sql"),
    optional=("sql_context", "sql_explanation"),
    known=(  # of the default rows
        *("id", "domain", "domain_description", "sql_complexity", "sql_complexity_description"),
        *("sql_task_type", "sql_task_type_description"),
        *FIELDS,
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
    writes_system=True,
    open_checker=open_checker,
    checked=("sql_context", "sql", *FIELDS),
    configured=configured,
    metric="execution accuracy",
    measure="executed SQL",
    kind_words=_KIND_WORDS,
    partial=_PARTIAL,
    malformed=frozenset({"no_sql", "multiple_statements", "parse_error"}),
    question=lambda row: row["sql_prompt"],
)
