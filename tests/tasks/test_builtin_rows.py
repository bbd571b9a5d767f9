"""The builtin rows are the same in every version: a run can be repeated, and compared with one of an earlier version."""

import hashlib
import itertools
import json
import sqlite3

import pytest

from finetune.records.files import SPLITS
from finetune.tasks import TASKS
from finetune.tasks.sql.rows import DOMAINS, generate

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "digest"),
    [("sql", "b1e7b9cb96bc8561"), ("alpaca", "655f8b021097eaca"), ("riscv", "c21353f1fa008e90")],
)
def test_the_rows_of_a_seed_never_change(name: str, digest: str) -> None:
    """On any version of Python and with any PYTHONHASHSEED. Evaluations of different rows cannot be compared."""
    builtin = TASKS[name].builtin
    assert builtin
    rows = builtin(dict.fromkeys(SPLITS, 500), 0)
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16] == digest
    assert builtin(dict.fromkeys(SPLITS, 20), 1) != builtin(dict.fromkeys(SPLITS, 20), 0)


def answer(row: dict[str, str]) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(":memory:")
    connection.executescript(row["sql_context"])
    return connection.execute(row["sql"]).fetchall()


def test_fewer_sql_rows_are_a_beginning() -> None:
    assert list(generate(30, 1)) == list(itertools.islice(generate(90, 1), 30))


def test_every_sql_row_is_answered_by_its_own_database() -> None:
    for row in generate(10 * len(DOMAINS), seed=7):
        assert row["sql"].startswith("SELECT ") and row["sql"].endswith(";") and row["sql"].count(";") == 1
        result = answer(row)
        assert any(value not in (None, 0) for line in result for value in line), row["sql"]


def test_no_sql_question_comes_twice() -> None:
    found = list(generate(5000, 11, DOMAINS[:8]))
    assert len({" ".join(row["sql_prompt"].lower().split()) for row in found}) == len(found)


@pytest.mark.parametrize("arguments", [(["no_such_domain"],), (DOMAINS, ["no_such_pattern"]), ([],), (DOMAINS, [])])
def test_unknown_names_are_refused(arguments):
    with pytest.raises(ValueError):
        next(generate(1, 0, *arguments))


def test_running_out_of_sql_questions_is_said() -> None:
    with pytest.raises(ValueError, match="beekeeping"):
        list(generate(100_000, 0, ["beekeeping"], ["group_by_two"]))
