"""The builtin text-to-SQL rows: reproducible, distinct, each answered by its own database."""

import itertools
import sqlite3

import pytest

from finetune.tasks.sql.rows import DOMAINS, generate

FIELDS = {"sql_prompt", "sql", "sql_context", "sql_explanation", "domain"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return list(generate(10 * len(DOMAINS), seed=7))


def answer(row: dict[str, str]) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(":memory:")
    connection.executescript(row["sql_context"])
    return connection.execute(row["sql"]).fetchall()


def test_seed_changes_the_rows_and_a_smaller_count_is_a_beginning():
    assert list(generate(30, 1)) == list(itertools.islice(generate(90, 1), 30))
    assert list(generate(30, 1)) != list(generate(30, 2))


def test_only_the_domains_asked_for_in_turn():
    chosen = ["wind_farms", "podcasts", "mining"]
    assert [row["domain"] for row in generate(9, 0, chosen)] == 3 * chosen


def test_every_row_is_answered_by_its_own_database(rows):
    for row in rows:
        assert set(row) == FIELDS
        assert row["sql"].startswith("SELECT ") and row["sql"].endswith(";") and row["sql"].count(";") == 1
        result = answer(row)
        assert any(value not in (None, 0) for line in result for value in line), row["sql"]


def test_no_question_comes_twice():
    found = list(generate(5000, 11, DOMAINS[:8]))
    assert len({" ".join(row["sql_prompt"].lower().split()) for row in found}) == len(found)


@pytest.mark.parametrize("arguments", [(["no_such_domain"],), (DOMAINS, ["no_such_pattern"]), ([],), (DOMAINS, [])])
def test_unknown_names_are_refused(arguments):
    with pytest.raises(ValueError):
        next(generate(1, 0, *arguments))


def test_running_out_of_questions_is_said():
    with pytest.raises(ValueError, match="beekeeping"):
        list(generate(100_000, 0, ["beekeeping"], ["group_by_two"]))
