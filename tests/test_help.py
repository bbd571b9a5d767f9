"""What the scripts say of themselves: help, version, completion, and the page that shows the flags."""

import os
import pty
import re
import select
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import finetune
from finetune.commands import completion
from finetune.errors import UserError
from finetune.tasks import ROW_KINDS
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
    assert "--lora-scale: the scale" in " ".join(said("train", "--help", 60).split())


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


@pytest.fixture(scope="module")
def completed() -> Iterator[Callable[[str], list[str]]]:
    """completed(line): the words of a command line after completion, in an interactive bash with our script."""
    main, terminal = pty.openpty()
    variables = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "dumb", "INPUTRC": "/dev/null"}
    command = ["bash", "--norc", "--noprofile", "-i"]
    shell = subprocess.Popen(
        command, cwd=ROOT, env=variables, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)

    def answer(typed: str) -> str:
        os.write(main, f"{typed}\n".encode())
        said = b""
        while b"<end>" not in said:
            assert select.select([main], [], [], 20)[0], said.decode()
            said += os.read(main, 4096)
        return said.decode()

    def completed(line: str) -> list[str]:
        # escape * is readline's insert-completions; then control-a, and the line becomes the arguments of printf
        said = answer(f"{line}\x1b*\x01printf '<%s>' \x05 end")
        return re.findall(r"<([^<>]*)>", said.splitlines()[-1])[:-1]

    answer('stty columns 500; eval "$(python -m finetune completion bash)"; printf "<%s>" end')
    yield completed
    os.close(main)  # hangs up
    shell.wait(10)


@pytest.mark.parametrize(
    "line, expected",
    [
        ("python train.py --lora-ra", ["--lora-rank"]),
        ("python3 ./train.py --qui", ["--quick-test"]),
        ("python train.py --optimizer ada", ["adamw", "adam", "adafactor"]),
        ("python dataset.py --type ", [*ROW_KINDS]),
        ("python dataset.py --no-", ["--no-check-answers"]),
        ("python test_finetuned.py --show-", ["--show-base"]),
        ("python benchmark.py --quick --hist", ["--history"]),
        ("python train.py --config Make", ["Makefile"]),  # files, by the shell's own completion
        ("python none.py --lora-ra", ["--lora-ra"]),  # no script of ours: nothing to complete
        ("python tra", ["train.py"]),
    ],
)
def test_bash_completes(completed: Callable[[str], list[str]], line: str, expected: list[str]) -> None:
    *before, _ = line.split(" ")
    assert sorted(completed(line)) == sorted([*before, *expected])


def test_an_unknown_shell_is_refused() -> None:
    with pytest.raises(UserError, match="unknown shell 'csh'"):
        completion.script("csh")
    with pytest.raises(UserError, match=r"which shell\? \(choose from bash, zsh\)"):
        completion.script("")


def test_completion_leaves_other_commands_alone() -> None:
    for shell in completion.SHELLS:
        assert "_python_argcomplete_global python python3" in completion.script(shell)
        assert " -D " not in completion.script("bash") and "global -default-\n" not in completion.script("zsh")
