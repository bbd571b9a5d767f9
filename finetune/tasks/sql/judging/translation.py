"""Asks the process that translates other dialects into SQLite, and ends it when it is late."""

import sys
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from finetune.signals import Stop, never
from finetune.tasks.json_worker import BadReply, Closing, Interrupted, JsonWorker, LateReply, WorkerDied
from finetune.tasks.sql.judging.execution import KILLED, WorkerKilled
from finetune.tasks.sql.judging.translating.process import CONTEXTS

_ROOT = Path(__file__).parents[4]
_START = "import sys; sys.path.insert(0, sys.argv[1]); from finetune.tasks.sql.judging.translating.process import main; main()"
SECONDS = 3.0  # for a statement
SCRIPT_SECONDS = 30.0  # for the first statement of a context, whose script may hold many rows
_CRASH = 1  # exit code of a process that ends with a traceback


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
        self._contexts: OrderedDict[tuple[str, str], str] = OrderedDict()  # that the process keeps -> script
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
        try:
            reply = self._worker.ask(request, self._seconds(dialect, context))
        except Interrupted:
            raise WorkerKilled("the work was asked to stop") from None
        except (LateReply, BadReply):
            return Translation(error="timeout", message="sqlglot did not read it in time")
        except WorkerDied as died:
            if died.exit_code in KILLED:
                raise WorkerKilled("the translating process was killed from outside") from None
            if died.exit_code == _CRASH:  # which proves nothing about the statement
                return Translation(untranslated="the translation fails")
            return Translation(error="too_large", message="sqlglot died of it: out of memory or processor time")
        return Translation(
            script=self._kept(dialect, context, reply.get("script", "")),
            sql=reply.get("sql", ""),
            normal=reply.get("normal", ""),
            error=reply.get("error", ""),
            message=reply.get("message", ""),
            untranslated=reply.get("untranslated", ""),
            of_context=reply.get("part") == "context",
        )

    def _seconds(self, dialect: str, context: str) -> float:
        """For a statement: more if the process has yet to translate its context."""
        before = self._worker.pid
        self._worker.start()
        if self._worker.pid != before:  # a new process knows none
            self._contexts.clear()
        return SECONDS if (dialect, context) in self._contexts else SCRIPT_SECONDS

    def _kept(self, dialect: str, context: str, script: str) -> str:
        """The script of a context, one object for all its statements; the process forgets the context used longest ago."""
        kept = self._contexts.get((dialect, context)) or script  # a statement that is refused can come without it
        self._contexts[dialect, context] = kept
        self._contexts.move_to_end((dialect, context))
        if len(self._contexts) > CONTEXTS:
            self._contexts.popitem(last=False)
        return kept
