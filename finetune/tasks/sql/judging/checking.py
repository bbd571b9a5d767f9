"""Is a row's own SQL any good? Asked of every row before training: does it run on its own tables, in its own dialect?"""

from contextlib import ExitStack

from finetune.tasks.base import WrongAnswer
from finetune.tasks.json_worker import Closing
from finetune.tasks.sql.dialects import DIALECTS, SQLITE
from finetune.tasks.sql.judging.execution import Outcome, SqlWorker, WorkerKilled
from finetune.tasks.sql.judging.foreign import own_fault, what
from finetune.tasks.sql.judging.reference import KEEPS, beginning, gold_problem, run_reference
from finetune.tasks.sql.judging.translation import Translation, Translator

_GUESSED = ("postgres", "mysql", "tsql", "duckdb")  # in this order
_MOST_GUESSES = 20  # rows that no dialect accepts, until guessing ends


class Checking(Closing):
    """Owns the processes that translate and run. Use as a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._translator = self._stack.enter_context(Translator())
        self._workers: dict[str, SqlWorker] = {}
        self._guessed, self._vain = "", 0

    def close(self) -> None:
        self._stack.close()

    def _worker(self, dialect: str) -> SqlWorker:
        if dialect not in self._workers:
            self._workers[dialect] = self._stack.enter_context(SqlWorker(dialect=dialect))
        return self._workers[dialect]

    def problem(self, context: str, sql: str, dialect: str, *, guess: bool, only_foreign: bool) -> WrongAnswer | None:
        """What is wrong with a row; None if nothing is. A row whose SQL is valid and cannot be run is kept, with a remark.

        ``guess``: nobody said that the row is in SQLite. With ``only_foreign`` no other fault of a row in SQLite counts.
        """
        try:
            if dialect != SQLITE:
                return self._foreign(context, sql, dialect)
            wrong = gold_problem(self._worker(SQLITE), context, sql) if context else None
            other = (
                self._looks_like(context, sql) if wrong and guess and not wrong.reason.startswith("its SQL was") else ""
            )
            if not other:
                return None if only_foreign else wrong
        except WorkerKilled as error:
            return WrongAnswer(f"its SQL was not tried: {error}")
        assert wrong is not None
        remedy = f"these rows look like {DIALECTS[other]}: --dialect {other}; --dialect {SQLITE} if they are not"
        if only_foreign:
            reason = f"it looks like {DIALECTS[other]}, and its prompt would ask for {DIALECTS[SQLITE]}"
            return WrongAnswer(reason, wrong.detail, remedy)
        return WrongAnswer(wrong.reason, wrong.detail, f"these rows look like {DIALECTS[other]}: --dialect {other}")

    def _foreign(self, context: str, sql: str, dialect: str) -> WrongAnswer | None:
        name = DIALECTS[dialect]
        found = self._translator.translate(dialect, context, sql)
        if found.error:
            fault = "does not parse as" if found.error == "parse_error" else "is not valid"
            kind = "" if found.error == "parse_error" else f": {found.error.replace('_', ' ')}"
            return WrongAnswer(f"its {what(found)} {fault} {name}{kind}", f"{found.message} in {beginning(sql)}", KEEPS)
        if not found.script and not found.untranslated:
            return None  # there are no tables
        why = found.untranslated
        if not why:
            outcome, _ = run_reference(self._worker(dialect), found.script, found.sql)
            if outcome.error is None:
                return None
            why = outcome.message
            made = self._worker(dialect).describe(found.script)
            if own_fault(outcome) and not isinstance(made, Outcome):
                reason = f"its SQL fails on its tables: {outcome.error.replace('_', ' ')}"
                return WrongAnswer(reason, f"{why} in {beginning(sql)}", KEEPS)
        reason = f"its {name} cannot be run in SQLite, so answers are compared with it as text"
        return WrongAnswer(reason, f"{why} in {beginning(sql)}", keeps=True)

    def _looks_like(self, context: str, sql: str) -> str:
        """The dialect that a row is written in which SQLite does not run: one in which it runs, else one that can read it."""
        if self._vain >= _MOST_GUESSES:
            return ""
        known = dict.fromkeys((self._guessed, *_GUESSED))
        readable = ""
        for dialect in filter(None, known):
            found = self._translator.translate(dialect, context, sql)
            if self._runs(found, dialect):
                self._guessed = dialect
                return dialect
            if found.untranslated and found.normal:
                readable = readable or dialect
        self._vain += not readable
        return readable

    def _runs(self, found: Translation, dialect: str) -> bool:
        if found.error or found.untranslated:
            return False
        outcome, _ = run_reference(self._worker(dialect), found.script, found.sql)
        return outcome.error is None
