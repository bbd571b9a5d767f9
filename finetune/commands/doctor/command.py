"""Check whether this machine has what the scripts need, and how to fix what is missing.

python -m finetune doctor            one line per check: ok, warn (works, with limits) or fail
python -m finetune doctor --json     the same as JSON

The exit code is 1 if a check fails.
"""

import contextlib
import json
import os
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from finetune.commands.doctor import fits, hardware, pytorch, software, sources
from finetune.commands.doctor.finding import Finding, Status
from finetune.errors import UserError, visible
from finetune.settings.fields import switch

CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "variables": sources.variables,  # first: many libraries read them when they are imported
    "python": software.python,
    "packages": software.packages,
    "mlx": hardware.mlx,
    "torch": pytorch.torch,
    "backend": hardware.backend,
    "memory": hardware.memory,
    "fits": fits.fits,
    "disk": hardware.disk,
    "hub": sources.hub_access,
    "caches": sources.caches,
    "builtin model": sources.builtin_model,
    "assembler": software.assembler,
    "terminal": software.terminal,
}
_NAME_WIDTH = max(len(name) for name in CHECKS)
_COLOURS: dict[Status, str] = {"ok": "32", "warn": "33", "fail": "31"}


@dataclass(frozen=True)
class Config:
    json: bool = switch("print JSON: a list of {name, status, found, remedy, details}")


def main(config: Config) -> None:
    findings = []
    for finding in examine():
        findings.append(finding)
        if not config.json:
            _show(finding)
    if config.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        counts = Counter(finding.status for finding in findings)
        print(", ".join(f"{counts[status]} {status}" for status in _COLOURS))
    sys.stdout.flush()
    if any(finding.status == "fail" for finding in findings):
        sys.exit(1)


def examine() -> Iterator[Finding]:
    """The findings of all checks, one by one. A check that cannot run has failed."""
    for name, check in CHECKS.items():
        findings = []
        try:
            with contextlib.redirect_stdout(sys.stderr):  # where a library may complain about a variable
                for finding in check():
                    findings.append(finding)
        except ImportError as error:
            findings.append(Finding(name, "fail", f"a package is missing or broken: {error}", "make setup"))
        except UserError as error:
            found, _, remedy = str(error).partition(" (")
            findings.append(Finding(name, "fail", found, remedy.removesuffix(")") or "fix this"))
        except OSError as error:
            remedy = "check that file or device"
            findings.append(Finding(name, "fail", f"cannot be checked: {error}", remedy))
        yield from findings


def _show(finding: Finding) -> None:
    """Written without rich, which can itself be missing."""
    width = max(40, shutil.get_terminal_size((100, 24)).columns)
    indent = " " * (len("fail  ") + _NAME_WIDTH + 2)
    text = finding.found + (f"\n-> {finding.remedy}" if finding.remedy else "")
    lines = [
        line
        for part in visible(text).splitlines()
        for line in textwrap.wrap(part, width - len(indent), break_long_words=False, break_on_hyphens=False) or [""]
    ]
    mark: str = finding.status
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        mark = f"\033[{_COLOURS[finding.status]}m{mark}\033[0m"
    padding = " " * (len("fail  ") - len(finding.status))
    print(f"{mark}{padding}{finding.name:<{_NAME_WIDTH}}  {lines[0]}", flush=True)
    for line in lines[1:]:
        print(indent + line, flush=True)
