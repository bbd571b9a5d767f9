"""Calls the function ``reward`` of a file: a line {"row": ..., "answer": ...} on stdin, a line {"reward": ...} on stdout.

Run as a script by ``reward_function.py``; imports nothing of this project. The file itself sees an empty stdin, and what it
prints goes to stderr.
"""

import fcntl
import json
import os
import reprlib
import sys
import traceback
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from io import TextIOWrapper
from numbers import Real
from pathlib import Path
from typing import Any

LARGEST = 1e30
shown = reprlib.Repr()  # never the whole of a large value
shown.maxstring = shown.maxother = 60
PRIVATE = 100  # descriptors from here on carry requests and replies: nobody writes to them by mistake


def load(path: Path) -> object:
    """The function ``reward`` of the file; None if it has none.

    The file becomes a module of its own name, so that what it pickles is found again, in other processes too. If another
    module has that name, the file gets another one, and the modules in its folder come after the installed ones.
    """
    name = path.stem.replace(".", "_")
    taken = exists(name)
    while exists(name):
        name += "_"
    sys.path.insert(len(sys.path) if taken else 0, str(path.parent))
    spec = spec_from_file_location(name, path, loader=SourceFileLoader(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, "reward", None)


def exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # __main__
        return True


def called(reward: Any, row: object, answer: str) -> dict[str, object]:
    value = reward(row, answer)
    if value is None:
        return {"reward": None}
    if isinstance(value, bool) or not isinstance(value, Real) or value != value:
        return {"error": f"reward() returned {shown.repr(value)}, not a number"}
    size: Any = abs(value)
    if size > LARGEST:
        return {"error": f"reward() returned more than {LARGEST:g}: {shown.repr(value)}"}
    return {"reward": float(value)}


def problem(error: BaseException, path: str) -> dict[str, object]:
    """What went wrong, and the last line of the user's file on the way there."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return {"error": f"SyntaxError: {error.msg}", "line": error.lineno}
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    said = str(traceback.TracebackException.from_exception(error))  # also if its own __str__ fails
    if isinstance(error, SystemExit) and not isinstance(error.code, str):
        said = f"exit code {error.code or 0}"
    return {"error": f"{type(error).__name__}: {said}".removesuffix(": ")[:300], "line": lines[-1] if lines else None}


def private(descriptor: int, mode: str) -> TextIOWrapper:
    """A file for what ``descriptor`` leads to, out of the way and not inherited by the programs that a reward starts."""
    number = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, PRIVATE)
    return os.fdopen(number, mode, encoding="utf-8")  # type: ignore[return-value]


def main() -> None:
    path, worker = Path(sys.argv[1]), os.getpid()
    requests, replies = private(0, "r"), private(1, "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr  # written line by line: we are killed in the end, and nothing is flushed

    def reply(content: dict[str, object]) -> None:
        if os.getpid() != worker:  # a fork of the reward's that has come back to here
            os._exit(0)
        replies.write(json.dumps(content) + "\n")
        replies.flush()

    try:
        reward = load(path)
    except BaseException as error:  # noqa: BLE001  the user has to see it, whatever it is
        reply(problem(error, str(path)))
        return
    reply({} if callable(reward) else {"error": "has no function reward(row, answer)"})
    for line in requests:
        try:
            request = json.loads(line)
            content = called(reward, request["row"], request["answer"])
        except BaseException as error:  # noqa: BLE001
            content = problem(error, str(path))
        reply(content)


if __name__ == "__main__":
    main()
