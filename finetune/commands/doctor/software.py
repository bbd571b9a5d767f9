"""Python, the packages, and optional programs."""

import platform
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from finetune.commands.doctor.finding import Finding

REQUIREMENTS = Path(__file__).parents[3] / "requirements.txt"
_SHOWN = 6  # packages that are named


def python() -> Iterator[Finding]:
    kind = "in a virtual environment" if sys.prefix != sys.base_prefix else "not in a virtual environment"
    yield Finding("python", "ok", f"{platform.python_version()}, {kind}: {sys.executable}")
    if sys.platform == "darwin" and _has_unlimited_sqlite():
        found = "the SQLite of this Python counts no memory (DEFAULT_MEMSTATUS=0): SQL that a model writes has no memory limit"
        yield Finding("sqlite", "warn", found, "use a Python of Homebrew, python.org or uv, then make setup")


def _has_unlimited_sqlite() -> bool:
    """Whether SQLite's own limit of memory, the only one that macOS has for its process, has no effect: as Apple builds it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return ("DEFAULT_MEMSTATUS=0",) in connection.execute("PRAGMA compile_options").fetchall()


@dataclass(frozen=True)
class Comparison:
    """What is installed, beside the pins of a file."""

    pins: int  # for this system and Python
    missing: list[str]
    different: list[str]

    @property
    def said(self) -> str:
        """The first packages that differ; empty if none does."""
        wrong = [*(f"{name} is missing" for name in self.missing), *self.different]
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        return ", ".join(wrong[:_SHOWN]) + more


def compared(requirements: Path) -> Comparison:
    """Installed versions beside those that a requirements file pins, markers observed; ``# torch==1.0`` is a pin too.

    A build's own label counts for nothing: 1.0+cpu is 1.0. OSError where there is no such file.
    """
    from packaging.requirements import Requirement

    lines = [line.rstrip("\\ ") for line in requirements.read_text(encoding="utf-8").splitlines()]
    lines = [line.removeprefix("# ") if line.startswith("# torch==") else line for line in lines]
    pins = [Requirement(line) for line in lines if line and line[0] not in " #-"]
    pins = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    missing, different = [], []
    for pin in pins:
        try:
            installed = version(pin.name)
        except PackageNotFoundError:
            missing.append(pin.name)
            continue
        if installed not in pin.specifier:
            different.append(f"{pin.name} {installed} instead of {str(pin.specifier).removeprefix('==')}")
    return Comparison(len(pins), missing, different)


def packages() -> Iterator[Finding]:
    """Compares what is installed with what requirements.txt pins for this system and Python."""
    if not REQUIREMENTS.is_file():
        remedy = "use a checkout of the whole repository to get the tested versions"
        yield Finding("packages", "warn", "no requirements.txt beside the package: versions cannot be compared", remedy)
        return
    found = compared(REQUIREMENTS)
    if not found.said:
        yield Finding("packages", "ok", f"all {found.pins} packages match requirements.txt")
        return
    wrong = len(found.missing) + len(found.different)
    said = f"{wrong} of {found.pins} packages differ from requirements.txt: {found.said}"
    yield Finding("packages", "fail" if found.missing else "warn", said, "make setup")


def assembler() -> Iterator[Finding]:
    from finetune.tasks.riscv import assembler

    command = assembler.find()
    found = f"{command[0]}" if command else "none (optional): riscv answers are not checked for syntax"
    yield Finding("assembler", "ok", found)


def terminal() -> Iterator[Finding]:
    encoding = getattr(sys.__stdout__, "encoding", None) or "none"
    if encoding.lower().replace("-", "") != "utf8":
        found = f"the encoding of standard output is {encoding}: other characters are shown as ?"
        locale = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"  # a Mac has no C.UTF-8
        yield Finding("terminal", "warn", found, f"set LANG={locale} and unset PYTHONIOENCODING")
