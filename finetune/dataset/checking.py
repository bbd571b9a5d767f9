"""Whether the answers of rows are right by their own task, such as SQL that runs: on all cores, and each content once.

A check runs in a process beside this one, which opens the task's checker and answers some rows at a time: rows are read
meanwhile. A few rows are checked here: a process takes a moment to start.
"""

import json
import os
import pickle
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import astuple
from hashlib import blake2b
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from finetune.dataset.store import Store
from finetune.records.files import Row
from finetune.tasks.base import Checker, RowKind, WrongAnswer
from finetune.tasks.json_worker import BadReply, Closing, Interrupted, JsonWorker, LateReply, WorkerDied

FEW = 1000  # rows that are checked without further processes
_MOST_WORKERS = 8
_TOGETHER = 50  # rows of one request
_SECONDS = 10.0  # for each of them; the checkers themselves have shorter limits
_WAITING = 4  # requests for each process that are under way or wait

_ROOT = Path(__file__).parents[2]
_SERVE = "import sys; sys.path.insert(0, sys.argv[1]); from finetune.dataset.checking import serve; serve(sys.argv[2])"

Request = list[tuple[bytes, Row]]  # keys, and the fields that the check reads
Reply = Future[list[WrongAnswer | None] | None]  # None if the process failed


class Checks(Closing):
    """The checks of one task's rows. Use as a context manager; ``store`` keeps what was found."""

    def __init__(self, task: RowKind, store: Store):
        assert task.open_checker is not None
        self._task, self._store, self._open = task, store, task.open_checker
        self._stack = ExitStack()
        self._here: Checker | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._workers: SimpleQueue[JsonWorker] = SimpleQueue()
        self._count = _cores()
        self._ended = Event()
        self._collected: dict[bytes, Row] = {}  # for the next request
        self._asked: dict[bytes, Reply] = {}
        self._requests: deque[tuple[Request, Reply]] = deque()

    def close(self) -> None:
        self._ended.set()
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            while not self._workers.empty():
                self._workers.get().close()
        self._stack.close()

    def _content(self, row: Row) -> tuple[bytes, Row]:
        """What is checked of a row, and its hash."""
        read = {name: row[name] for name in self._task.checked if name in row} if self._task.checked else row
        text = json.dumps([self._task.name, read], sort_keys=True, default=str)
        return blake2b(text.encode(errors="replace"), digest_size=16).digest(), read

    def start(self, row: Row) -> None:
        """Have a row checked that will be asked for later. Not if the processes are busy: then it is checked when asked for."""
        if self._count < 2:
            return
        key, read = self._content(row)
        if key in self._asked or self._store.verdict(key) is not None:
            return
        self._collected[key] = read
        if len(self._collected) < _TOGETHER:
            return
        while self._requests and self._requests[0][1].done():
            self._collect(*self._requests.popleft())
        if len(self._requests) < _WAITING * self._count:
            self._send()
        else:
            self._collected.clear()

    def _send(self) -> None:
        request = list(self._collected.items())
        self._collected.clear()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count)
            for _ in range(self._count):
                command = [sys.executable, "-c", _SERVE, str(_ROOT), pickle.dumps(self._open).hex()]
                self._workers.put(JsonWorker(command, quiet=True, stop=self._ended.is_set))
        future = self._pool.submit(self._ask, request)
        self._requests.append((request, future))
        self._asked |= dict.fromkeys((key for key, _ in request), future)

    def _ask(self, request: Request) -> list[WrongAnswer | None] | None:
        """In a thread: what another process says; None if it failed."""
        worker = self._workers.get()
        try:
            reply = worker.ask([read for _, read in request], _SECONDS * len(request))
        except (LateReply, Interrupted, WorkerDied, BadReply):
            return None
        finally:
            self._workers.put(worker)
        return [None if found is None else WrongAnswer(*found) for found in reply]

    def _collect(self, request: Request, future: Reply) -> None:
        found = future.result()
        for key, _ in request:
            del self._asked[key]
        if found is not None:
            self._keep(zip((key for key, _ in request), found, strict=True))

    def _keep(self, found: Iterable[tuple[bytes, WrongAnswer | None]]) -> None:
        self._store.add_verdicts((key, json.dumps(wrong and list(astuple(wrong)))) for key, wrong in found)

    def flush(self) -> None:
        """Have the last few rows checked that were started."""
        if self._collected and self._pool:
            self._send()

    def wrong(self, row: Row) -> WrongAnswer | None:
        """What is wrong with the row's answer; None if nothing is."""
        key, read = self._content(row)
        while key in self._asked:  # in the order in which they were sent
            self._collect(*self._requests.popleft())
        if (text := self._store.verdict(key)) is None:
            if self._here is None:
                self._here = self._stack.enter_context(self._open())
            found = self._here(read)
            self._keep([(key, found)])
            return found
        known = json.loads(text)
        return WrongAnswer(*known) if known else None


def _cores() -> int:
    """How many processes can compute at the same time, by the affinity of this one where the system has such a thing."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(_MOST_WORKERS, len(affinity(0)) if affinity else os.cpu_count() or 1)


def serve(open_checker: str) -> None:
    """The other process: a line [rows] on stdin, a line [what is wrong with each] on stdout. The function is pickled."""
    with pickle.loads(bytes.fromhex(open_checker))() as check:
        print("[]", flush=True)
        for line in sys.stdin:
            rows: Sequence[Row] = json.loads(line)
            found = [check(row) for row in rows]
            reply = [wrong and list(astuple(wrong)) for wrong in found]
            print(json.dumps(reply), flush=True)
