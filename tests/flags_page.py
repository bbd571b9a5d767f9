"""docs/flags.md, the help of the four scripts as a page; renewed by python tests/flags_page.py, compared by test_help.py."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "flags.md"
SCRIPTS = ("dataset", "train", "test_finetuned", "benchmark")


def said(script: str, flag: str, columns: int = 100) -> str:
    """What a script prints on a terminal of so many columns."""
    command = [sys.executable, f"{script}.py", flag]
    variables = os.environ | {"COLUMNS": str(columns)}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True).stdout


def page() -> str:
    parts = [
        "# The flags of the four scripts\n\n"
        "The output of `--help`. A `--config` file takes the same names, with - or _ (except for flags\n"
        "that say what to do with the settings, such as `--resume` and `--dry-run`). Every switch also\n"
        "has a `--no-` form, which overrides a file; the help shows it only if the switch is on by default.\n"
    ]
    parts += [f"## {script}.py\n\n```\n{said(script, '--help')}```\n" for script in SCRIPTS]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
