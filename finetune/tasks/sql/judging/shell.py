"""Tables that somebody asks about, and the statements that run on them, in any dialect: what a chat needs."""

from collections.abc import Sequence

from finetune.tasks.json_worker import Closing
from finetune.tasks.sql.dialects import SQLITE
from finetune.tasks.sql.judging.execution import Description, Outcome, Run, SqlWorker
from finetune.tasks.sql.judging.translation import Translation, Translator


class SqlTables(Closing):
    """Owns the processes that translate and run. Use as a context manager; scripts and statements are in ``dialect``."""

    def __init__(self, dialect: str = SQLITE):
        self.dialect = dialect
        self._worker, self._translator = SqlWorker(dialect=dialect), Translator()

    def close(self) -> None:
        self._worker.close()
        self._translator.close()

    def describe(self, script: str) -> Description | Outcome:
        """The tables that a script makes, or why it makes none. Raises WorkerKilled."""
        if self.dialect == SQLITE:
            return self._worker.describe(script)
        found = self._translator.translate(self.dialect, script, "")
        return _failure(found) or self._worker.describe(found.script)

    def run(self, script: str, statements: Sequence[str]) -> list[Outcome]:
        """The outcome of each statement, each on freshly made tables. Raises WorkerKilled."""
        if self.dialect == SQLITE:
            return self._worker.run([Run(script, sql) for sql in statements])
        outcomes = []
        for sql in statements:
            found = self._translator.translate(self.dialect, script, sql)
            failure = _failure(found)
            outcomes += [failure] if failure else self._worker.run([Run(found.script, found.sql)])
        return outcomes


def _failure(found: Translation) -> Outcome | None:
    if found.error:
        return Outcome(error=found.error, message=found.message)
    if found.untranslated:
        return Outcome(error="other_sql_error", message=f"it cannot be run here: {found.untranslated}")
    return None
