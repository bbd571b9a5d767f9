"""python -m finetune models: real folders, and a cache that the real Hub client has filled from a Hub on loopback."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.models import builtin, cached, conversion
from finetune.models.cached import cached_models
from loopback_hub import LoopbackHub

FETCH = "import sys; from finetune.models.hub import download_snapshot; download_snapshot(sys.argv[1], 'model')"


def models(run_python: Any, *arguments: str, code: int = 0) -> str:
    """What the command prints, on stderr if it is to fail."""
    done = run_python("-m", "finetune", "models", *arguments, code=code)
    return done.stderr if code else done.stdout


def listed(run_python: Any) -> dict[str, tuple[str, str]]:
    return {
        model["name"]: (model["where"], model["problem"])
        for model in json.loads(models(run_python, "--json"))["models"]
    }


def write_conversion(folder: Path, sha256: str, version: int = conversion.VERSION) -> Path:
    """A folder as convert_once leaves it, of one small file."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"w" * 1000)
    record = {"from": f"{folder.name.rpartition('-')[0]}.gguf", "sha256": sha256, "version": version}
    (folder / conversion.RECORD).write_text(json.dumps({**record, "files": {"model.safetensors": 1000}}))
    return folder


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """The folder with conversions: the builtin model, one that is whole, three that are not."""
    folder = tmp_path / "cache" / "models"
    write_conversion(conversion.folder_of(folder, builtin.FILE, builtin.SHA256), builtin.SHA256)
    write_conversion(folder / f"mine-{'a' * 12}", "a" * 64)
    write_conversion(folder / f"old-{'b' * 12}", "b" * 64, version=conversion.VERSION - 1)
    (write_conversion(folder / f"cut-{'c' * 12}", "c" * 64) / "model.safetensors").write_bytes(b"w" * 999)
    (folder / f"{conversion.WORK_PREFIX}x1" / "model").mkdir(parents=True)
    (folder / f"{conversion.WORK_PREFIX}x1" / "model" / "model.safetensors").write_bytes(b"w" * 500)
    return folder


def test_conversions_are_listed_with_what_is_wrong(converted: Path, run_python: Any) -> None:
    assert listed(run_python) == {
        "builtin": ("builtin", ""),
        f"mine-{'a' * 12}": ("converted", ""),
        f"old-{'b' * 12}": ("converted", "converted by another version"),
        f"cut-{'c' * 12}": ("converted", "damaged"),
        f"{conversion.WORK_PREFIX}x1": ("leftover", "leftover of a killed conversion"),
    }
    record = json.loads(models(run_python, "--json"))
    assert record["size"] == sum(model["size"] for model in record["models"]) > 4499
    table = models(run_python)
    assert "builtin" in table and builtin.SHA256[:8] in table and "today" in table and "Total" in table
    assert max(len(line) for line in table.splitlines()) <= 80


def test_a_removed_model_is_gone_and_the_others_are_not(converted: Path, run_python: Any) -> None:
    assert "freed" in models(run_python, "--remove", f"mine-{'a' * 12}")
    assert json.loads(models(run_python, "--remove", f"{conversion.WORK_PREFIX}x1", "--json"))["freed"] == 500
    assert sorted(listed(run_python)) == sorted(["builtin", f"old-{'b' * 12}", f"cut-{'c' * 12}"])
    assert len(list(converted.iterdir())) == 3


def test_an_unknown_name_is_refused_with_the_nearest(converted: Path, run_python: Any) -> None:
    before = sorted(converted.rglob("*"))
    error = models(run_python, "--remove", "built-in", code=2)
    assert error == "error: --remove: no model 'built-in' in the caches (did you mean builtin?)\n"
    assert "lists the names" in models(run_python, "--remove", "/", code=2)
    assert "lists the names" in models(run_python, "--remove", "..", code=2)
    assert sorted(converted.rglob("*")) == before


def test_what_is_being_converted_stays(converted: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cached, "_scan", lambda: None)
    seen = []

    def convert(draft: Path) -> None:
        [model] = [m for m in cached_models() if m.where == "leftover" and m.problem == cached.IN_PROGRESS]
        with pytest.raises(UserError, match="a conversion is in progress"):
            cached.remove(model)
        seen.append(model.name)
        (draft / "model.safetensors").write_bytes(b"w")

    folder = conversion.convert_once("new.gguf", "d" * 64, converted, convert, print)
    assert seen and folder.is_dir()
    assert not (converted / seen[0]).exists()


def test_models_of_the_hub(tmp_path: Path, run_python: Any) -> None:
    """Copies of a repository have its revision: only the one that is named goes."""
    (tmp_path / "hub" / "owner/first").mkdir(parents=True)
    (tmp_path / "hub" / "owner/first" / "model.safetensors").write_bytes(b"w" * 2000)
    with LoopbackHub(tmp_path / "hub") as hub:
        run_python("-c", FETCH, "owner/first", HF_ENDPOINT=hub.url)
    cache = tmp_path / "hf" / "hub"
    revision = next((cache / "models--owner--first" / "snapshots").iterdir()).name
    copies = [f"owner/copy{number}" for number in range(6)]
    for name in copies:
        shutil.copytree(cache / "models--owner--first", cache / f"models--{name.replace('/', '--')}", symlinks=True)
    (cache / "models--owner--cut" / "blobs").mkdir(parents=True)
    (cache / "models--owner--cut" / "blobs" / "0.incomplete").write_bytes(b"w" * 300)
    (cache / "models--owner--broken" / "refs").mkdir(parents=True)

    assert listed(run_python) == {
        "owner/first": ("hub", ""),
        **dict.fromkeys(copies, ("hub", "")),
        "owner/cut": ("hub", "incomplete download"),
        "owner/broken": ("hub", "damaged"),
    }
    assert revision[:8] in models(run_python)
    assert json.loads(models(run_python, "--remove", "owner/first", "--json")) == {
        "removed": "owner/first",
        "freed": 2000,
    }
    models(run_python, "--remove", "owner/cut")
    models(run_python, "--remove", "owner/broken")
    assert list(listed(run_python)) == copies


def test_empty_caches_and_commands_that_are_not(run_python: Any) -> None:
    assert models(run_python) == "No models in the caches.\n"
    assert run_python("-m", "finetune", "model", code=2).stderr == (
        "error: unknown command 'model' (choose from doctor, models, convert-adapter, completion)\n"
    )
    assert "--remove" in models(run_python, "--help")


def test_without_a_home_folder_it_is_said_what_to_set(run_python: Any, tmp_path: Path) -> None:
    code = "import os, sys\nos.path.expanduser = lambda path: path\ndel os.environ['HF_HOME'], os.environ['FINETUNE_CACHE']\n"
    code += "os.environ.update(pair.split('=') for pair in sys.argv[1:])\nsys.argv[1:] = ['models']\n"
    code += "from finetune.__main__ import main\nmain()"
    refused = run_python("-c", code, code=2).stderr
    assert refused == "error: this user has no home folder (set FINETUNE_CACHE to a folder for models)\n"
    assert "No models" in run_python("-c", code, f"FINETUNE_CACHE={tmp_path / 'cache'}").stdout
