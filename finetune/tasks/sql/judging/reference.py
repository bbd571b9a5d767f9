"""A row's own SQL, run on the row's own tables in SQLite: what it does, or why it fails."""

from finetune.errors import shortened
from finetune.tasks.base import WrongAnswer
from finetune.tasks.sql.judging.execution import Outcome, Run, SqlWorker, WorkerKilled

KEEPS = "--no-check-answers keeps such rows"
WRITES = ("INSERT", "UPDATE", "DELETE")


def gold_problem(worker: SqlWorker, context: str, gold: str) -> WrongAnswer | None:
    """Why a row's own SQL does not run on the row's own tables; None if it does. ``detail`` is SQLite's message."""
    try:
        outcome, _ = run_reference(worker, context, gold)
        if outcome.error is None:
            return None
        database = worker.describe(context)
    except WorkerKilled as error:
        return WrongAnswer(f"its SQL was not tried: {error}")
    what, failed = ("schema", database) if isinstance(database, Outcome) else ("SQL", outcome)
    if failed.error == "parse_error":
        reason = f"its {what} does not parse as SQLite"
    else:
        reason = f"its {what} fails in SQLite: {(failed.error or '').replace('_', ' ')}"
    return WrongAnswer(reason, f"{failed.message} in {beginning(gold)}", KEEPS)


def beginning(sql: str) -> str:
    """The first words of a statement, for a message."""
    return repr(shortened(" ".join(sql.split()), 60))


def run_reference(worker: SqlWorker, context: str, gold: str) -> tuple[Outcome, bool]:
    """What gold does, and whether it writes to the tables."""
    (outcome,) = worker.run([Run(context, gold)])
    write = outcome.error == "forbidden" and outcome.denied in WRITES
    if write:
        (outcome,) = worker.run([Run(context, gold)], write=True)
    return outcome, write
