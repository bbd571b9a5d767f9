"""The project's scripts, started in processes of their own, as a user starts them. None asks the Hub or leaves a file open."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
OFFLINE = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "error::ResourceWarning"}  # a file left open is a traceback


def command(script: str, *arguments: object) -> list[str]:
    """The command line of ``python SCRIPT ARGUMENTS``, for any working directory."""
    return [sys.executable, str(ROOT / script), *map(str, arguments)]


def overridden(arguments: Sequence[object]) -> list[object]:
    """Flags with one value each, of one that is there twice the last: the scripts refuse to be given two."""
    given: dict[object, list[object]] = {}
    for argument in arguments:
        if str(argument).startswith("--"):
            given.pop(argument, None)
            given[argument] = []
        else:
            next(reversed(given.values())).append(argument)
    return [word for name, values in given.items() for word in (name, *values)]


def start(folder: Path, script: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """The script, running in ``folder``, with its output in pipes."""
    pipe, variables = subprocess.PIPE, os.environ | OFFLINE | environment
    return subprocess.Popen(command(script, *arguments), cwd=folder, env=variables, stdout=pipe, stderr=pipe, text=True)


def run(
    folder: Path, script: str, *arguments: object, code: int = 0, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The script, run to its end in ``folder``; it must exit with ``code`` and without a traceback."""
    variables = os.environ | OFFLINE | environment
    done = subprocess.run(
        command(script, *arguments), cwd=folder, env=variables, capture_output=True, text=True, input=stdin
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def refused(folder: Path, script: str, *arguments: object, code: int = 2) -> str:
    """The one line of the error with which the script ends."""
    lines = run(folder, script, *arguments, code=code).stderr.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def wait_until(process: "subprocess.Popen[str]", condition: Callable[[], bool], seconds: float = 120) -> None:
    """Return as soon as ``condition`` holds. The process must still run then, and reach it within ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
