"""Records: typed on reading, versioned, refused in one line that names the key."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from finetune.errors import UserError
from finetune.records.record import Record, as_json


@dataclass(frozen=True)
class Part:
    name: str
    size: float | None = None


@dataclass(frozen=True)
class Inner(Record):
    FORMAT: ClassVar[int] = 2
    MADE_BY: ClassVar[str] = "inner"

    count: int


@dataclass(frozen=True)
class Outer(Record):
    FORMAT: ClassVar[int] = 3
    MADE_BY: ClassVar[str] = "python outer.py"

    parts: tuple[Part, ...]
    folder: Path
    kind: Literal["a", "b"] = "a"
    by_name: Mapping[str, Part] | None = None
    inner: Inner | None = None
    interval: tuple[float, float] | None = None
    given: Mapping[str, object] | None = None
    done: bool = False

    @classmethod
    def upgrade(cls, value: dict[str, Any], written: int) -> None:
        if written < 2:
            value["parts"] = value.pop("pieces")
        value["folder"] = value["folder"] + "/new"


RECORD = Outer(
    (Part("x"), Part("y", 2.0)), Path("data"), "b", {"z": Part("z")}, Inner(4), (0.5, 1.0), {"any": [1, None]}, True
)


def written(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "r.json")
    assert Outer.read(tmp_path / "r.json") == RECORD
    keys = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert list(keys)[:2] == ["format", "parts"] and keys["inner"] == {"format": 2, "count": 4}


def test_older_format_is_upgraded_and_unknown_keys_are_ignored(tmp_path: Path) -> None:
    old = {"format": 1, "pieces": [{"name": "x", "gone": 1}], "folder": "data", "gone": {}}
    assert Outer.read(written(tmp_path / "r.json", old)) == Outer((Part("x"),), Path("data/new"))
    old = {"format": 2, "parts": [], "folder": "data", "inner": {"format": 1, "count": 1}}
    assert Outer.read(written(tmp_path / "r.json", old)).inner == Inner(1)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 4}, "format 4 was written by a newer version (this one reads up to 3; upgrade, or run again: python o"),
        ({"inner": {"format": 9}}, "inner: format 9 was written by a newer version (this one reads up to 2; upgrade, or"),
        ({"format": "3"}, "format is \"3\", not a whole number (run again: python outer.py --results-dir"),
        ({"format": True}, "format is true, not a whole number"),
        ({"format": 1}, "not a record of format 1: KeyError('pieces')"),
        ({"parts": None}, "parts is null, not a list"),
        ({"parts": [{"name": "x"}, {"size": 1}]}, "no 'parts[1].name' in it (run again: python outer.py --results-dir"),
        ({"parts": [{"name": "x", "size": "big"}]}, 'parts[0].size is "big", not a number'),
        ({"by_name": {"q": []}}, "by_name.q is [], not an object"),
        ({"kind": "c"}, "kind is \"c\", not 'a' or 'b'"),
        ({"interval": [1]}, "interval is [1], not 2 values"),
        ({"inner": {"count": 1.5}}, "inner.count is 1.5, not a whole number"),
        ({"done": 1}, "done is 1, not true or false"),
        ({"folder": 3}, "folder is 3, not a text"),
    ],
)  # fmt: skip
def test_unfit_record_is_refused_in_one_line(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    path = written(tmp_path / "r.json", as_json(RECORD) | change)
    with pytest.raises(UserError) as refused:
        Outer.read(path)
    assert str(refused.value).startswith(f"{path}: {complaint}") and "\n" not in str(refused.value)


def test_key_without_default_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no 'folder' in it"):
        Outer.read(written(tmp_path / "r.json", {"format": 3, "parts": []}))
    for text in ("", "[1]", "null", "{", '{"format": 3, "parts": ' + "[" * 99_999):
        (tmp_path / "r.json").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="run again"):
            Outer.read(tmp_path / "r.json")


def test_whole_numbers_count_as_numbers(tmp_path: Path) -> None:
    part = replace(RECORD, parts=(Part("x", 2),))
    part.write(tmp_path / "r.json")
    assert Outer.read(tmp_path / "r.json").parts[0].size == 2.0
