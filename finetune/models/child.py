"""Work on somebody else's file in a process of its own, which cannot hang, fill the memory or crash ours."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from finetune.terminal import format_bytes, format_seconds

_OUT_OF_MEMORY, _BUG = 3, 1  # exit codes; the second is Python's own
_START_SECONDS = 60  # more than the time that the work may take: a busy machine is not the file's fault


class Ended(Exception):
    """The process did not finish its work. The message goes on after "it": ``"took more than 10 s"``."""


def run(module: str, request: object, *, seconds: int, memory: int) -> Any:
    """What ``answer``, called by ``python -m module``, makes of ``request``; both are JSON.

    The process may use ``seconds`` of a core's time and ``memory`` bytes beside what it has at its start. Raises Ended. An
    exception in the process is a bug, and a RuntimeError here.
    """
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    asked = json.dumps({"request": request, "seconds": seconds, "memory": memory})
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=asked,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONPATH": path},
            timeout=2 * seconds + _START_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Ended(f"took more than {format_seconds(2 * seconds + _START_SECONDS)}") from None
    if done.returncode == -signal.SIGXCPU:
        raise Ended(f"took more than {format_seconds(seconds)}")
    if done.returncode == _OUT_OF_MEMORY:
        raise Ended(f"needed more than {format_bytes(memory)} of memory")
    if done.returncode < 0:
        raise Ended(f"ended the process with signal {-done.returncode}")
    if done.returncode == _BUG:
        raise RuntimeError(f"python -m {module} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def answer(work: Callable[[Any], object]) -> None:
    """In the process: read the request, take on the limits, and write what ``work`` makes of the request."""
    asked = json.load(sys.stdin)
    _limit(resource.RLIMIT_CPU, asked["seconds"])
    with suppress(OSError):  # Linux; macOS does not keep this limit, and has no such file
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + asked["memory"])
    try:
        reply = work(asked["request"])
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    json.dump(reply, sys.stdout)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (soft, hard))
