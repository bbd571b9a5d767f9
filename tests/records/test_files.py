from pathlib import Path

import pytest

from finetune.errors import UserError
from finetune.records import files


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
