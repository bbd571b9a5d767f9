"""python -m finetune models: real folders, and a cache that the real Hub client has filled from a Hub on loopback."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.models import builtin, cached, conversion
from finetune.models.cached import cached_models
from finetune.records import files
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


def write_conversion(folder: Path, sha256: str, version: int = conversion.VERSION, *, hashed: bool = True) -> Path:
    """A folder as convert_once leaves it, of one small file; not ``hashed`` as an older version left it."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"w" * 1000)
    record = {"from": f"{folder.name.rpartition('-')[0]}.gguf", "sha256": sha256, "version": version}
    record["files"] = {"model.safetensors": 1000}
    if hashed:
        record["hashes"] = {"model.safetensors": hashlib.sha256(b"w" * 1000).hexdigest()}
    (folder / conversion.RECORD).write_text(json.dumps(record))
    return folder


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


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


def test_a_flipped_bit_is_found_and_can_be_removed(converted: Path, run_python: Any) -> None:
    write_conversion(converted / f"older-{'e' * 12}", "e" * 64, hashed=False)
    flip_a_bit(converted / f"mine-{'a' * 12}" / "model.safetensors")
    done = run_python("-m", "finetune", "models", "--verify", "--json", code=1)
    verdicts = {model["name"]: model["verified"] for model in json.loads(done.stdout)["models"]}
    assert verdicts["builtin"] == {"result": "verified", "why": ""}
    assert verdicts[f"mine-{'a' * 12}"] == {"result": "damaged", "why": "model.safetensors"}
    assert verdicts[f"cut-{'c' * 12}"]["result"] == "damaged"
    assert verdicts[f"older-{'e' * 12}"]["result"] == "not verifiable"
    assert (
        verdicts[f"old-{'b' * 12}"]["result"] == verdicts[f"{conversion.WORK_PREFIX}x1"]["result"] == "not verifiable"
    )
    assert f"mine-{'a' * 12}: damaged (run: python -m finetune models --remove mine-" in done.stderr
    for name in (f"mine-{'a' * 12}", f"cut-{'c' * 12}"):
        models(run_python, "--remove", name)
    assert "verified" in models(run_python, "--verify")


def test_a_damaged_model_is_converted_again(tmp_path: Path) -> None:
    said: list[str] = []

    def convert(draft: Path) -> None:
        (draft / "model.safetensors").write_bytes(b"w" * 1000)

    def converted_once() -> Path:
        return conversion.convert_once("new.gguf", "d" * 64, tmp_path / "models", convert, said.append)

    folder = converted_once()
    assert converted_once() == folder and len(said) == 1
    flip_a_bit(folder / "model.safetensors")
    conversion._checked.clear()  # as in another process
    assert converted_once() == folder and "model.safetensors damaged since the conversion" in said[1]
    assert (folder / "model.safetensors").read_bytes() == b"w" * 1000
    assert len(list(folder.parent.iterdir())) == 1


def test_only_what_we_wrote_is_removed(converted: Path, tmp_path: Path, run_python: Any) -> None:
    """Neither a folder of somebody else's, nor what a link leads to, nor notes beside our files."""
    other = tmp_path / "other"
    write_conversion(other / f"far-{'f' * 12}", "f" * 64)
    (converted / f"far-{'f' * 12}").symlink_to(other / f"far-{'f' * 12}")
    (converted / "theirs").mkdir()
    (converted / "theirs" / "notes.md").write_text("mine")
    (converted / f"mine-{'a' * 12}" / "notes.md").write_text("mine")
    (converted / f"{conversion.WORK_PREFIX}x1" / "notes.md").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for name, why in {
        f"far-{'f' * 12}": "a symbolic link, which is not followed (remove the link yourself)",
        "theirs": f"not removed: it has no {conversion.RECORD} of ours (look into it, and remove it yourself)",
        f"mine-{'a' * 12}": "not removed: no conversion wrote the notes.md in it (look into it, and remove it yourself)",
        f"{conversion.WORK_PREFIX}x1": "not removed: no conversion wrote the notes.md in it (look into it, and remove",
    }.items():
        error = models(run_python, "--remove", name, code=2)
        assert why in error and error.count("\n") == 1
    assert sorted(path for path in tmp_path.rglob("*") if "hf" not in path.parts) == before


def test_a_model_in_use_stays(converted: Path, run_python: Any) -> None:
    assert conversion.intact_folder(converted, "mine.gguf", "a" * 64, print)  # in use until this process ends
    error = models(run_python, "--remove", f"mine-{'a' * 12}", code=2)
    assert error == f"error: mine-{'a' * 12}: a script uses it (try again when it has ended)\n"


@pytest.mark.usefixtures("converted", "another_user")
def test_the_cache_of_another_user_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cached, "_scan", lambda: None)
    with pytest.raises(
        UserError, match=r"models: cannot be read: Permission denied \(make it readable, or set FINETUNE"
    ):
        cached_models()
    with pytest.raises(UserError, match=r"cannot be read: Permission denied \(make it readable, or set FINETUNE"):
        conversion.converted_folder(tmp_path / "cache" / "models", "mine.gguf", "a" * 64)
    with pytest.raises(UserError, match=r"cannot be read: Permission denied \(make it readable for this user\)"):
        files.read_json(tmp_path / "cache" / "models" / "run.json", "python train.py")


def test_an_ambiguous_name_is_refused(converted: Path, tmp_path: Path, run_python: Any) -> None:
    (tmp_path / "hf" / "hub" / "models--builtin" / "refs").mkdir(parents=True)
    error = models(run_python, "--remove", "builtin", code=2)
    ours = conversion.folder_of(converted, builtin.FILE, builtin.SHA256)
    theirs = tmp_path / "hf" / "hub" / "models--builtin"
    assert "2 models are called 'builtin'" in error and str(ours) in error and str(theirs) in error
    models(run_python, "--remove", str(theirs))
    assert not theirs.exists() and ours.exists()
    models(run_python, "--remove", "builtin")
    assert not ours.exists()


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
    verdicts = json.loads(run_python("-m", "finetune", "models", "--verify", "--json", code=1).stdout)["models"]
    found = {model["name"]: model["verified"]["result"] for model in verdicts}
    assert found["owner/first"] == found["owner/copy1"] == "verified"
    assert (found["owner/cut"], found["owner/broken"]) == ("not verifiable", "damaged")
    flip_a_bit(next((cache / "models--owner--copy1" / "blobs").iterdir()))
    said = run_python("-m", "finetune", "models", "--verify", code=1).stderr
    assert "owner/copy1: damaged" in said and "owner/first" not in said
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
        "error: unknown command 'model' (choose from init, doctor, models, convert-adapter, export, fuse, completion)\n"
    )
    assert "--remove" in models(run_python, "--help")


def test_without_a_home_folder_it_is_said_what_to_set(run_python: Any, tmp_path: Path) -> None:
    code = "import os, sys\nos.path.expanduser = lambda path: path\ndel os.environ['HF_HOME'], os.environ['FINETUNE_CACHE']\n"
    code += "os.environ.update(pair.split('=') for pair in sys.argv[1:])\nsys.argv[1:] = ['models']\n"
    code += "from finetune.__main__ import main\nmain()"
    refused = run_python("-c", code, code=2).stderr
    assert refused == "error: this user has no home folder (set FINETUNE_CACHE to a folder for models)\n"
    assert "No models" in run_python("-c", code, f"FINETUNE_CACHE={tmp_path / 'cache'}").stdout
