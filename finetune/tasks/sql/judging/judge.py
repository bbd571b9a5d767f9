"""Is a model's SQL right? It runs on three databases, and on each it must give the same result as gold.

*Gold* is the row's own SQL. It runs first: on the row's own database and on two generated from it. A row whose gold fails is
``gold_error``; one whose gold proves nothing (an empty result, chance, no two databases where its WHERE
matters) is ``unscorable``.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from finetune.signals import Stop, never
from finetune.tasks.json_worker import Closing
from finetune.tasks.sql.dialects import SQLITE
from finetune.tasks.sql.judging.answer import find_statements
from finetune.tasks.sql.judging.compare import Expected, compare, ordered, same_tables, unordered
from finetune.tasks.sql.judging.databases import generate
from finetune.tasks.sql.judging.execution import Description, Outcome, Run, SqlWorker, WorkerKilled
from finetune.tasks.sql.judging.gold import Gold, read_gold
from finetune.tasks.sql.judging.reference import run_reference

UNSCORED_KINDS = ("gold_error", "unscorable", "worker_killed")
ANSWER_KINDS = (
    "ok",
    "no_sql",
    "multiple_statements",
    "parse_error",
    "unknown_table",
    "unknown_column",
    "unknown_function",
    "other_sql_error",
    "forbidden",
    "timeout",
    "too_large",
    "wrong_shape",
    "wrong_rows",
    "wrong_order",
    "other_text",
)

MAX_ANSWER = 20_000  # characters
MAX_SEEDS, BATCH = 60, 5  # databases generated in the search for good ones, and how many at a time

CHANCE = frozenset("random randomblob current_date current_time current_timestamp".split())
DATES = frozenset("date time datetime julianday strftime unixepoch timediff".split())
NOW = re.compile(
    r"'now' | \b(date|time|datetime|julianday|unixepoch)\s*\(\s*\) | \bstrftime\s*\(\s*'[^']*'\s*\)",
    re.I | re.X,
)


@dataclass(frozen=True)
class Judgement:
    """``kind`` is one of ANSWER_KINDS, or of UNSCORED_KINDS: the row cannot judge any answer, or the worker was killed from
    outside at both tries. ``reason`` also says so if the second try succeeded.

    ``write`` marks a row whose gold is an INSERT, UPDATE or DELETE, judged by all tables afterwards.
    """

    kind: str
    reason: str = ""
    write: bool = False

    @property
    def right(self) -> bool:
        return self.kind == "ok"

    @property
    def scored(self) -> bool:
        return self.kind not in UNSCORED_KINDS


@dataclass(frozen=True)
class Result:
    """What gold does on one database."""

    script: str
    outcome: Outcome
    expected: Expected
    empty: bool = False
    changes: bool = True  # when gold's WHERE is dropped; True where it has none
    stable: bool = True  # when the rows are stored in the opposite order

    @property
    def writes(self) -> bool:
        return self.outcome.tables is not None

    def agrees(self, outcome: Outcome) -> bool:
        if outcome.error is not None:
            return False
        if self.outcome.tables is not None and outcome.tables is not None:
            return same_tables(self.outcome, outcome)
        return compare([self.expected], [outcome])[0] == "ok"


class SqlJudge(Closing):
    """Judges answers; owns one worker process, which ends with the context manager.

    ``seconds`` is the most that one answer takes on all its databases, by the wall clock; ``generated`` is how
    many are used beside the row's own. Gold's results are kept: a second answer to the row costs only its own run.
    ``worker`` is the process; ``stop`` interrupts it, and the answer is ``worker_killed``. ``dialect`` is what contexts and
    statements were translated from.
    """

    def __init__(self, seconds: float = 2.0, generated: int = 2, stop: Stop = never, dialect: str = "sqlite"):
        self.generated = generated
        self.worker = SqlWorker(seconds, stop, dialect)
        self._results = lru_cache(maxsize=2_000)(self._run_gold)

    def close(self) -> None:
        """End the process."""
        self.worker.close()

    def judge(self, context: str, gold: str, answer: str, *, bare: bool = False) -> Judgement:
        """One answer, as the model wrote it, against ``gold`` on the tables that ``context`` makes.

        ``bare``: the answer is one statement, with nothing around it.
        """
        killed = self.worker.killed
        try:
            judgement = self._judge(context, gold, answer, bare=bare)
        except WorkerKilled as error:  # gold's results are not kept then: the next answer tries again
            return Judgement("worker_killed", str(error))
        if self.worker.killed == killed:
            return judgement
        marks = [judgement.reason] * bool(judgement.reason) + ["tried again: the worker was killed from outside"]
        return replace(judgement, reason="; ".join(marks))

    def _judge(self, context: str, gold: str, answer: str, *, bare: bool) -> Judgement:
        results = self._results(context, gold)
        if isinstance(results, Judgement):
            return results
        kind, reason = self._judge_by(results, answer, bare=bare)
        return Judgement(kind, reason, results[0].writes)

    def _judge_by(self, results: list[Result], answer: str, *, bare: bool) -> tuple[str, str]:
        write = results[0].writes
        if len(answer) > MAX_ANSWER and not bare:
            return "too_large", f"{len(answer)} characters"
        statements = [answer] if bare else find_statements(answer)
        if not statements:
            return "no_sql", "no SQL in the answer"
        if len(statements) > 1:
            return "multiple_statements", f"{len(statements)} different statements"
        outcomes = self.worker.run([Run(result.script, statements[0]) for result in results], write=write, stop=True)
        if outcomes[-1].error is not None:
            return outcomes[-1].error, outcomes[-1].message
        if not write:
            return compare([result.expected for result in results], outcomes)
        for number, (result, outcome) in enumerate(zip(results, outcomes, strict=True), start=1):
            if not result.agrees(outcome):
                return "wrong_rows", f"database {number} holds wrong rows afterwards"
        return "ok", ""

    def _run_gold(self, context: str, gold: str) -> Judgement | list[Result]:
        """Gold's results on the row's own database and the generated ones, or why the row cannot be judged."""
        own = self.worker.describe(context)
        if isinstance(own, Outcome):
            return Judgement("gold_error", f"the row's schema fails in SQLite: {own.message}")
        outcome, write = run_reference(self.worker, context, gold)
        if outcome.error is not None:
            kind = "unscorable" if outcome.error == "forbidden" else "gold_error"
            return Judgement(kind, f"the row's own SQL fails in SQLite: {outcome.message}", write)
        if _by_chance(own.functions, context) or _by_chance(outcome.functions, gold):
            return Judgement("unscorable", "the row's own SQL depends on chance or on the date", write)
        read = read_gold(gold)
        if read is None:
            return Judgement("unscorable", "the row's own SQL cannot be parsed", write)
        if self.worker.dialect != SQLITE and not any(table.rows for table in own.tables):
            context, own = self._filled(context, own, gold, read, write=write)
        (result,) = self._try([(context, context)], gold, read, write=write)
        if result is None or result.empty:
            return Judgement("unscorable", "the row's own SQL returns nothing on the row's own tables", write)
        results = self._add_generated(result, own, context, gold, read)
        return results or Judgement(
            "unscorable", "too few databases on which the row's own SQL differs from a wrong one", write
        )

    def _filled(self, context: str, own: Description, gold: str, read: Gold, *, write: bool) -> tuple[str, Description]:
        """Of tables without rows, as a schema alone makes them, the first database on which gold does anything."""
        for seed in range(BATCH):
            script, _ = generate(own, read, f"rows {seed} {context}", distinct=True)
            (outcome,) = self.worker.run([Run(script, gold)], write=write)
            filled = self.worker.describe(script)
            if outcome.error is None and isinstance(filled, Description) and (write or not _only_null(outcome)):
                return script, filled
        return context, own

    def _add_generated(
        self, own: Result, description: Description, context: str, gold: str, read: Gold
    ) -> list[Result]:
        """``own`` and the first good databases, gold's results different if can be; none if too few."""
        write = own.writes
        wanted = 1 + self.generated
        if self.generated and not own.changes:
            wanted += 1  # the row's own database proves little: one more beside it
        chosen, spare = [own], list[Result]()
        unstable = 0
        for first in range(0, MAX_SEEDS, BATCH):
            if len(chosen) >= wanted:
                break
            seeds = [f"{seed} {context}" for seed in range(first, first + BATCH)]
            foreign = self.worker.dialect != SQLITE
            made = [generate(description, read, seed, distinct=foreign) for seed in seeds]
            tried = self._try(made, gold, read, write=write)
            if not any(tried):
                break
            for result in tried:
                if result is None or result.empty or not result.changes:
                    continue
                if _only_zeros(result.outcome) and not _only_zeros(own.outcome):
                    continue
                if not result.stable:
                    unstable += 1
                    continue
                seen = any(other.agrees(result.outcome) for other in chosen)
                (spare if seen else chosen).append(result)
        results = [*chosen, *spare]
        if len(results) < wanted or unstable >= len(results):
            return []  # mostly unstable: gold depends on how rows are stored, and seemed not to only by luck
        return results[:wanted]

    def _try(self, scripts: list[tuple[str, str]], gold: str, read: Gold, *, write: bool) -> list[Result | None]:
        """Gold's result on each database, given as two scripts, the second with its rows the other way round.

        None if gold fails.
        """
        third = "SELECT 1" if write else read.keyed or gold  # the tables before a write; gold's sort keys
        runs = [Run(script, sql) for script, _ in scripts for sql in (gold, read.without_where or gold, third)]
        runs += [Run(backwards, gold) for _, backwards in scripts]
        outcomes = self.worker.run(runs, write=write)
        outcomes += [Outcome(error="timeout")] * (len(runs) - len(outcomes))
        results: list[Result | None] = []
        for number, (script, _) in enumerate(scripts):
            outcome, dropped, other = outcomes[3 * number : 3 * number + 3]
            if outcome.error is not None:
                results.append(None)
                continue
            if read.ordered:
                keyed = other.rows if read.keyed and other.error is None else None
                expected = ordered(outcome.rows, outcome.columns, keyed, read.offset)
            else:
                expected = unordered(outcome.rows, outcome.columns)
            result = Result(script, outcome, replace(expected, functions=outcome.functions))
            results.append(
                replace(
                    result,
                    empty=outcome.tables == other.tables if write else _only_null(outcome),
                    changes=read.without_where is None or _differs(result, dropped),
                    stable=result.agrees(outcomes[3 * len(scripts) + number]),
                )
            )
        return results


def _differs(result: Result, dropped: Outcome) -> bool:
    """Whether gold without its WHERE does something else; a WHERE can be there to keep zeros from a division."""
    return not result.agrees(dropped) if dropped.error is None else dropped.message == "division by zero"


def _only_null(outcome: Outcome) -> bool:
    """No row, or the NULL of a sum over no row."""
    return all(value is None for row in outcome.rows for value in row)


def _only_zeros(outcome: Outcome) -> bool:
    return outcome.tables is None and all(value in (None, 0) for row in outcome.rows for value in row)


def _by_chance(functions: frozenset[str], sql: str) -> bool:
    return bool(functions & CHANCE) or bool(functions & DATES and NOW.search(sql))
