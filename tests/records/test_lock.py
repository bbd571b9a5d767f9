"""One lock: held by one at a time, whatever happens to its file, and by nobody after a kill."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.errors import UserError
from finetune.records import leftovers, lock

HOLD = """
import sys
from pathlib import Path
from finetune.records.lock import held
with held(Path(sys.argv[1])) as is_ours:
    print(is_ours, flush=True)
    sys.stdin.read()
"""


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    for held, path in ((lock.held, tmp_path / ".lock"), (lock.held_folder, tmp_path)):
        with held(path) as first, held(path) as second:
            assert (first, second) == (True, False)
        with held(path) as again:
            assert again
    with pytest.raises(FileNotFoundError), lock.held_folder(tmp_path / "gone"):
        pass
    assert not list(tmp_path.iterdir())


def test_it_names_its_process_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout and process.stdout.readline() == b"True\n"
    with lock.held(path) as is_ours:
        assert not is_ours and lock.holder(path) == str(process.pid)
    process.kill()
    process.communicate()
    with lock.held(path) as is_ours:
        assert is_ours and lock.holder(path) == str(os.getpid())


def test_file_that_is_removed_between_opening_and_locking_counts_for_nothing(tmp_path: Path, monkeypatch) -> None:
    path, opened = tmp_path / ".lock", []
    system_open = os.open

    def open_then_lose(name, *arguments):
        opened.append(system_open(name, *arguments))
        if len(opened) == 1:  # its holder ends here, and another process begins
            path.unlink()
            path.write_text("")
        return opened[-1]

    monkeypatch.setattr(os, "open", open_then_lose)
    with lock.held(path) as is_ours:
        assert is_ours and os.path.samestat(os.fstat(opened[-1]), path.stat()) and len(opened) == 2


def test_leftovers_of_killed_writers_go_and_nothing_else_does(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    other = subprocess.Popen(["true"])
    other.wait()
    old, fresh = f".a.{gone.pid}.tmp.json", f".a.{other.pid}.tmp.json"
    kept = [f".a.{os.getpid()}.tmp.json", f"a.{gone.pid}.tmp.json", ".a.x.tmp.json", f".a.{gone.pid}.json", ".lock"]
    kept += [f".notes.{gone.pid}.tmp", f".budget.{gone.pid}.tmp.json", f".a.{gone.pid}.tmp.xlsx"]  # of somebody else
    for name in [old, fresh, *kept]:
        (tmp_path / name).touch()
        if name != fresh:  # another machine may be writing that one
            os.utime(tmp_path / name, (0, 0))
    leftovers.remove(tmp_path / "a.json")
    assert {path.name for path in tmp_path.iterdir()} == {*kept, fresh}


@pytest.mark.parametrize("text", ["mine", "12 monkeys\n", "1\n2\n", "9" * 40 + "x"])
def test_a_file_of_something_else_is_no_lock(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".lock"
    path.write_text(text)
    with pytest.raises(UserError, match="something else has the name of our lock"), lock.demanded(path, "taken"):
        pass
    assert path.read_text() == text


def test_a_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("1\n")
    (tmp_path / ".lock").symlink_to("mine")
    with pytest.raises(UserError, match="cannot be locked"), lock.demanded(tmp_path / ".lock", "taken"):
        pass
    assert (tmp_path / "mine").read_text() == "1\n"


def test_the_holder_is_named_also_in_a_folder_with_braces(tmp_path: Path) -> None:
    path = tmp_path / "{x}.lock"
    with (
        lock.held(path),
        pytest.raises(UserError, match=f"{{x}} is held by {os.getpid()}"),
        lock.demanded(path, "{x} is held by {holder}"),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_is_told_of_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with lock.demanded(tmp_path / ".lock", "taken by {holder}"):
        assert not list(tmp_path.iterdir())
    assert "its file system has no locks" in capsys.readouterr().err
    number = errno.EIO
    with (
        pytest.raises(UserError, match="cannot be locked: Input/output error"),
        lock.demanded(tmp_path / ".lock", "taken"),
    ):
        pass
