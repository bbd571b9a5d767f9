"""Python, the packages, and what else may be installed."""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from finetune.doctor.finding import Finding

REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"
_SHOWN = 6  # packages that are named


def python() -> Iterator[Finding]:
    kind = "in a virtual environment" if sys.prefix != sys.base_prefix else "not in a virtual environment"
    yield Finding("python", "ok", f"{platform.python_version()}, {kind}: {sys.executable}")


def packages() -> Iterator[Finding]:
    """Compares what is installed with what requirements.txt pins for this system and Python."""
    from packaging.requirements import Requirement

    if not REQUIREMENTS.is_file():
        remedy = "take the whole repository to have the versions that it was tested with"
        yield Finding("packages", "warn", "no requirements.txt beside the package: versions are not compared", remedy)
        return
    lines = (line.rstrip("\\ ") for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    pins = [Requirement(line) for line in lines if line and line[0] not in " #-"]
    pins = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    missing, different = [], []
    for pin in pins:
        try:
            installed = version(pin.name)
        except PackageNotFoundError:
            missing.append(f"{pin.name} is missing")
            continue
        if installed not in pin.specifier:
            different.append(f"{pin.name} {installed} instead of {str(pin.specifier).removeprefix('==')}")
    wrong = [*missing, *different]
    if not wrong:
        yield Finding("packages", "ok", f"all {len(pins)} as in requirements.txt")
        return
    more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    found = f"{len(wrong)} of {len(pins)} not as in requirements.txt: {', '.join(wrong[:_SHOWN])}{more}"
    yield Finding("packages", "fail" if missing else "warn", found, "make setup")


def assembler() -> Iterator[Finding]:
    from finetune.tasks import assembler

    command = assembler.find()
    found = f"{command[0]}" if command else "none (not needed): riscv answers are not checked for syntax"
    yield Finding("assembler", "ok", found)


def torch() -> Iterator[Finding]:
    """Only looked at where it is installed: importing it takes a while."""
    if find_spec("torch") is None:
        yield Finding("torch", "ok", "not installed (not needed)")
        return
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", "warn", f"installed, but cannot be imported: {error}", "install it again, or remove it")
        return
    devices = {"CUDA": torch.cuda.is_available(), "MPS": torch.backends.mps.is_available()}
    found = ", ".join(name for name, is_there in devices.items() if is_there) or "CPU only"
    yield Finding("torch", "ok", f"{torch.__version__}, {found}")


def terminal() -> Iterator[Finding]:
    encoding = getattr(sys.__stdout__, "encoding", None) or "none"
    if encoding.lower().replace("-", "") != "utf8":
        found = f"standard output is {encoding}: other characters are shown as ?"
        yield Finding("terminal", "warn", found, "set LANG=C.UTF-8 and leave PYTHONIOENCODING unset")
