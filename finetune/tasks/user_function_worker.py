"""Calls the function ``reward`` or ``score`` of a file: a line {"row": ..., "answer": ...} on stdin, a line {"reward": ...} or
{"score": ..., "parts": ...} on stdout.

Run as a script by ``user_function.py`` with the path and the names that the function may have; imports nothing of this
project. The file itself sees an empty stdin, and what it prints goes to stderr.
"""

import fcntl
import json
import os
import reprlib
import resource
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from io import TextIOWrapper
from numbers import Real
from pathlib import Path
from typing import Any

LARGEST = 1e30
MOST_PARTS, LONGEST_NAME = 20, 40  # of a score, and characters
shown = reprlib.Repr()  # never the whole of a large value
shown.maxstring = shown.maxother = 60
PRIVATE = 100  # descriptors from here on carry requests and replies: nobody writes to them by mistake


def load(path: Path) -> Any:
    """The file as a module.

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
    return module


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


def scored(score: Any, row: object, answer: str) -> dict[str, object]:
    """What the function returns, as a score from 0 to 1 and its named parts; None if the answer cannot be judged."""
    value = score(row, answer)
    if not isinstance(value, Mapping):
        return {"score": share(value), "parts": {}}
    if not value:
        raise Unusable("score() returned an empty dict")
    if len(value) > MOST_PARTS:
        raise Unusable(f"score() returned {len(value)} parts (at most {MOST_PARTS})")
    for name in value:
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name.strip()) <= LONGEST_NAME:
            raise Unusable(f"score() returned a part that has no short name: {shown.repr(name)}")
    parts = {name: share(one, f" for {shown.repr(name)}") for name, one in value.items()}
    known = {name: one for name, one in parts.items() if one is not None and name != "score"}
    if "score" in parts:
        return {"score": parts["score"], "parts": known}
    return {"score": sum(known.values()) / len(known) if known else None, "parts": known}


def share(value: Any, what: str = "") -> float | None:
    if value is None:
        return None
    if type(value).__name__ in ("bool", "bool_"):  # numpy's own is no bool
        return float(bool(value))
    number: Any = value
    if not isinstance(value, Real) or not 0 <= number <= 1:
        raise Unusable(f"score() returned {shown.repr(value)}{what}, not a number from 0 to 1")
    return float(value)


class Unusable(Exception):
    """What the function returned cannot be used."""


def limit_memory() -> None:
    """Half of the machine: what takes more is refused here, before the system ends somebody else's process."""
    with suppress(OSError, ValueError):  # macOS knows no such limit
        half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (half if most == resource.RLIM_INFINITY else min(half, most), most))


def missing(module: Any, names: list[str]) -> str:
    if "reward" not in names and callable(getattr(module, "reward", None)):
        return "has no function score(row, answer), and reward(row, answer) is for --grpo-reward alone"
    return f"has no function {names[0]}(row, answer)"


def problem(error: BaseException, path: str) -> dict[str, object]:
    """What went wrong, and the last line of the user's file on the way there."""
    if isinstance(error, Unusable):
        return {"error": str(error)}
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
    path, names, worker = Path(sys.argv[1]), sys.argv[2:], os.getpid()
    limit_memory()
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
        module = load(path)
    except BaseException as error:  # noqa: BLE001  the user has to see it, whatever it is
        reply(problem(error, str(path)))
        return
    name = next((name for name in names if callable(getattr(module, name, None))), None)
    reply({} if name else {"error": missing(module, names)})
    function = getattr(module, name or "", None)
    for line in requests:
        try:
            request = json.loads(line)
            content = (scored if name == "score" else called)(function, request["row"], request["answer"])
        except BaseException as error:  # noqa: BLE001
            content = problem(error, str(path))
        reply(content)


if __name__ == "__main__":
    main()
