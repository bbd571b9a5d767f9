"""Asks the process that translates other dialects into SQLite, and ends it when it is late."""

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from finetune.signals import Stop, never
from finetune.tasks.json_worker import BadReply, Closing, Interrupted, JsonWorker, LateReply, WorkerDied
from finetune.tasks.sql.judging.execution import WorkerKilled

_ROOT = Path(__file__).parents[4]
_START = "import sys; sys.path.insert(0, sys.argv[1]); from finetune.tasks.sql.judging.translating.process import main; main()"
SECONDS = 3.0  # for a statement
SCRIPT_SECONDS = 30.0  # for the first statement of a context, whose script may hold many rows


@dataclass(frozen=True)
class Translation:
    """A context and one statement in SQLite.

    ``error`` is the class of what the dialect's own engine would refuse, ``untranslated`` what SQLite cannot do; the other of
    the two is "", and both are if ``script`` and ``sql`` hold. ``of_context``: that it is about the context. ``normal`` is the
    statement in one style; it is "" if the statement could not be read.
    """

    script: str = ""
    sql: str = ""
    normal: str = ""
    error: str = ""
    message: str = ""
    untranslated: str = ""
    of_context: bool = False


class Translator(Closing):
    """Owns the process, which is started when it is first needed. Use as a context manager."""

    def __init__(self, stop: Stop = never):
        command = [sys.executable, "-I", "-B", "-c", _START, str(_ROOT)]
        self._worker = JsonWorker(command, quiet=True, stop=stop, most=1 << 24)
        self._contexts: dict[tuple[str, str], None] = {}
        self.translate = lru_cache(maxsize=2_000)(self._translate)

    def close(self) -> None:
        """End the process. The next request starts a new one."""
        self._worker.close()

    @property
    def pid(self) -> int | None:
        return self._worker.pid

    def _translate(self, dialect: str, context: str, sql: str) -> Translation:
        """Raises WorkerKilled if the work was asked to stop."""
        request = {"dialect": dialect, "context": context, "sql": sql}
        is_new = (dialect, context) not in self._contexts
        try:
            self._worker.start()
            reply = self._worker.ask(request, SCRIPT_SECONDS if is_new else SECONDS)
        except Interrupted:
            raise WorkerKilled("the work was asked to stop") from None
        except (LateReply, BadReply):
            return Translation(error="timeout", message="sqlglot did not read it in time")
        except WorkerDied as died:
            if died.exit_code in (-1, -2, -9, -15):
                raise WorkerKilled("the translating process was killed from outside") from None
            return Translation(error="too_large", message="sqlglot died of it: out of memory or processor time")
        self._contexts[dialect, context] = None
        return Translation(
            script=reply.get("script", ""),
            sql=reply.get("sql", ""),
            normal=reply.get("normal", ""),
            error=reply.get("error", ""),
            message=reply.get("message", ""),
            untranslated=reply.get("untranslated", ""),
            of_context=reply.get("part") == "context",
        )
