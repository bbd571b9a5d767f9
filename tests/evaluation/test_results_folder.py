"""The folder of the results: apart from what was judged, and without somebody else's files in the place of ours."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.evaluation.tuned_run import check_results
from finetune.records.benchmark import BenchmarkRecord

OLDER = Path(__file__).parents[1] / "records" / "older" / "results"
NAMES = ("benchmark.json", "benchmark.csv", "report.html")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("data", "checkpoints", "results"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return SimpleNamespace(adapter_path=Path("checkpoints"))


@pytest.mark.parametrize("folder", ["checkpoints", "data", ".", "checkpoints/results", "data/../data/x", "cache"])
def test_results_are_apart(run: Any, folder: str) -> None:
    with pytest.raises(UserError, match=r"--results-dir: .*use a folder of its own"):
        check_results(Path(folder), run, Path("data"), BenchmarkRecord, NAMES, "answers.jsonl")


@pytest.mark.parametrize("name", ["report.html", "benchmark.csv"])
def test_a_report_of_somebody_else_is_not_replaced(run: Any, name: str) -> None:
    (Path("results") / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name}: no benchmark"):
        check_results(Path("results"), run, Path("data"), BenchmarkRecord, NAMES, "answers.jsonl")
    shutil.copy(OLDER / "benchmark.json", "results")  # of an earlier benchmark, which goes into the history
    check_results(Path("results"), run, Path("data"), BenchmarkRecord, NAMES, "answers.jsonl")


@pytest.mark.parametrize("text", ['{"question": "mine"}\n', "[1]\n", "mine", b"\xff"])
@pytest.mark.parametrize("name", ["answers.jsonl", "previous_answers.jsonl"])
def test_answers_of_somebody_else_are_neither_moved_nor_replaced(run: Any, name: str, text: str | bytes) -> None:
    Path("results", name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=f"{name}: not the answers of an evaluation.*another --results-dir"):
        check_results(Path("results"), run, Path("data"), BenchmarkRecord, NAMES, "answers.jsonl")


@pytest.mark.parametrize("name", [*NAMES, "answers.jsonl"])
def test_nothing_is_written_through_a_link(run: Any, name: str) -> None:
    Path("results", name).symlink_to("nowhere")
    with pytest.raises(UserError, match="a symbolic link"):
        check_results(Path("results"), run, Path("data"), BenchmarkRecord, NAMES, "answers.jsonl")


@pytest.mark.parametrize("text", ['{"format": 99}', "{}", "not JSON", "[]", ""])
def test_a_record_that_cannot_be_read_is_not_replaced(run: Any, text: str) -> None:
    """As one of a newer version, or of another program, with its own report beside it."""
    Path("results/benchmark.json").write_text(text)
    Path("results/report.html").write_text("mine")
    with pytest.raises(UserError, match=r"will not be replaced .*another --results-dir") as refused:
        check_results(Path("results"), run, Path("data"), BenchmarkRecord, NAMES, "answers.jsonl")
    assert "run again" not in str(refused.value)
