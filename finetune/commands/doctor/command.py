"""Check whether this machine has what the scripts need, and how to fix what is missing.

python -m finetune doctor            one line per check: ok, warn (works, with limits) or fail
python -m finetune doctor --json     the same as JSON
python -m finetune doctor --model X  one model instead: whether MLX reads and computes it as transformers does

The exit code is 1 if a check fails.
"""

import contextlib
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from finetune.commands.doctor import fits, hardware, pytorch, software, sources
from finetune.commands.doctor.finding import Finding, Status
from finetune.errors import UserError, visible
from finetune.settings.fields import option, switch
from finetune.terminal import results, show, show_json

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
_COLOURS: dict[Status, str] = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True)
class Config:
    json: bool = switch("print JSON: a list of {name, status, found, remedy, details}")
    model: str | None = option(
        None, "check this model instead of the machine: a folder, a Hub name, builtin or a .gguf file"
    )
    mlx_lm_copy: Path | None = option(
        None, "with --model: write a folder of links to the model, with a config.json that mlx-lm reads as we do"
    )


def main(config: Config) -> None:
    findings = []
    if config.mlx_lm_copy and not config.model:
        raise UserError("--mlx-lm-copy: needs --model")
    for finding in _of_model(config.model, config.mlx_lm_copy) if config.model else examine():
        findings.append(finding)
        if not config.json:
            _show(finding)
    if config.json:
        show_json([_as_record(finding) for finding in findings], indent=2)
    else:
        counts = Counter(finding.status for finding in findings)
        show(", ".join(f"{counts[status]} {status}" for status in _COLOURS))
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


def _of_model(name: str, copy: Path | None) -> Iterator[Finding]:
    from finetune.commands.doctor import model

    yield from model.examine(name, copy)


def _as_record(finding: Finding) -> dict[str, object]:
    record = asdict(finding)
    return record | {"found": "\n".join([finding.found, *record.pop("more")])}


def _show(finding: Finding) -> None:
    width = max(40, shutil.get_terminal_size((100, 24)).columns)
    indent = " " * (len("fail  ") + _NAME_WIDTH + 2)
    lines = [
        line
        for part in (finding.found, *finding.more, f"-> {finding.remedy}" if finding.remedy else "")
        if part
        for line in textwrap.wrap(part, width - len(indent), break_long_words=False, break_on_hyphens=False) or [""]
    ]
    head = f"{finding.status:<6}{finding.name:<{_NAME_WIDTH}}  {lines[0]}"
    try:
        from rich.text import Text

        text = Text(visible(head))
        text.stylize(_COLOURS[finding.status], 0, len(finding.status))
        results().print(text, soft_wrap=True)
    except ImportError:  # it can itself be missing
        show(head)
    show(*(indent + line for line in lines[1:]))
