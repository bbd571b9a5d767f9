"""Every format in which rows come, and what is said of files that hold none. Each remedy that is printed is followed."""

import bz2
import datetime
import decimal
import gzip
import io
import json
import lzma
import os
import re
import subprocess
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import feather, parquet

from finetune.dataset.prepare import Dataset, prepare
from finetune.dataset.readers import json_values, parts, sourced
from finetune.dataset.sources import read_local, wanted_of
from finetune.errors import UserError
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS

ROWS = [{"prompt": f"p{i}", "completion": f"c{i}"} for i in range(6)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "prompt,completion\n" + "".join(f"p{i},c{i}\n" for i in range(6))
CONVERSATION = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}]


def read(path: Path, **settings: Any) -> list[sourced.SourcedRow]:
    wanted = wanted_of(DatasetConfig(type_="chat", **settings), ROW_KINDS["chat"])
    return list(read_local(str(path), [], wanted).rows)


def rows(path: Path, **settings: Any) -> list[Any]:
    return [one.row for one in read(path, **settings)]


def prepared(path: Path, **settings: Any) -> Dataset:
    config = DatasetConfig(type_="chat", dataset_name=str(path), valid_fraction=0, test_fraction=0, **settings)
    return prepare(config, ROW_KINDS["chat"], print)


def zipped(members: dict[str, bytes | str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def zstd(text: str) -> bytes:
    return bytes(pyarrow.compress(text.encode(), "zstd", asbytes=True))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl.gz", gzip.compress(LINES.encode())),
        ("rows.jsonl.gz", gzip.compress(LINES[:100].encode()) + gzip.compress(LINES[100:].encode())),
        ("rows.csv.bz2", bz2.compress(CSV.encode())),
        ("rows.json.xz", lzma.compress(json.dumps(ROWS).encode())),
        ("rows.jsonl.zst", zstd(LINES)),
        ("rows.jsonl", gzip.compress(LINES.encode())),  # its name hides it
        ("rows.jsonl.gz", LINES),  # only its name says so
        ("rows.zip", zipped({"a/rows.jsonl": LINES, "README.md": "Rows.", "__MACOSX/a/._rows.jsonl": "\0"})),
        ("rows.zip", zipped({"rows.csv.gz": gzip.compress(CSV.encode())})),
        ("rows.tsv", CSV.replace(",", "\t")),
        ("rows.csv", CSV.replace(",", "\t")),
        ("rows.csv", CSV.replace(",", ";")),
        ("rows.csv", CSV.replace(",", "|")),
        ("rows.csv", "sep=;\r\n" + CSV.replace(",", ";").replace("\n", "\r\n")),
        ("rows.csv", CSV.replace("\n", "\r")),
        ("rows.csv", "\ufeff\n" + CSV),
        ("rows.csv", CSV.replace("\n", ",,\n")),  # the empty columns of a spreadsheet
        ("rows.csv", LINES),
        ("rows.ndjson", LINES),
        ("rows", LINES),
        ("rows.txt", LINES),
        ("rows.json", LINES),
        ("rows.jsonl", LINES.replace("\n", "\r")),
        ("rows.jsonl", LINES.replace("\n", " ")),
        ("rows.jsonl", json.dumps(ROWS)),
        ("rows.jsonl", json.dumps(ROWS, indent=2)),
        ("rows.json", "\n".join(json.dumps(row, indent=2) for row in ROWS)),
        ("rows.jsonl", "\n".join(json.dumps(row, indent=2) for row in ROWS)),
        ("rows.json", json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]})),
        ("rows.json", json.dumps({name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ROWS[0]})),
        ("rows.json", json.dumps({str(i): row for i, row in enumerate(ROWS)})),
        ("rows.json", json.dumps({f"id{i}": row for i, row in enumerate(ROWS)})),
        (
            "rows.json",
            json.dumps({"columns": [*ROWS[0]], "index": [*range(6)], "data": [[*row.values()] for row in ROWS]}),
        ),
        ("rows.json", json.dumps({"version": 1, "data": ROWS})),
        ("rows.json", json.dumps({"train": ROWS[:3], "test": ROWS[3:]})),
    ],
)
def test_rows_are_read_however_they_are_arranged(tmp_path: Path, name: str, content: bytes | str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert [row for row in rows(tmp_path / name) if row] == ROWS
    if Path(name).suffix not in ("", ".txt"):
        assert [row for row in rows(tmp_path) if row] == ROWS


@pytest.mark.parametrize(
    ("value", "row"),
    [
        ({"messages": CONVERSATION, "tags": ["a", "b"]}, None),  # no columns, although the lists are of one length
        ({"prompt": CONVERSATION[:1], "completion": CONVERSATION[1:]}, None),
        ({"prompt": {"a": "1"}, "completion": {"a": "2"}}, None),  # objects as texts
        (CONVERSATION, {"messages": CONVERSATION}),
        ([CONVERSATION], {"messages": CONVERSATION}),
        ({"messages": [CONVERSATION]}, {"messages": [CONVERSATION]}),
    ],
)
def test_a_row_that_looks_like_several_is_one(tmp_path: Path, value: Any, row: Any) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(value))
    assert rows(tmp_path / "rows.json") == [value if row is None else row]


def test_what_the_name_does_not_say_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content, words in (
        ("a.csv", CSV.replace(",", ";"), "its columns are separated by semicolons"),
        ("b.json", LINES, "a row a line"),
        ("c.jsonl", json.dumps(ROWS), "an array of rows"),
        ("d.json", json.dumps({"data": ROWS, "by": "me"}), "the list 'data'; beside it, not used: by"),
    ):
        (tmp_path / name).write_text(content)
        rows(tmp_path / name)
        said = capsys.readouterr().err
        assert said.count("Note: ") == 1 and words in said


def test_a_header_is_told_from_a_row_and_every_field_has_a_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("When,What is your question?\n1 May,Where is it?\n")
    with pytest.raises(UserError, match="does not name the columns"):
        rows(path)
    assert len(rows(path, column="prompt=When,completion=What is your question?")) == 1
    path.write_text(",prompt,completion\n0,p,c\n")  # pandas, with its index
    assert rows(path) == [{"Unnamed: 0": "0", "prompt": "p", "completion": "c"}]
    assert dict(prepared(path).findings.unused) == {"Unnamed: 0": 1}
    assert not prepared(path, ignore="Unnamed: 0", strict=True).findings.unused
    path.write_text("prompt,completion,more\np,c\n")
    assert "fewer fields" in next(iter(prepared(path).findings.mended))
    path.write_text('prompt;completion\n"1,5; and";"2,5"\n')
    assert rows(path) == [{"prompt": "1,5; and", "completion": "2,5"}]


def test_a_field_that_is_twice_in_an_object_is_told(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "prompt": "b", "completion": "c"}\n')
    dataset = prepared(tmp_path / "rows.jsonl")
    assert dataset.splits["train"][0]["messages"][0]["content"] == "b"
    assert dict(dataset.findings.mended) == {"the last of several fields 'prompt' in an object taken": 1}
    with pytest.raises(UserError, match=r"--strict: 1 x the last of several fields"):
        prepared(tmp_path / "rows.jsonl", strict=True)


# --- Arrow ------------------------------------------------------------------------------------------------------------

TURN = pyarrow.struct(
    [
        ("role", pyarrow.string()),
        ("content", pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
        ("at", pyarrow.timestamp("us", "UTC")),
        ("cost", pyarrow.decimal128(5, 2)),
        ("raw", pyarrow.binary()),
        ("note", pyarrow.large_binary()),
        ("tags", pyarrow.map_(pyarrow.string(), pyarrow.list_(pyarrow.date32()))),
        ("nothing", pyarrow.null()),
    ]
)
FIRST = {
    "role": "user",
    "content": "p",
    "at": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "cost": decimal.Decimal("1.50"),
    "raw": b"\x89PNG",
    "note": b"text",
    "tags": [("a", [datetime.date(2026, 1, 2)])],
}


def table() -> Any:
    columns = {
        "messages": pyarrow.array([[FIRST, {"role": "assistant", "content": "c"}]], pyarrow.list_(TURN)),
        "image": [{"bytes": b"\xff\xd8", "path": "x.jpg"}],
        "scores": [[float("nan"), 1.0]],
        "call": pyarrow.array(['{"name": "f", "arguments": {"a": 1}}'], pyarrow.json_()),
        "took": [datetime.timedelta(seconds=5)],
        "__index_level_0__": [7],
    }
    return pyarrow.table(columns)


def _stream(path: Path) -> None:
    with pyarrow.ipc.new_stream(str(path), table().schema) as writer:
        writer.write_table(table())


ARROW: dict[str, Callable[[Path], Any]] = {
    "rows.parquet": lambda path: parquet.write_table(table(), path),
    "rows.json": lambda path: parquet.write_table(table(), path),  # its content decides
    "rows.feather": lambda path: feather.write_feather(table(), str(path)),
    "rows.arrow": _stream,
}


@pytest.mark.parametrize("name", ARROW)
def test_no_column_of_arrow_is_lost_by_a_part_that_is_no_json(tmp_path: Path, name: str) -> None:
    ARROW[name](tmp_path / name)
    (one,) = read(tmp_path / name)
    assert one.row is not None and one.left == ("raw in messages", "bytes in image")
    assert one.mended == ("NaN read as null",)
    assert one.row["messages"][0] == {
        "role": "user",
        "content": "p",
        "at": "2026-01-02 00:00:00+00:00",
        "cost": "1.50",
        "note": "text",
        "tags": {"a": ["2026-01-02"]},
        "nothing": None,
    }
    beside = {name: one.row[name] for name in ("image", "scores", "took", "__index_level_0__")}
    expected = {"image": {"path": "x.jpg"}, "scores": [None, 1.0], "took": "0:00:05", "__index_level_0__": 7}
    assert one.row["call"] == {"name": "f", "arguments": {"a": 1}}
    assert beside == expected


def test_a_part_that_is_left_out_is_reported_and_a_date_divides(tmp_path: Path) -> None:
    days = [datetime.date(2026, 1, 1 + i % 3) for i in range(30)]
    pictures = [b"\x89PNG"] * 30
    columns = {"prompt": [f"p{i}" for i in range(30)], "completion": ["c"] * 30, "day": days, "picture": pictures}
    parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    thirds = {"valid_fraction": 0.3, "test_fraction": 0.3}
    config = DatasetConfig(type_="chat", dataset_name=str(tmp_path / "rows.parquet"), split_by="day", **thirds)
    dataset = prepare(config, ROW_KINDS["chat"], print)
    assert sorted(len({row["day"] for row in part}) for part in dataset.splits.values()) == [1, 1, 1]
    assert dict(dataset.findings.unused) == {"picture": 30}
    with pytest.raises(UserError, match=r"--strict: .*the field picture is not used"):
        prepared(tmp_path / "rows.parquet", strict=True, ignore="day")
    assert prepared(tmp_path / "rows.parquet", strict=True, ignore="day,picture")


def test_rows_that_datasets_saved_are_read_with_their_splits(tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    saved = datasets.Dataset.from_list(ROWS)
    saved.save_to_disk(tmp_path / "one", num_shards=2)
    assert rows(tmp_path / "one") == ROWS
    datasets.DatasetDict(train=saved, test=saved.shuffle(seed=1).select([2])).save_to_disk(tmp_path / "two")
    assert [one.split for one in read(tmp_path / "two")] == ["test"] + 6 * ["train"]
    (tmp_path / "one" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(UserError, match=r"saved by datasets, but without data-00001-of-00002\.arrow"):
        rows(tmp_path / "one")


# --- folders ----------------------------------------------------------------------------------------------------------


def test_what_a_folder_has_and_is_not_read_is_named_recorded_and_refused_if_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "rows"
    (folder / ".git").mkdir(parents=True)
    (folder / "old").mkdir()
    for name in ("a.jsonl", "old/b.jsonl.gz"):
        (folder / name).write_bytes(LINES.encode() if name == "a.jsonl" else gzip.compress(LINES.encode()))
    quiet = ("README.md", "LICENSE", "._a.jsonl", ".DS_Store", ".git/x.jsonl")
    for name in (*quiet, "book.xlsx", "notes.txt", "rows.tar.gz", "picture.png"):
        (folder / name).write_text("x")
    (folder / "lost.jsonl").symlink_to("/nowhere")
    left = ("book.xlsx", "lost.jsonl", "notes.txt", "picture.png", "rows.tar.gz")
    assert len(rows(folder)) == 12
    assert f"5 files not read: {', '.join(left)}" in capsys.readouterr().err
    record = prepared(folder).record(DatasetConfig())
    assert record.source.not_read == left and record.source.files and len(record.source.files) == 2
    with pytest.raises(UserError, match=r"--strict: .*4 files not read: book.xlsx, lost.jsonl, notes.txt, rows.tar.gz"):
        rows(folder, strict=True)
    assert len(rows(folder / "**" / "*.jsonl*", strict=True)) == 12  # the remedy; hidden files do not match


def test_a_file_whose_rows_differ_from_the_others_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text(LINES)
    (tmp_path / "b.csv").write_text("question,answer\nq,a\n")
    assert len(rows(tmp_path)) == 7
    assert "b.csv: its rows have other fields (answer, question) than those of" in capsys.readouterr().err


# --- what cannot be read: the reason is true, and the remedy works ----------------------------------------------------


def iconv(path: Path, message: str) -> Path:
    command = re.search(r"for example: (.*)\)$", message)
    assert command
    subprocess.run(command[1], shell=True, cwd=path.parent, check=True)
    (made,) = path.parent.glob("rows.*l") if path.suffix == ".jsonl" else path.parent.glob("rows.csv")
    return made


def write(name: str, content: bytes | str) -> Callable[[Path, str], Path]:
    def remedy(path: Path, message: str) -> Path:
        (path.parent / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return path.parent / name

    return remedy


def column(path: Path, message: str) -> Path:
    assert rows(path, column="prompt=x,completion=y")
    return write("rows.jsonl", LINES)(path, message)


AS_LINES, AS_CSV, AS_ARRAY = write("a.jsonl", LINES), write("a.csv", CSV), write("a.json", json.dumps(ROWS))
QUESTIONS = "Where is it?,Here.\nWho is it?,Me.\n"
CUT = gzip.compress(LINES.encode())[:-20]
REFUSALS: list[tuple[str, bytes | str, str, Callable[[Path, str], Path]]] = [
    ("a.jsonl", LINES.encode("utf-16"), r"UTF-16 text .save the file as UTF-8, for example: iconv", iconv),
    ("a.csv", CSV.encode("utf-16-le"), r"UTF-16LE text .save the file as UTF-8, for example: iconv", iconv),
    ("a.jsonl", LINES.encode("utf-32"), r"UTF-32 text .save the file as UTF-8, for example: iconv", iconv),
    (
        "a.xlsx",
        zipped({"xl/workbook.xml": ""}),
        "an Excel workbook .save its sheet as CSV",
        write("a.csv", "\ufeff" + CSV),
    ),
    ("a.ods", zipped({"mimetype": "", "content.xml": ""}), "of LibreOffice .save its sheet as CSV", AS_CSV),
    ("a.xls", b"\xd0\xcf\x11\xe0" + b"\0" * 600, "old Office file .save its sheet as CSV", AS_CSV),
    ("a.docx", zipped({"[Content_Types].xml": ""}), "an Office document .write .* as rows", AS_LINES),
    ("a.jsonl", "%PDF-1.7", "a PDF document .write what is to be learned as rows", AS_LINES),
    ("a.jsonl", "<!DOCTYPE html>\n<html>", "a page of HTML, not rows .download the file itself", AS_LINES),
    ("a.parquet", "version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS", AS_LINES),
    ("a.db", b"SQLite format 3\0", "an SQLite database .export the table: sqlite3 -csv -header", AS_CSV),
    (
        "a.jsonl.gz",
        CUT,
        "ends in the middle of its gzip data .copy",
        write("a.jsonl.gz", gzip.compress(LINES.encode())),
    ),
    ("a.jsonl", b"\0" * 5000, "begins with NUL bytes, as after a copy that failed", AS_LINES),
    ("a.parquet", "PAR1", "cannot be read as Parquet: .*copy or write the file again", AS_LINES),
    ("a.arrow", b"ARROW1\0\0", "cannot be read as Arrow: .*copy or write the file again", AS_LINES),
    (
        "a.zip",
        zipped({"a.png": "x"}),
        "no rows in this archive .it has a.png; unpack it: unzip",
        write("b/a.jsonl", LINES),
    ),
    (
        "a.jsonl",
        CSV,
        r"a\.jsonl:1: not JSON: it begins with 'prompt,completion' .if it is a table, name it .csv",
        AS_CSV,
    ),
    (
        "a.xyz",
        CSV.replace(",", "\t"),
        "'.xyz' is not a file type that can be read.*name it .tsv",
        write("a.tsv", CSV.replace(",", "\t")),
    ),
    ("a.yaml", "a: 1\n", "'.yaml' is not a file type that can be read.*write the rows as .jsonl", AS_LINES),
    (
        "a.csv",
        CSV + "p,c,d\n",
        "more fields than the first line names .put quotes around each",
        write("a.csv", CSV + 'p,"c,d"\n'),
    ),
    (
        "a.csv",
        QUESTIONS,
        r"does not name the columns: 'Where is it\?' .put a line",
        write("a.csv", "prompt,completion\n" + QUESTIONS),
    ),
    ("a.csv", "prompt,prompt\na,b\n", "more than one column is named 'prompt' .give each", AS_CSV),
    (
        "a.csv",
        CSV + '"a"b,c\n' + CSV,
        r"a\.csv:8: not CSV: .*quotes inside a field are doubled",
        write("a.csv", CSV + '"a""b",c\n'),
    ),
    ("a.csv", ",".join(map("c{}".format, range(9999))), "9,999 columns, more than the 1,000", AS_CSV),
    ("a.json", json.dumps({"a": ROWS, "b": ROWS}), "several lists of rows: a, b .write the rows", AS_ARRAY),
    (
        "a.json",
        json.dumps({"x": {"k": 1}, "y": {"k": 2}}),
        "neither x, y nor k are known as fields .name the fields with --column",
        column,
    ),
    ("a.json", '[{"prompt": "p"}, {"prompt": }]', r"a\.json:1: not JSON: Expecting value: line 1 column 30", AS_ARRAY),
    ("a.json", json.dumps(ROWS, indent=1)[:-9], r"a\.json:\d+: not JSON: ", AS_ARRAY),
    ("a.json", "[" * 10_000, "nested too deeply", AS_ARRAY),
]


@pytest.mark.parametrize(("name", "content", "words", "remedy"), REFUSALS)
def test_a_file_without_rows_that_can_be_read_is_told_why_and_the_remedy_works(
    tmp_path: Path, name: str, content: bytes | str, words: str, remedy: Callable[[Path, str], Path]
) -> None:
    path = tmp_path / name
    (tmp_path / "b").mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=words) as error:
        prepared(path)
    assert error.value.exit_code == 2 and str(path) in str(error.value)
    assert any(rows(remedy(path, str(error.value))))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{'prompt': 'p', 'completion': 'c'}", "what Python shows of a value: .*write it with json.dumps"),
        ('{"prompt": NaN}', "NaN is not a JSON value .write null"),
        ('{"prompt": ' + "9" * 5000 + "}", "a number of more than 4,300 digits .write it as text"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "nested too deeply"),
        ('{"a":' * 300 + "1" + "}" * 300, "nested too deeply"),
        (json.dumps({f"k{i}": 1 for i in range(2000)}), "2,000 fields, more than the 1,000"),
        ('{"role": "user", "content": "p"}', "one message, not a conversation .write one conversation a line"),
        ('["p", "c"]', "not a JSON object .one row a line, in braces"),
        ('{"prompt": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_a_line_that_is_no_row_is_told_why_and_the_others_are_read(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "rows.jsonl").write_text(LINES + line + "\n" + line + "\n")
    found = read(tmp_path / "rows.jsonl")
    assert [one.row for one in found][:6] == ROWS and all(re.search(words, one.problem) for one in found[6:])


def test_what_a_small_file_can_grow_to_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_LARGE", 1000)
    monkeypatch.setattr(parts, "_RATIO", 20)
    monkeypatch.setattr(sourced, "_MOST_BLANK", 1000)
    for name, content in (
        ("a.jsonl.gz", gzip.compress(LINES.encode() * 2000)),
        ("b.csv.bz2", bz2.compress(CSV.encode() * 2000)),
        ("c.zip", zipped({"c.jsonl": LINES * 2000})),
        ("d.jsonl.xz", lzma.compress(LINES.encode() * 2000)),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=r"unpacks to more than 20 times its size.*unpack them: [gb]?un"):
            rows(tmp_path / name)
    for name, content in (("e.jsonl", LINES.encode()), ("e.csv", CSV.encode()), ("f.jsonl", b"")):
        (tmp_path / name).write_bytes(content + b"\n" * 2000)
        with pytest.raises(UserError, match=r"more than 1,000 blank lines before it .remove them"):
            rows(tmp_path / name)


def test_a_text_in_a_dictionary_is_not_copied_for_every_row(tmp_path: Path) -> None:
    text, count = "b" * 4_000_000, 400
    indices = pyarrow.array([0] * count, pyarrow.int32())
    column = pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array([text]))
    for name, write in (
        ("rows.parquet", lambda path, made: parquet.write_table(made, path, dictionary_pagesize_limit=1 << 30)),
        ("rows.arrow", lambda path, made: feather.write_feather(made, str(path))),
    ):
        write(tmp_path / name, pyarrow.table({"prompt": ["p"] * count, "completion": column}))
        before = pyarrow.total_allocated_bytes()
        tracemalloc.start()
        for number, one in enumerate(read_local(str(tmp_path / name), []).rows):
            assert one.row and len(one.row["completion"]) == len(text)
            assert pyarrow.total_allocated_bytes() - before < 100_000_000
            if number > 150:
                break
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
        tracemalloc.stop()


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(UserError, match=r"not a regular file .write the rows to one"):
        rows(tmp_path / "rows.jsonl")
    (tmp_path / "empty.jsonl").mkdir()
    with pytest.raises(UserError, match=r"empty\.jsonl: no rows in this folder .no file ends with \.jsonl"):
        rows(tmp_path / "empty.jsonl")


def test_a_value_in_pieces_is_the_same_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the text is cut while it is read: in numbers, words, escapes and characters."""
    made = [
        {"a": -12.5e-3, "b": [True, None, "\u00e9\U0001f600\\u0041"], "c": {"d": 1234567}},
        98765,
        "x",
        [],
        [[1], {}],
    ]
    text = json.dumps(made, indent=1) + "\n" + json.dumps(made[0], ensure_ascii=False) + " 12345 true"
    for chunk in range(1, 40):
        monkeypatch.setattr(json_values, "_CHUNK", chunk)
        found = [value.value for value in json_values.values(io.BytesIO(text.encode()), "x", 10**6, 10**6)]
        assert found == [*made, made[0], 12345, True]


class Short(io.RawIOBase):
    """A file of a network: each read gives less than was asked for."""

    def __init__(self, path: Path):
        self.file = path.open("rb", buffering=0)

    def read(self, size: int = -1) -> bytes:
        return self.file.read(min(size, 7) if size > 0 else size)


def test_short_reads_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_text(LINES)
    (tmp_path / "b.csv").write_text(CSV)
    (tmp_path / "c.json").write_text(json.dumps(ROWS))
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    guarded = parts._Guarded

    def short(stream: Any, *arguments: Any) -> Any:
        return guarded(Short(Path(stream.name)) if arguments[1:] == () else stream, *arguments)

    monkeypatch.setattr(parts, "_Guarded", short)
    for name in ("a.jsonl", "b.csv", "c.json", "d.jsonl.gz"):
        assert rows(tmp_path / name) == ROWS


@pytest.mark.parametrize(
    ("heading", "is_one"),
    [
        ("Ticket no.,message,Queue", True),
        ("prompt,Qty.,Tel.,completion,day", True),
        ("Good day.,Bonjour.", False),
        ("I have a question about it.,Refund,x", False),
        ("What is it?,Refund,x,y,z", False),
        ("17,Refund,x", False),
    ],
)
def test_an_abbreviation_in_a_heading_is_no_sentence(tmp_path: Path, heading: str, *, is_one: bool) -> None:
    (tmp_path / "rows.csv").write_text(heading + "\n" + ",".join("abcde"[: heading.count(",") + 1]) + "\n")
    if is_one:
        assert list(read(tmp_path / "rows.csv")[0].row or {}) == heading.split(",")
    else:
        with pytest.raises(UserError, match="its first line does not name the columns"):
            read(tmp_path / "rows.csv")
