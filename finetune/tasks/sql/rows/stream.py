"""The stream of rows: databases one after another for each domain, a handful of questions of each."""

import itertools
import random
from collections.abc import Iterator, Sequence

from finetune.tasks.sql.rows.database import Database
from finetune.tasks.sql.rows.domains import REGISTRY
from finetune.tasks.sql.rows.patterns import PATTERNS
from finetune.tasks.sql.rows.query import Query, naming_table, tables_of
from finetune.tasks.sql.rows.schema import Domain
from finetune.tasks.sql.rows.wording import Unsuitable, Voice

DOMAINS = tuple(REGISTRY)
ROWS_PER_DATABASE = 6
TRIES_PER_PATTERN = 6  # before another pattern is drawn
NAMED_TABLES = 0.08  # share of the questions that say which table they are about
# Share of the rows whose context holds all tables of the database, not just those that the query reads. In
# gretelai/synthetic_text_to_sql 3 % of the contexts hold a table that is not needed.
SPARE_TABLES = 0.25
BARREN_DATABASES = 10  # in a row without a new question, and the domain is exhausted


def generate(
    count: int,
    seed: int,
    domains: Sequence[str] = DOMAINS,
    patterns: Sequence[str] = tuple(PATTERNS),
) -> Iterator[dict[str, str]]:
    """Yield ``count`` rows that take the domains in turn; no two have the same question.

    A row has ``sql_prompt``, ``sql``, ``sql_context``, ``sql_explanation`` and ``domain``. The same arguments
    give the same rows everywhere, and a smaller count gives the first of them. ``patterns`` restricts the
    kinds of question. ValueError: an unknown name, or a domain that has no further question.
    """
    if unknown := (set(domains) - set(REGISTRY)) | (set(patterns) - set(PATTERNS)):
        raise ValueError(f"unknown domains or patterns: {', '.join(sorted(unknown))}")
    if not domains or not patterns:
        raise ValueError("no domains or no patterns")
    seen: set[str] = set()
    streams = [_rows(REGISTRY[name], seed, patterns, seen) for name in domains]
    for index in range(count):
        row = next(streams[index % len(streams)], None)
        if row is None:
            name = domains[index % len(domains)]
            raise ValueError(f"only {index} of {count} rows: no further questions for the domain {name}")
        yield row


def _rows(domain: Domain, seed: int, patterns: Sequence[str], seen: set[str]) -> Iterator[dict[str, str]]:
    barren = 0
    for serial in itertools.count():
        rng = random.Random(f"{seed}/{domain.name}/{serial}")
        database = Database(domain, rng)
        barren += 1
        for _ in range(ROWS_PER_DATABASE):
            query = _question(database, rng, patterns, seen)
            if query:
                barren = 0
                needed = tables_of(query)
                everything = rng.random() < SPARE_TABLES
                shown = [table for table in database.tables if everything or table.name in needed]
                yield {
                    "sql_prompt": query.prompt,
                    "sql": query.sql,
                    "sql_context": database.context(shown),
                    "sql_explanation": query.explanation,
                    "domain": domain.name,
                }
        database.close()
        if barren == BARREN_DATABASES:
            return


def _question(database: Database, rng: random.Random, patterns: Sequence[str], seen: set[str]) -> Query | None:
    """A new question of a pattern drawn by chance, if one was found within the tries."""
    pattern = PATTERNS[rng.choice(patterns)]
    for _ in range(TRIES_PER_PATTERN):
        voice = Voice(rng)
        try:
            query = pattern(database, voice)
        except Unsuitable:
            continue
        if voice.chance(NAMED_TABLES):
            query = naming_table(voice, query)
        identity = " ".join(query.prompt.lower().split())
        if identity not in seen and query.holds(database):
            seen.add(identity)
            return query
    return None
