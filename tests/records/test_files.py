import errno
import fcntl
import os
import stat
import subprocess
from pathlib import Path

import pytest

from finetune.errors import UserError
from finetune.records import files, leftovers
from finetune.records.plain_path import plain_path


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(ZeroDivisionError), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert files.read_json(path, made_by="x") == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "content, place, words",
    [
        (b'{"a": 1}\n{"a": \n', ":2:", "not JSON"),
        (b'{"a": 1}\n\n[1]\n', ":3:", "not a JSON object"),
        (b'{"a": "\xff"}\n', ":1:", "not UTF-8"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: bytes, place: str, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        files.read_jsonl(path)
    assert f"{path}{place}" in str(caught.value) and words in str(caught.value)


def test_rows_keep_their_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa9"}\r\n\r\n{"a": 2}')
    assert files.read_jsonl(path) == [(1, {"a": "é"}), (3, {"a": 2})]


def test_a_missing_record_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"python dataset\.py"):
        files.read_json(tmp_path / "dataset.json", made_by="python dataset.py")


def test_a_folder_that_cannot_be_written_is_exit_4(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        files.make_folder(tmp_path / "file" / "data")
    assert caught.value.exit_code == 4


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/settings\.yml: cannot be written: Not a directory") as refused:
        files.write_text(tmp_path / "file" / "settings.yml", "text")
    assert refused.value.exit_code == 4


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for target in ("mine", "nowhere"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(target)
        for write in (lambda path: files.write_json(path, {}), lambda path: files.append_jsonl(path, {})):
            with pytest.raises(UserError, match="link: a symbolic link"):
                write(tmp_path / "link")
        with pytest.raises(UserError, match="link: a symbolic link"):
            files.check_targets(tmp_path, ["link"])
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "link"} and (tmp_path / "mine").read_text() == "mine"


def test_a_planted_temporary_file_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".a.tmp.json").symlink_to("mine")
    monkeypatch.setattr(leftovers, "name_for", lambda path: ".a.tmp.json")  # as if somebody could guess it
    with pytest.raises(UserError, match="cannot be written: File exists"):
        files.write_json(tmp_path / "a.json", {})
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("name", ["n" * 255, "n" * 250 + ".yml", "a." + "s" * 253, "\N{GRINNING FACE}" * 63])
def test_a_name_of_any_length_can_be_written(tmp_path: Path, name: str) -> None:
    files.write_text(tmp_path / name, "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written: File name too long") as refused:
        files.write_text(tmp_path / ("n" * 256), "x")
    assert refused.value.exit_code == 4 and not list(tmp_path.iterdir())


def test_who_may_read_a_file_is_what_the_user_has_set(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("name", [b"plain", b"caf\xe9", "gré".encode()], ids=repr)
def test_a_library_that_takes_only_utf8_can_open_a_path_of_any_bytes(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    (folder / "file.txt").write_text("content")
    for path, inner in ((folder, "file.txt"), (folder / "file.txt", "")):
        with plain_path(path) as plain:
            assert (plain == str(path)) is (name != b"caf\xe9")
            assert Path(os.fsdecode(plain.encode()), inner).read_text() == "content"
    with plain_path(folder / "new.txt") as plain:
        Path(plain).write_text("new")
    assert (folder / "new.txt").read_text() == "new"


def test_git_ignores_a_folder_that_was_made_for_results_until_that_is_deleted(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)

    def status() -> str:
        return subprocess.run(
            ["git", "-C", tmp_path, "status", "-s"], check=True, capture_output=True, text=True
        ).stdout

    files.check_targets(tmp_path / "runs" / "results", ["evaluation.json"])
    files.write_json(tmp_path / "runs" / "results" / "evaluation.json", {})
    assert status() == ""
    (tmp_path / "runs" / "results" / ".gitignore").unlink()
    files.check_targets(tmp_path / "runs" / "results", ["evaluation.json"])
    assert status() == "?? runs/\n"  # not written again
    (tmp_path / "mine").mkdir()
    files.check_targets(tmp_path / "mine", ["evaluation.json"])
    assert not list((tmp_path / "mine").iterdir())  # nor into a folder that was there


def test_a_folder_that_cannot_be_flushed_does_not_undo_what_is_written(tmp_path: Path, monkeypatch) -> None:
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.EINVAL, "refused")))
    with pytest.raises(UserError, match="cannot be written: refused"):
        files.write_text(tmp_path / "b", "x")


@pytest.mark.parametrize("refuses", [False, True], ids=["flushed by the drive", "refused by the volume"])
def test_a_mac_flushes_its_drive_where_the_volume_can(tmp_path: Path, monkeypatch, *, refuses: bool) -> None:
    calls = []

    def flush_all(descriptor: int, command: int) -> int:
        calls.append(command)
        if refuses:
            raise OSError(errno.ENOTSUP, "not supported")
        return 0

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", flush_all)
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(0))
    files.fsync(tmp_path)
    assert calls == ([51, 0] if refuses else [51])
