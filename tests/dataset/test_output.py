"""The folder of the rows: dataset.py replaces what dataset.py wrote, and no other file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.errors import UserError
from finetune.records import dataset as records
from finetune.records import files, lock
from finetune.records.dataset import DatasetRecord, Source, check_output, write_dataset

RECORD = DatasetRecord(type="chat", source=Source("mine.jsonl"), files={})
NAMES = ("train.jsonl", "valid.jsonl", "test.jsonl")
KILLED = """
import os, sys
from pathlib import Path
from finetune.records import files
from finetune.records.dataset import DatasetRecord, Source, write_dataset
left = int(sys.argv[2])
def dying(path, target, replace=Path.replace):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    return replace(path, target)
Path.replace = dying
rows = {split: [{"prompt": f"new {split}"}] for split in files.SPLITS}
write_dataset(Path(sys.argv[1]), rows, [], DatasetRecord(type="chat", source=Source("x"), files={}))
"""


def write(folder: Path, word: str, rejected: list[files.Row] | None = None) -> DatasetRecord:
    rows = {split: [{"prompt": f"{word} {split}"}] for split in files.SPLITS}
    return write_dataset(folder, rows, rejected or [], RECORD)


def test_rows_of_an_earlier_dataset_py_are_replaced(tmp_path: Path) -> None:
    write(tmp_path, "first", [{"line": 1}])
    (tmp_path / "notes.md").write_text("mine")
    record = write(tmp_path, "second")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*NAMES, "dataset.json", "notes.md"])
    assert {name: files.file_hash(tmp_path / name) for name in NAMES} == record.files


@pytest.mark.parametrize("name", [*NAMES, "rejected.jsonl", "dataset.json"])
def test_rows_of_somebody_else_are_not_replaced(tmp_path: Path, name: str) -> None:
    """As those of mlx-lm, whose folder is called data too."""
    (tmp_path / name).write_text('{"text": "mine"}\n')
    with pytest.raises(UserError, match=f"{name}: not written by dataset"):
        write(tmp_path, "new")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"text": "mine"}\n'


def test_rejected_rows_of_somebody_else_are_not_removed(tmp_path: Path) -> None:
    """Beside rows of ours, of which none was rejected."""
    write(tmp_path, "first")
    (tmp_path / "rejected.jsonl").write_text('{"mine": 1}\n')
    with pytest.raises(UserError, match=r"rejected\.jsonl: changed since"):
        write(tmp_path, "second")
    assert (tmp_path / "rejected.jsonl").read_text() == '{"mine": 1}\n'


def test_rejected_rows_of_an_older_version_are_replaced(tmp_path: Path) -> None:
    write(tmp_path, "first", [{"line": 1}])
    record = json.loads((tmp_path / "dataset.json").read_text())
    del record["rejected_sha256"]
    (tmp_path / "dataset.json").write_text(json.dumps(record))
    write(tmp_path, "second")
    assert not (tmp_path / "rejected.jsonl").exists()


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_were_edited_are_not_replaced(tmp_path: Path, name: str) -> None:
    write(tmp_path, "first")
    with (tmp_path / name).open("a") as file:
        file.write('{"prompt": "by hand"}\n')
    with pytest.raises(UserError, match=f"{name}: changed since dataset"):
        write(tmp_path, "new")
    assert "by hand" in (tmp_path / name).read_text()


@pytest.mark.parametrize("name", [*NAMES, "dataset.json", "rejected.jsonl", ".lock"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").write_text("mine")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / "mine")
    with pytest.raises(UserError):
        write(folder, "new")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("replaced", range(6))
def test_killed_anywhere_the_next_one_goes_on(tmp_path: Path, replaced: int) -> None:
    """The first ``replaced`` of its files got their name."""
    write(tmp_path, "first")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, str(replaced)], cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == (-9 if replaced < 5 else 0)
    check_output(tmp_path)
    write(tmp_path, "third")
    for path in tmp_path.glob(".*.tmp*"):
        path.unlink()  # kept for a minute: another machine could be writing it
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*NAMES, "dataset.json"])


def test_one_writes_at_a_time_and_vouches_for_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lock.held(tmp_path / ".lock"), pytest.raises(UserError, match=r"another dataset\.py is writing here"):
        write(tmp_path, "second")
    write_rows = files.write_rows

    def swapped(path: Path, rows: list[files.Row]) -> str:
        sha256 = write_rows(path, rows)
        path.write_text('{"prompt": "of another process"}\n')
        return sha256

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_rows", swapped)
        record = write(tmp_path, "mine")
    with pytest.raises(UserError, match="changed since dataset"):
        records.read_split(tmp_path, "train", record)


def test_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    rows = {split: [{"prompt": "é \u2028 \U0001f600", "n": 1}] for split in files.SPLITS}
    record = write_dataset(tmp_path, rows, [], RECORD)
    assert record.files == {name: files.file_hash(tmp_path / name) for name in NAMES}
    assert json.loads((tmp_path / "train.jsonl").read_text(encoding="utf-8")) == rows["train"][0]
