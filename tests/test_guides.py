"""The guides can be followed: their commands are run as they stand, with fewer steps and rows."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tickets

ROOT = Path(__file__).parents[1]
GUIDES = ROOT / "docs" / "guides"
FASTER = {
    "train.py": ["--iters", "2"],
    "test_finetuned.py": ["--num-samples", "4", "--no-general"],
    "benchmark.py": ["--num-samples", "2", "--quick"],
}


def commands(guide: Path) -> list[list[str]]:
    """The command lines of the page's blocks, each once."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", guide.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = dict.fromkeys(line for block in blocks for line in block.splitlines() if line.startswith("python "))
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.models
@pytest.mark.scripts
def test_tickets_are_classified(tmp_path: Path) -> None:
    tickets.write(tmp_path / "tickets.csv")
    found = commands(GUIDES / "classify.md")
    assert [script for script, *_ in found] == [
        "dataset.py",
        "train.py",
        "test_finetuned.py",
        "benchmark.py",
        "test_finetuned.py",
    ]
    for script, *arguments in found:
        extra = [] if "--interactive" in arguments else FASTER.get(script, [])
        if "--iters" in extra:
            at = arguments.index("--iters")
            del arguments[at : at + 2]
        command = [sys.executable, str(ROOT / script), *arguments, *extra]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, input="My kettle is broken\n")
        assert done.returncode == 0, f"{script}: {done.stderr}"
        if "--interactive" in arguments:
            assert "- Wrong item" in done.stdout
    assert "Confusion matrix" in (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
