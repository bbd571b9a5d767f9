"""A process that answers lines of JSON: whatever happens to it, the next request gets its own answer."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from finetune.tasks.json_worker import BadReply, Interrupted, JsonWorker, LateReply, WorkerDied

pytestmark = pytest.mark.slow

# each request is Python that may set ``reply`` or write to stdout itself
WORKER = """
import json, os, signal, subprocess, sys, time
print('{"ready": true}', flush=True)
for line in sys.stdin:
    names = dict(globals(), reply=None)
    exec(json.loads(line), names)
    print(json.dumps(names["reply"]), flush=True)
"""


def new(program: str = WORKER, **options: object) -> JsonWorker:
    return JsonWorker([sys.executable, "-c", program], **options)


def is_gone(pid: int) -> bool:
    """Whether the process has ended, or does so within seconds of its kill: nobody waits for a grandchild."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(500):
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_a_request_is_answered_by_one_process() -> None:
    with new() as worker:
        assert worker.pid is None
        assert worker.start() == {"ready": True}
        first = worker.pid
        assert [worker.ask(f"reply = {number}", 5) for number in range(3)] == [0, 1, 2]
        assert worker.ask("reply = 'é\\u2028\\n'", 5) == "é\u2028\n"
        assert worker.pid == first
    assert is_gone(first or 0) and worker.pid is None
    assert worker.ask("reply = 'again'", 5) == "again"  # a closed worker starts anew
    worker.close()


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ("time.sleep(60)", LateReply),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", LateReply),
        ("os._exit(3)", WorkerDied),
        ("os.kill(os.getpid(), signal.SIGKILL)", WorkerDied),
        ("print('[1, 2', end='', flush=True); os._exit(0)", WorkerDied),  # half a line is no answer
        ("os.close(1); os._exit(0)", WorkerDied),
        ("print('garbage')", BadReply),
        ("print('[' * 100_000)", BadReply),
        ("sys.stdout.buffer.write(bytes([255, 10])); sys.stdout.flush()", BadReply),
        ("os.write(1, b'1\\n2\\n')", BadReply),  # one of the two would answer the next request
        ("reply = 'x' * 3_000_000", BadReply),  # too long
        ("os.fork() or (os.setsid(), time.sleep(3), os._exit(0)); os._exit(3)", WorkerDied),  # the pipe stays open
        ("os.fork() or (os.setsid(), time.sleep(3), os._exit(0)); time.sleep(60)", LateReply),
    ],
)
def test_after_a_request_that_fails_a_new_process_answers(request_: str, error: type[Exception]) -> None:
    with new(most=1_000_000) as worker:
        worker.start()
        first, started = worker.pid, time.monotonic()
        with pytest.raises(error):
            worker.ask(request_, 0.5 if error is LateReply else 10)
        assert time.monotonic() - started < 2
        assert worker.ask("reply = 'next'", 5) == "next"
        assert worker.pid != first and is_gone(first or 0)


@pytest.mark.parametrize(
    ("request_", "how"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("raise KeyboardInterrupt", "killed by signal 2, Interrupt"),
        ("os.abort()", "killed by signal 6, Aborted"),
        ("os._exit(0)", "exit code 0"),
    ],
)
def test_it_is_said_how_the_process_ended(request_: str, how: str) -> None:
    with new(quiet=True) as worker, pytest.raises(WorkerDied, match=f"^{how}"):
        worker.ask(request_, 10)


def test_a_request_is_interrupted() -> None:
    asked: list[float] = []
    with new(stop=lambda: bool(asked) and time.monotonic() > asked[0] + 0.3) as worker:
        worker.start()
        first = worker.pid
        asked.append(time.monotonic())
        with pytest.raises(Interrupted):
            worker.ask("time.sleep(60)", 60)
        assert time.monotonic() - asked[0] < 1.3 and is_gone(first or 0)


# no thread of such a process runs, and no signal handler
BUSY = "import re; re.match('(a+)+$', 'a' * 40 + 'b')"
PARENT = """
import sys
from finetune.tasks.json_worker import JsonWorker
worker = JsonWorker([sys.executable, "-c", sys.argv[1]])
worker.start()
print(worker.pid, flush=True)
worker.ask(sys.argv[2], 600)
"""


def test_the_process_does_not_outlive_us() -> None:
    command = [sys.executable, "-c", PARENT, WORKER, f"subprocess.Popen(['sleep', '60']); {BUSY}"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        parent.kill()
    try:
        assert is_gone(pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def test_a_process_that_ends_while_it_waits_is_replaced() -> None:
    with new() as worker:
        worker.start()
        os.kill(worker.pid or 0, signal.SIGKILL)
        os.waitid(os.P_PID, worker.pid or 0, os.WEXITED | os.WNOWAIT)
        assert worker.ask("reply = 1", 5) == 1


def test_ctrl_c_ends_the_process_with_its_request() -> None:
    """Else the answer that is still to come would be taken for that of the next request."""
    with new() as worker:
        worker.start()
        first = worker.pid
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            worker.ask("time.sleep(2); reply = 'old'", 30)
        assert is_gone(first or 0)
        assert worker.ask("reply = 'new'", 5) == "new"


def test_ctrl_c_of_the_terminal_is_not_for_the_process() -> None:
    with new() as worker:
        assert worker.ask("reply = [os.getpid(), os.getsid(0)]", 5) == [worker.pid, worker.pid]


def test_what_the_process_has_started_ends_with_it() -> None:
    """A child that holds the line open would be waited for."""
    with new() as worker:
        child = worker.ask("reply = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid", 5)
        with pytest.raises(LateReply):
            worker.ask("time.sleep(60)", 0.3)
    assert is_gone(child)


def test_a_request_larger_than_the_pipe_to_a_process_that_does_not_read_is_late() -> None:
    with new("import time; print(1, flush=True); time.sleep(60)") as worker, pytest.raises(LateReply):
        worker.ask("x" * 10_000_000, 0.5)


def test_a_process_that_cannot_start_is_told() -> None:
    with new("raise SystemExit(7)", quiet=True) as worker, pytest.raises(WorkerDied, match="exit code 7"):
        worker.ask("reply = 1", 5)


def test_the_environment_can_be_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    with new(environment={}) as worker:
        assert worker.ask("reply = os.environ.get('SECRET')", 5) is None
    with new() as worker:
        assert worker.ask("reply = os.environ.get('SECRET')", 5) == "x"
