"""What the scripts say of themselves: help, version, completion, and the page that shows the flags."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import finetune
from finetune.commands import completion
from finetune.errors import UserError
from flags_page import PAGE, ROOT, SCRIPTS, page, said


def test_the_page_of_flags_is_what_help_says() -> None:
    assert PAGE.read_text() == page(), "renew it: python tests/flags_page.py"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_fits_and_has_headings(script: str) -> None:
    for columns in (60, 80):
        lines = said(script, "--help", columns).splitlines()
        assert max(map(len, lines)) <= columns
    assert "settings in a file:" in lines and f"python {script}.py" in "\n".join(lines)


def test_names_of_flags_are_not_cut_at_the_end_of_a_line() -> None:
    assert "--lora-scale: the factor" in " ".join(said("train", "--help", 60).split())


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_the_commands_around_the_scripts_fit(columns: int) -> None:
    lines = subprocess.run(
        [sys.executable, "-m", "finetune"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": str(columns)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert max(map(len, lines)) <= columns
    for name in ("doctor", "models", "convert-adapter", "completion"):
        assert any(line.startswith(f"python -m finetune {name}") for line in lines)


@pytest.mark.parametrize("script", SCRIPTS)
def test_version_is_said_once(script: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert said(script, "--version") == f"finetune {project['version']}\n"
    assert finetune.__version__ == project["version"]


@pytest.mark.parametrize(
    "line, expected",
    [
        ("python train.py --lora-ra", ["--lora-rank"]),
        ("./train.py --qui", ["--quick-test"]),
        ("/usr/bin/python3 some/where/train.py --no-rs", ["--no-rslora"]),
        ("python train.py --optimizer ada", ["adamw", "adam", "adafactor"]),
        ("python dataset.py --type ", ["sql", "alpaca", "riscv", "chat", "preference"]),
        ("python test_finetuned.py --show", ["--show-base"]),
        ("python train.py --config ", []),  # files, by the shell's own completion
        ("python train.py --iters ", []),
        ("python other.py --lora-ra", []),
        ("python tra", []),
    ],
)
def test_bash_completes(tmp_path: Path, line: str, expected: list[str]) -> None:
    path = tmp_path / "completion.bash"
    path.write_text(completion.script("bash"))
    words = line.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    asked = (
        f'. {path}; COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _finetune; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "--norc", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected and not done.stderr


def test_an_unknown_shell_is_refused() -> None:
    with pytest.raises(UserError, match="there is no 'csh'"):
        completion.script("csh")
    with pytest.raises(UserError, match=r"which shell\? \(choose from bash, zsh\)"):
        completion.script("")
