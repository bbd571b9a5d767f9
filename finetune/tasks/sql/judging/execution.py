"""Runs model-written SQL in the worker process, and ends that process when it is late.

A database is a script of CREATE and INSERT statements; the worker makes it anew for every statement it runs.
"""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
STOP, KILL = 0.7, 0.85  # of an answer's seconds: the worker's clock stops it; we end what that cannot interrupt
KILLED = {-1, -2, -9, -15}  # exit codes of SIGHUP, SIGINT, SIGKILL, SIGTERM: no SQL and no limit of ours does that
INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # of the environment: a Python may need them to start

Value = None | int | float | str | tuple[str, str]  # the tuple is a blob: ("blob", hexadecimal digits)
Row = tuple[Value, ...]


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
    """The worker was ended from outside at both tries: that says nothing about the SQL."""


class SqlWorker:
    """One worker process, started when it is first needed and again after it has died.

    Use as a context manager; ``seconds`` is the time for all the statements of one request together, by the wall clock.
    ``killed`` counts how often the process was ended from outside in the middle of one.
    """

    def __init__(self, seconds: float = 2.0):
        self.seconds = seconds
        self.killed = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "SqlWorker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process. The next request starts a new one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    @property
    def pid(self) -> int | None:
        """Of the process that runs now, for tests that end it."""
        return self._process.pid if self._process is not None else None

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

    def run(self, runs: list[tuple[str, str]], write: bool = False, stop: bool = False) -> list[Outcome]:
        """The outcome of each (script, statement); with ``stop``, up to the first failure.

        ``write`` allows INSERT, UPDATE and DELETE on the tables that exist, and answers with every table's
        rows. Fewer outcomes than ``runs`` come back where the last of them is a failure. Raises WorkerKilled.
        """
        return [_outcome(reply) for reply in self._request(list(runs), write, stop)]

    def _request(self, runs: list[tuple[str, str | None]], write: bool, stop: bool) -> list[dict[str, Any]]:
        request = json.dumps({"runs": runs, "write": write, "stop": stop, "seconds": STOP * self.seconds})
        deaths: set[int] = set()
        for _attempt in range(2):  # a process that died costs one more try
            late = threading.Event()
            process = self._running()
            line = self._exchange(process, request, late)
            if line:
                replies: list[dict[str, Any]] = json.loads(line)
                return replies
            self.close()
            if late.is_set():
                return [{"error": "timeout", "message": "did not stop in time"}]
            deaths.add(process.returncode)
            self.killed += process.returncode in KILLED
        if deaths <= KILLED:
            raise WorkerKilled(f"the worker was killed from outside twice (exit code {process.returncode})")
        return [{"error": "too_large", "message": "its process died twice: out of memory or processor time"}]

    def _running(self) -> "subprocess.Popen[str]":
        """The process, a new one where there is none or it was killed while it waited."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        self._process = self._process or _start()
        return self._process

    def _exchange(self, process: "subprocess.Popen[str]", request: str, late: threading.Event) -> str:
        """One line there and one back; "" where the process died, with ``late`` set where we ended it."""
        assert process.stdin is not None and process.stdout is not None

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(KILL * self.seconds, end)
        timer.start()
        try:
            process.stdin.write(request + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            return ""
        except BaseException:  # Ctrl-C, say: the reply still to come must not answer the next request
            self.close()
            raise
        finally:
            timer.cancel()
        return line if line.endswith("\n") else ""


def _start() -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={name: os.environ[name] for name in INHERITED if name in os.environ},
        start_new_session=True,  # the terminal's Ctrl-C is for us, who then end it
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps({"runs": [], "write": False, "stop": False, "seconds": 1}) + "\n")
    process.stdin.flush()
    if not process.stdout.readline():  # not the fault of any SQL: nothing may be judged by it
        raise RuntimeError(f"{sys.executable} cannot run {WORKER} (exit code {process.wait()})")
    return process


def _rows(rows: list[list[Any]]) -> tuple[Row, ...]:
    return tuple(tuple(("blob", value["blob"]) if isinstance(value, dict) else value for value in row) for row in rows)


def _outcome(reply: dict[str, Any]) -> Outcome:
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
