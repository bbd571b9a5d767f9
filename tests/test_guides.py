"""The guides can be followed: their commands are run as they stand, with fewer steps and rows."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tickets
from finetune.records.evaluation import EvaluationRecord

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


TINY = {
    "train.py": "--iters 2 --batch-size 1 --steps-per-eval 2 --warmup 0",
    "test_finetuned.py": "--num-samples 2 --max-tokens 8 --no-general",
}
QUESTIONS = [
    (f"How many orders has customer {i}?", f"SELECT COUNT(*) FROM orders WHERE customer = {i}") for i in range(60)
]
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}  # fmt: skip  # noqa: E501


def _call(city: str) -> dict[str, object]:
    function = {"name": "get_weather", "arguments": json.dumps({"city": city})}
    answer = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }
    return {"tools": [TOOL], "messages": [{"role": "user", "content": f"Rain in {city}?"}, answer]}


def _said(question: str) -> dict[str, object]:
    return {"prompt": question, "completion": f"You asked: {question}"}


def _files(folder: Path) -> None:
    """What the guides call your rows."""
    tickets.write(folder / "tickets.csv")
    (folder / "shop.sql").write_text("CREATE TABLE orders (id integer, customer integer, placed date DEFAULT now());")
    lines = ["question,query", *(f"{question},{query}" for question, query in QUESTIONS)]
    (folder / "questions.csv").write_text("\n".join(lines))
    calls = [_call(f"city {i}") for i in range(60)]
    (folder / "calls.jsonl").write_text("\n".join(map(json.dumps, calls)))
    for name in ("new", "old"):
        rows = [_said(f"a question of {name} number {i}") for i in range(60)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.models
@pytest.mark.scripts
@pytest.mark.parametrize("guide", ["draft-replies", "text-to-sql", "call-tools", "continue-a-run"])
def test_the_commands_of_a_guide_run(guide: str, tiny_model: Path, tmp_path: Path) -> None:
    _files(tmp_path)
    found = commands(GUIDES / f"{guide}.md")
    if guide == "continue-a-run":  # of a run that there is
        found = [["dataset.py", "--type", "chat", "--dataset-name", "old.jsonl"], ["train.py"], *found]
    for script, *arguments in found:
        if "--blind" in arguments:  # needs a person
            continue
        extra = TINY.get(script, "").split()
        if {"--interactive", "--resume"} & {*arguments}:
            extra = []
        elif script == "train.py" and "--from-adapter" not in arguments:
            extra += ["--model", str(tiny_model)]
        if "--iters" in arguments:
            del arguments[(at := arguments.index("--iters")) : at + 2]
        arguments = [one for one in arguments if one != "--conservative"]
        command = [sys.executable, str(ROOT / script), *arguments, *extra]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, input="Hello\n")
        assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"
    assert (tmp_path / "results" / "evaluation.json").exists() or (tmp_path / "results_new").is_dir()
    if guide == "draft-replies":
        assert EvaluationRecord.read(tmp_path / "results" / "evaluation.json").drafts
