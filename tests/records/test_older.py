"""Files that an older version wrote, before records were typed, still open, resume, are judged and stand in the history.

``older/`` holds them, made with the model of ``tiny_model``; ``{folder}`` and ``{model}`` stand for the places of then.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.backends.mlx.runtime import mx
from finetune.models.fingerprint import fingerprint
from finetune.records.run import read_run
from scripts import run


@pytest.fixture
def older(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "older"
    shutil.copytree(Path(__file__).parent / "older", folder)
    for path in folder.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        if path.name != "state.json":  # it vouches for its own content
            path.write_text(text.replace("{folder}", str(folder)).replace("{model}", str(tiny_model)), encoding="utf-8")
    if read_run(folder / "finished").model.fingerprint != fingerprint(tiny_model):
        pytest.skip("the random weights of the model are not those of then")
    return folder


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def of_another_version(record: dict[str, Any]) -> None:
    """As a version wrote it that lacked one flag and had another."""
    del record["config"]["dpo_sft_weight"], record["origins"]["dpo_sft_weight"]
    record["config"]["gone_flag"] = record["origins"]["gone_flag"] = "x"


@pytest.mark.parametrize("change", [lambda record: None, of_another_version])
def test_stopped_run_resumes_to_the_adapters_of_the_one_that_was_not(
    older: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    changed(older / "stopped", change)
    done = run(older, "train.py", "--resume", "--adapter-path", "stopped")
    assert ("are ignored: --gone-flag" in done.stderr) == (change is of_another_version)
    then, now = (mx.load(str(older / name / "adapters.safetensors")) for name in ("finished", "stopped"))
    assert then.keys() == now.keys()
    assert all(mx.abs(then[name] - now[name]).max().item() < 1e-5 for name in then)
    record = read_run(older / "stopped")
    assert record.result and record.result.steps == 12 and record.model == read_run(older / "finished").model


def test_a_setting_that_changed_still_refuses_to_resume(older: Path) -> None:
    done = run(older, "train.py", "--resume", "--adapter-path", "stopped", "--seed", 7, code=3)
    assert "--seed" in done.stderr and "--dpo" not in done.stderr and "None" not in done.stderr


def test_runs_are_compared(older: Path) -> None:
    flags = ["--adapter-path", "stopped", "--against", "finished", "--max-tokens", 4, "--no-general"]
    assert "Verdict" in run(older, "test_finetuned.py", *flags).stdout


def test_benchmark_stands_in_the_history(older: Path) -> None:
    changed(older / "finished", of_another_version)
    flags = ["--adapter-path", "finished", "--compare", "--quick", "--history", "--max-tokens", 4]
    run(older, "benchmark.py", *flags)
    record = json.loads((older / "results" / "benchmark.json").read_text(encoding="utf-8"))
    assert len(record["history"]["made"]) == 2 and not record["history"]["left_out"]
