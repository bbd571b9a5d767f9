"""The builtin text-to-SQL rows: reproducible, distinct, each answered by its own database."""

import hashlib
import itertools
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from finetune.tasks.sql.rows import DOMAINS, PATTERNS, generate
from finetune.tasks.sql.rows.database import Database
from finetune.tasks.sql.rows.domains import REGISTRY
from finetune.tasks.sql.rows.query import Query

FIELDS = {"sql_prompt", "sql", "sql_context", "sql_explanation", "domain"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return list(generate(10 * len(DOMAINS), seed=7))


def answer(row: dict[str, str]) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(":memory:")
    connection.executescript(row["sql_context"])
    return connection.execute(row["sql"]).fetchall()


def digest(rows: list[dict[str, str]]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_makes_the_same_rows(hash_seed):
    program = "import json; from finetune.tasks.sql_rows import generate; print(json.dumps(list(generate(150, 3))))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    assert digest(json.loads(result.stdout)) == digest(list(generate(150, 3)))


def test_seed_changes_the_rows_and_a_smaller_count_is_a_beginning():
    assert list(generate(30, 1)) == list(itertools.islice(generate(90, 1), 30))
    assert list(generate(30, 1)) != list(generate(30, 2))


def test_every_domain_occurs_equally_often(rows):
    assert len(DOMAINS) >= 48
    assert Counter(row["domain"] for row in rows) == dict.fromkeys(DOMAINS, 10)


def test_only_the_domains_asked_for_in_turn():
    chosen = ["wind_farms", "podcasts", "mining"]
    assert [row["domain"] for row in generate(9, 0, chosen)] == 3 * chosen


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_finds_questions(pattern):
    found = list(generate(6, 0, ["pharmacy", "hotel_bookings"], [pattern]))
    assert len({row["sql_prompt"] for row in found}) == 6
    assert all(answer(row) for row in found)


def test_every_row_is_answered_by_its_own_database(rows):
    for row in rows:
        assert set(row) == FIELDS
        assert row["sql"].startswith("SELECT ") and row["sql"].endswith(";") and row["sql"].count(";") == 1
        result = answer(row)
        assert any(value not in (None, 0) for line in result for value in line), row["sql"]


def test_questions_are_well_formed(rows):
    for row in rows:
        prompt = row["sql_prompt"]
        assert prompt[0].isupper() or prompt[0].isdigit()
        assert prompt[-1] in ".?)"
        assert not re.search(r"[{}]|  | ,|\bNone\b", prompt), prompt


def test_literals_of_the_query_stand_in_the_question(rows):
    for row in rows:
        prompt = row["sql_prompt"]
        texts = [text.strip("%") for text in re.findall(r"'([^']*)'", row["sql"])]
        for text in texts:
            if re.fullmatch(r"\d{4}-\d\d-\d\d|\d{4}-\d\d", text):
                assert text[:4] in prompt, (prompt, row["sql"])
            elif not re.fullmatch(r"[Ymd]|Y-%m|\d\d", text):
                assert text in prompt, (prompt, row["sql"])
        for number in re.findall(r"(?:[<>=]|BETWEEN|AND) (\d+(?:\.\d+)?)(?= |;|\))", row["sql"]):
            small = float(number) <= 10 or "TRUE" in row["sql"]
            assert small or number in prompt, (prompt, row["sql"])


def test_no_question_comes_twice():
    found = list(generate(5000, 11, DOMAINS[:8]))
    assert len({" ".join(row["sql_prompt"].lower().split()) for row in found}) == len(found)


def test_a_query_is_kept_only_if_its_answer_depends_on_every_part():
    database = Database(REGISTRY["wind_farms"], random.Random("fixed"))
    farm = database.tables[0]
    table, key = farm.name, farm.key.name
    everything = f"SELECT {key} FROM {table};"

    def holds(sql: str, **checks: object) -> bool:
        return Query("", sql, "", **checks).holds(database)

    assert holds(f"SELECT {key} FROM {table} WHERE {key} = {farm.key.values[0]};", differs=(everything,))
    assert not holds(f"SELECT {key} FROM {table} WHERE {key} > 0;", differs=(everything,))
    assert not holds(f"SELECT {key} FROM {table} WHERE {key} < 0;")
    assert not holds(f"SELECT COUNT(*) FROM {table} WHERE {key} < 0;")
    assert not holds(f"SELECT MAX({key}) FROM {table} WHERE {key} < 0;")
    assert holds(everything, ranking=everything)
    assert not holds(everything, ranking=f"SELECT 1 FROM {table};")


@pytest.mark.parametrize("arguments", [(["no_such_domain"],), (DOMAINS, ["no_such_pattern"]), ([],), (DOMAINS, [])])
def test_unknown_names_are_refused(arguments):
    with pytest.raises(ValueError):
        next(generate(1, 0, *arguments))


def test_running_out_of_questions_is_said():
    with pytest.raises(ValueError, match="beekeeping"):
        list(generate(100_000, 0, ["beekeeping"], ["group_by_two"]))


@pytest.mark.parametrize("name", DOMAINS)
def test_words_of_a_domain_are_unambiguous(name):
    domain = REGISTRY[name]
    for position, table in enumerate(domain.tables):
        nouns = [column.noun for column in table.columns if column.noun]
        spellings = [spelling for column in table.columns for spelling in column.spellings]
        assert len(set(nouns)) == len(nouns)
        assert len(set(spellings)) == len(spellings)
        for column in table.columns:
            if column.kind == "reference":
                assert column.parent < position
                assert [other.kind for other in domain.tables[column.parent].columns].count("label") == 1
            elif column.kind in ("category", "number", "year", "date"):
                assert column.predicate.count("{}") == 1
