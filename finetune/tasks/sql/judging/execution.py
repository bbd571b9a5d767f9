"""Runs model-written SQL in the worker process, and ends that process when it is late.

A database is a script of CREATE and INSERT statements; the worker makes it anew for every statement it runs.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.signals import Stop, never
from finetune.tasks.json_worker import Closing, Interrupted, JsonWorker, LateReply, WorkerDied

WORKER = Path(__file__).with_name("worker.py")
STOP, KILL = 0.7, 0.85  # of an answer's seconds: the worker's clock stops it; we end what that cannot interrupt
KILLED = {-1, -2, -9, -15}  # exit codes of SIGHUP, SIGINT, SIGKILL, SIGTERM: no SQL and no limit of ours does that
INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # of the environment: a Python may need them to start

Value = None | int | float | str | tuple[str, str]  # the tuple is a blob: ("blob", hexadecimal digits)
Row = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One statement, and the script of CREATE and INSERT statements that makes the database it runs on."""

    script: str
    sql: str


@dataclass(frozen=True)
class Outcome:
    """What one statement did: ``error`` is None, or the class of the failure as ``ANSWER_KINDS`` lists them.

    ``rows``, ``columns`` and their ``names`` are a query's; ``tables`` is the whole database after a write;
    ``functions`` are the SQL functions it names; ``denied`` is the action that was forbidden.
    """

    error: str | None = None
    message: str = ""
    denied: str = ""
    rows: tuple[Row, ...] = ()
    columns: int = 0
    names: tuple[str, ...] = ()
    tables: dict[str, tuple[Row, ...]] | None = None
    functions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Column:
    """One column of a table; ``required`` is NOT NULL."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True)
class Table:
    """One table as it stands in a database.

    ``unique`` is each set of columns whose values together occur once; ``foreign`` is each foreign key as own
    column, other table and its column, None for its primary key.
    """

    name: str
    columns: tuple[Column, ...]
    unique: tuple[tuple[str, ...], ...]
    foreign: tuple[tuple[str, str, str | None], ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Description:
    """A database's tables, and the statements that create what is in it: (type, SQL)."""

    schema: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    functions: frozenset[str]


class WorkerKilled(Exception):
    """The worker was ended from outside at both tries, or interrupted: that says nothing about the SQL."""


class SqlWorker(Closing):
    """One worker process, started when it is first needed and again after it has died.

    Use as a context manager; ``seconds`` is the time for all the statements of one request together, by the wall clock.
    ``dialect`` is what the statements were translated from: its functions are added to SQLite. ``killed`` counts how often the
    process was ended from outside in the middle of one.
    """

    def __init__(self, seconds: float = 2.0, stop: Stop = never, dialect: str = "sqlite"):
        self.seconds, self.dialect = seconds, dialect
        self.killed = 0
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        command = [sys.executable, "-I", "-S", "-B", str(WORKER)]
        self._worker = JsonWorker(command, environment=environment, quiet=True, stop=stop)

    def close(self) -> None:
        """End the process. The next request starts a new one."""
        self._worker.close()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now, for tests that end it."""
        return self._worker.pid

    def describe(self, script: str) -> Description | Outcome:
        """The database that ``script`` makes, or the outcome that says why it makes none. Raises WorkerKilled."""
        reply = self._request([(script, None)], write=False, stop=True)[0]
        if "error" in reply:
            return _outcome(reply)
        tables = tuple(
            Table(
                name=table["name"],
                columns=tuple(Column(name, kind, bool(required)) for name, kind, required in table["columns"]),
                unique=tuple(tuple(columns) for columns in table["unique"] if columns),
                foreign=tuple((own, other, column) for own, other, column in table["foreign"]),
                rows=_rows(table["rows"]),
            )
            for table in reply["tables"]
        )
        schema = tuple((kind, sql) for kind, sql in reply["schema"])
        return Description(schema, tables, frozenset(reply["functions"]))

    def run(self, runs: Sequence[Run], *, write: bool = False, stop: bool = False) -> list[Outcome]:
        """The outcome of each run; with ``stop``, up to the first failure.

        ``write`` allows INSERT, UPDATE and DELETE on the tables that exist, and answers with every table's
        rows. Fewer outcomes than ``runs`` come back if the last of them is a failure. Raises WorkerKilled.
        """
        return [
            _outcome(reply) for reply in self._request([(run.script, run.sql) for run in runs], write=write, stop=stop)
        ]

    def _request(self, runs: list[tuple[str, str | None]], *, write: bool, stop: bool) -> list[Mapping[str, Any]]:
        request = {"runs": runs, "write": write, "stop": stop, "seconds": STOP * self.seconds, "dialect": self.dialect}
        deaths: set[int] = set()
        for _attempt in range(2):  # a process that died costs one more try
            try:
                self._start()
                replies: list[Mapping[str, Any]] = self._worker.ask(request, KILL * self.seconds)
                return replies
            except LateReply:
                return [{"error": "timeout", "message": "did not finish in time"}]
            except Interrupted:
                raise WorkerKilled("the work was asked to stop") from None
            except WorkerDied as died:
                deaths.add(died.exit_code)
                self.killed += died.exit_code in KILLED
        if deaths <= KILLED:
            raise WorkerKilled(f"the worker was killed from outside twice (exit code {max(deaths)})")
        return [{"error": "too_large", "message": "its process died twice: out of memory or processor time"}]

    def _start(self) -> None:
        try:
            self._worker.start()
        except (LateReply, WorkerDied) as error:
            if isinstance(error, WorkerDied) and error.exit_code in KILLED:
                raise
            # not the fault of any SQL: nothing may be judged by it
            raise RuntimeError(f"{sys.executable} cannot run {WORKER} ({error})") from None


def _rows(rows: list[list[Any]]) -> tuple[Row, ...]:
    return tuple(tuple(("blob", value["blob"]) if isinstance(value, dict) else value for value in row) for row in rows)


def _outcome(reply: Mapping[str, Any]) -> Outcome:
    tables = reply.get("tables")
    return Outcome(
        error=reply.get("error"),
        message=reply.get("message", ""),
        denied=reply.get("denied", ""),
        rows=_rows(reply.get("rows", [])),
        columns=reply.get("columns", 0),
        names=tuple(reply.get("names", ())),
        tables=None if tables is None else {name: _rows(rows) for name, rows in tables.items()},
        functions=frozenset(reply.get("functions", [])),
    )
