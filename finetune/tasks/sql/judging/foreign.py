"""Judges SQL of other dialects: context, reference and answer are translated into SQLite in one way, and run there.

What cannot be translated exactly is never run. If that is the reference, an answer is compared with it as text: the same
statement, whatever its style, is right, and another one is ``other_text``. If it is the answer alone, it is not scored.
"""

import re

from finetune.signals import Stop, never
from finetune.tasks.json_worker import Closing
from finetune.tasks.sql.judging.answer import find_statements
from finetune.tasks.sql.judging.execution import Outcome, WorkerKilled
from finetune.tasks.sql.judging.judge import MAX_ANSWER, Judgement, SqlJudge
from finetune.tasks.sql.judging.reference import run_reference
from finetune.tasks.sql.judging.translation import Translation, Translator

# failures of a translated statement that are the statement's own fault; others may be the translation's
_OWN_FAULTS = frozenset("unknown_table unknown_column forbidden timeout too_large".split())
_OWN_MESSAGES = (
    *("ambiguous column", "misuse of aggregate", "misuse of window", "number of result columns", "constraint failed"),
    *(
        "wrong number of arguments",
        "invalid ",
        "not a date",
        "does not exist",
        "values were supplied",
        "row value misused",
        "division by zero",
    ),
)


def own_fault(outcome: Outcome) -> bool:
    """Whether the dialect's own engine would have failed as well."""
    return outcome.error in _OWN_FAULTS or any(words in outcome.message for words in _OWN_MESSAGES)


class ForeignJudge(Closing):
    """Judges answers in one dialect, as ``SqlJudge`` does those in SQLite. Use as a context manager."""

    def __init__(self, dialect: str, stop: Stop = never):
        self.dialect = dialect
        self.translator = Translator(stop)
        self.sqlite = SqlJudge(stop=stop, dialect=dialect)

    def close(self) -> None:
        """End both processes."""
        self.sqlite.close()
        self.translator.close()

    def judge(self, context: str, gold: str, answer: str) -> Judgement:
        """One answer, as the model wrote it, against ``gold`` on the tables that ``context`` makes."""
        try:
            reference = self.translator.translate(self.dialect, context, gold)
            if reference.error:
                return Judgement("gold_error", f"the row's own {what(reference)} is refused: {reference.message}")
            if reference.untranslated:
                return self._compared_as_text(context, reference, reference.untranslated, answer)
            if not reference.script:
                return self._compared_as_text(context, reference, "the row has no tables", answer)
            return self._run(context, reference, answer)
        except WorkerKilled as error:
            return Judgement("worker_killed", str(error))

    def _run(self, context: str, reference: Translation, answer: str) -> Judgement:
        found = self._translated(context, answer)
        if isinstance(found, Judgement):
            return found if found.kind != "unscorable" else self._unless_same(found, context, reference, answer)
        judged = self.sqlite.judge(reference.script, reference.sql, found.sql, bare=True)
        if judged.kind == "gold_error":
            outcome, _ = run_reference(self.sqlite.worker, reference.script, reference.sql)
            made = self.sqlite.worker.describe(reference.script)
            if own_fault(outcome) and not isinstance(made, Outcome):
                return judged
            return self._compared_as_text(context, reference, judged.reason, answer)
        if judged.kind == "unscorable":  # it proves nothing by being run
            return self._compared_as_text(context, reference, judged.reason, answer)
        if judged.scored and judged.kind in ("parse_error", "unknown_function", "other_sql_error", "no_sql"):
            outcome = Outcome(error=judged.kind, message=judged.reason)
            if not own_fault(outcome):
                return Judgement("unscorable", f"the answer cannot be run in SQLite: {judged.reason}")
        return judged

    def _unless_same(self, judged: Judgement, context: str, reference: Translation, answer: str) -> Judgement:
        compared = self._compared_as_text(context, reference, judged.reason, answer)
        return compared if compared.kind == "ok" else judged

    def _translated(self, context: str, answer: str) -> Translation | Judgement:
        """The answer's statement; or what is wrong with it, ``unscorable`` if SQLite cannot do the same."""
        if len(answer) > MAX_ANSWER:
            return Judgement("too_large", f"{len(answer)} characters")
        statements = self._statements(answer)
        if not statements:
            return Judgement("no_sql", "no SQL in the answer")
        if len(statements) > 1:
            return Judgement("multiple_statements", f"{len(statements)} different statements")
        found = self.translator.translate(self.dialect, context, statements[0])
        if found.error:
            return Judgement(found.error, found.message)
        if found.untranslated:
            return Judgement("unscorable", f"the answer cannot be run in SQLite: {found.untranslated}")
        return found

    def _statements(self, answer: str) -> list[str]:
        bare = answer.strip().strip("`").removeprefix("sql").strip().rstrip(";")
        begins = r"\(\s*SELECT\b|FROM\s" if self.dialect == "duckdb" else r"\(\s*SELECT\b"  # also how a query can begin
        if re.match(begins, bare, re.IGNORECASE):
            return [bare]
        return find_statements(answer)

    def _compared_as_text(self, context: str, reference: Translation, why: str, answer: str) -> Judgement:
        """Right if the answer is the reference but for its style; ``why`` neither was run."""
        found = self._translated(context, answer)
        if isinstance(found, Judgement):
            if found.kind != "unscorable":
                return found
            found = self.translator.translate(self.dialect, context, self._statements(answer)[0])
        if found.normal and found.normal == reference.normal:
            return Judgement("ok", f"the same statement as the reference, compared as text: {why}")
        return Judgement("other_text", f"not the reference's statement, compared as text: {why}")


def what(found: Translation) -> str:
    return "schema" if found.of_context else "SQL"
