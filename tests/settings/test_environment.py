"""What .env may add to the environment, and values that a library would not survive."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import UserError, without_secrets
from finetune.settings import environment

NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "FINETUNE_CACHE", "HF_ENDPOINT", "HF_HOME")


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and an environment that is as before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in NAMES:
        os.environ.pop(name, None)
    environment._noted.clear()


def test_only_a_token_and_our_cache_come_from_the_file(capsys: Any) -> None:
    taken = {"HF_TOKEN": "hf_abc", "FINETUNE_CACHE": "/somewhere"}
    others = {"HF_ENDPOINT": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "FINETUNE_BLAS": "/evil.so"}
    silent = {"PATH": "/evil", "LD_PRELOAD": "/evil.so", "PYTHONPATH": "/evil", "MY_OWN": "1", "A": "${HOME}" * 9}
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in {**silent, **others, **taken}.items()))
    before = dict(os.environ)
    environment.load()
    environment.load()
    assert {name: value for name, value in os.environ.items() if before.get(name) != value} == taken
    note = "Note: HF_ENDPOINT, https_proxy, FINETUNE_BLAS in .env are not used (set it in the shell)\n"
    assert capsys.readouterr().err == note

    os.environ["HF_TOKEN"] = "hf_of_the_shell"
    environment.load()
    assert os.environ["HF_TOKEN"] == "hf_of_the_shell"


@pytest.mark.parametrize("name", ["HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"])
def test_a_token_has_three_names(name: str) -> None:
    Path(".env").write_text(f"HF_TOKEN=\nexport {name}='hf_$HOME'\n", encoding="utf-8-sig")
    environment.load()
    assert os.environ["HF_TOKEN"] == "hf_$HOME"  # nothing else of the environment goes into a token


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda path: path.write_bytes("HF_TOKEN=é".encode("latin-1")), "not UTF-8 text"),
        (lambda path: path.write_text("HF_TOKEN=a", encoding="utf-16"), "it contains a NUL character"),
        (lambda path: path.write_bytes(b"HF_TOKEN=a\0b"), "it contains a NUL character"),
        (lambda path: path.write_bytes(b"#" * 100_000_000), "it is larger than 64 kB"),
        (os.mkfifo, "not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a file"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(make: Callable[[Path], object], words: str) -> None:
    make(Path(".env").absolute())
    with pytest.raises(UserError, match=rf"^\.env: ({words}).* \(.+\)$"):
        environment.load()


def test_a_folder_of_that_name_is_none_of_ours() -> None:
    Path(".env").mkdir()  # many virtual environments have this name
    environment.load()


@pytest.mark.parametrize(
    "variable",
    [
        "HF_ENDPOINT=http://[::1",
        "HF_ENDPOINT=http://host:99999",
        "HF_ENDPOINT=http://host:0",
        "HF_ENDPOINT=http://u:s3cret@ho\x1bst",
        "HF_ENDPOINT=huggingface.co",
        "HF_ENDPOINT=ftp://host",
        "HF_ENDPOINT=http://a..b",
        "HF_ENDPOINT=https://",
        "HF_ENDPOINT=http://host/?a=b",
        "HF_ENDPOINT=http://u:s3cret/@host",
        "HF_ENDPOINT=http://host name",
        "HF_ENDPOINT=http://host\udcff",
        "HF_HUB_DOWNLOAD_TIMEOUT=abc",
        "HF_HUB_DOWNLOAD_TIMEOUT=",
        "HF_HUB_ETAG_TIMEOUT=1.5",
        "HF_HUB_ETAG_TIMEOUT=-5",
        "HF_HUB_DOWNLOAD_TIMEOUT=" + "9" * 5000,
        "HF_DATASETS_IN_MEMORY_MAX_SIZE=abc",
        "MLX_RANK=abc",
        "MLX_BFS_MAX_WIDTH=0",
        "WORLD_SIZE=1e3",
        "FINETUNE_DEVICE=cuda",
        "FINETUNE_DEVICE=CPU",
        "FINETUNE_PRECISION=float32",
    ],
)
def test_a_value_that_a_library_would_not_survive_is_one_line(variable: str) -> None:
    name, _, os.environ[name] = variable.partition("=")
    with pytest.raises(UserError, match=rf"^{name}: not .* \(.*unset it\)$") as refused:
        environment.load()
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "variable",
    [
        "HF_ENDPOINT=",
        "HF_ENDPOINT=https://u:p@mirror.example:8443/artifactory/api/hf/",
        "HF_ENDPOINT=http://[::1]:80",
        "HF_HUB_DOWNLOAD_TIMEOUT=60",
        "HF_HUB_ETAG_TIMEOUT=0",
        "FINETUNE_DEVICE=",
        "FINETUNE_DEVICE=gpu",
    ],
)
def test_a_value_that_works_is_left_alone(variable: str) -> None:
    name, _, value = variable.partition("=")
    os.environ[name] = value
    environment.load()
    assert os.environ.get(name, "") == value


def test_without_a_home_folder_the_hubs_cache_is_in_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    environment.load()
    assert "HF_HOME" not in os.environ
    os.environ["FINETUNE_CACHE"] = "cache"
    environment.load()
    assert os.environ["HF_HOME"] == str(tmp_path / "cache" / "huggingface")


@pytest.mark.parametrize(
    "text, clean",
    [
        ("GET http://user:s3cret@host/a", "GET http://host/a"),
        ("'https://s3cret@host', //u:p@ss@host", "'https://host', //host"),
        ("http:/user:s3cret@host/x.csv: no such file", "http:/host/x.csv: no such file"),
        ("hf://datasets/owner/name@0123/a@b", "hf://datasets/owner/name@0123/a@b"),
        ("token hf_abcdefghijklmnopqrstuvwxyz0123456789!", "token hf_...!"),
        ("hf_dataset.json of hf_of_the_shell", "hf_dataset.json of hf_..."),
    ],
)
def test_passwords_and_tokens_are_taken_out_of_errors(text: str, clean: str) -> None:
    os.environ["HF_TOKEN"] = "hf_of_the_shell"
    assert without_secrets(text) == str(UserError(text)) == clean
