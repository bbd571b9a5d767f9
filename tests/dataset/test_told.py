"""Nothing of a source is left out or changed without a word, and what is said is true."""

import json
import os
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder
from finetune.records.dataset import read_split, write_dataset
from finetune.records.files import Row
from finetune.settings import conflicts
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS


def chats(first: int, count: int, **more: object) -> list[Row]:
    return [{"prompt": f"p{i}", "completion": f"c{i}", **more} for i in range(first, first + count)]


def lines(rows: list[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def folder(path: Path, **files: str) -> Path:
    """A folder with files; ``__`` in their names is a slash, and ``_dot_`` a dot."""
    for name, content in files.items():
        file = path / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return path


def prepared(*names: object, kind: str = "chat", **settings: Any) -> Dataset:
    given = tuple(map(str, names))
    whole = {"valid_fraction": 0, "test_fraction": 0}
    config = DatasetConfig(type_=kind, dataset_name=given if len(given) > 1 else given[0], **{**whole, **settings})
    return prepare(config, ROW_KINDS[kind], print)


def count(dataset: Dataset) -> int:
    return sum(map(len, dataset.splits.values()))


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["dataset.json", "rejected.jsonl", "state.json", "notices.jsonl", "citations.jsonl", "license.jsonl"]
)
def test_a_name_does_not_make_rows_something_else(tmp_path: Path, name: str) -> None:
    """Not of a folder, and not of an archive."""
    rows = json.dumps(chats(10, 5)) if name.endswith(".json") else lines(chats(10, 5))
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.jsonl").write_text(lines(chats(0, 6)))
    (tmp_path / "rows" / name).write_text(rows)
    assert count(prepared(tmp_path / "rows")) == 11
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("a.jsonl", lines(chats(0, 6)))
        archive.writestr(name, rows)
    assert count(prepared(tmp_path / "rows.zip")) == 11


def test_what_dataset_py_wrote_beside_rows_is_no_rows(tmp_path: Path, run_python: Any) -> None:
    (tmp_path / "a.jsonl").write_text(lines([*chats(0, 30), {"prompt": "no answer"}]))
    run_python(str(Path(__file__).parents[2] / "dataset.py"), *"--type chat --dataset-name a.jsonl --fix".split())
    assert {"dataset.json", "rejected.jsonl"} <= {path.name for path in (tmp_path / "data").iterdir()}
    assert count(prepared(tmp_path / "data", strict=True, output_dir=tmp_path / "new")) == 30
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in (tmp_path / "data").iterdir():
            archive.write(path, f"data/{path.name}")
    assert count(prepared(tmp_path / "data.zip", strict=True)) == 30


def test_texts_are_read_alike_from_a_folder_and_an_archive(tmp_path: Path) -> None:
    from finetune.dataset.sources import read_local, wanted_of

    texts = {
        "README.md": "read",
        "notice_of_1912.txt": "read",
        "LICENSE.txt": "",
        "LICENSE-MIT": "",
        "citation.cff": "",
    }
    (tmp_path / "texts").mkdir()
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        for name, text in texts.items():
            (tmp_path / "texts" / name).write_text(text)
            archive.writestr(name, text)
    wanted = wanted_of(DatasetConfig(type_="text"), ROW_KINDS["text"])
    for name in ("texts", "texts.zip"):
        rows = [one.row for one in read_local(str(tmp_path / name), [], wanted).rows]
        assert rows == [{"text": "read"}] * 2, name


def test_a_file_beside_rows_that_datasets_saved_is_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_list(chats(0, 6)).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "more.jsonl").write_text(lines(chats(10, 2)))
    (tmp_path / "saved" / "cache-1234.arrow").write_bytes(b"x")
    (tmp_path / "saved" / "other.arrow").write_bytes(b"x")
    assert count(prepared(tmp_path / "saved")) == 8
    assert "1 file not read: other.arrow" in capsys.readouterr().err


def test_a_folder_that_a_glob_matches_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path, a_dot_jsonl=lines(chats(0, 6)), sub__b_dot_jsonl=lines(chats(10, 5)))
    assert count(prepared(tmp_path / "*")) == 6
    said = capsys.readouterr().err
    assert "1 file not read: " in said and said.endswith("/sub/\n")
    with pytest.raises(UserError, match=r"--strict: .*1 file not read: .*sub/ \(move it away, or name the files"):
        prepared(tmp_path / "*", strict=True)
    assert count(prepared(tmp_path / "*.jsonl", strict=True)) == 6  # the remedy
    assert count(prepared(tmp_path / "**" / "*", strict=True)) == 11
    assert "not read" not in capsys.readouterr().err


def test_files_without_rows_are_told_and_other_fields_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path, x_dot_jsonl="", y_dot_csv="prompt,completion\n", z_dot_json="[]")
    for number in range(40):
        row = chats(number, 1, **({"more": ""} if number % 2 else {}))
        (tmp_path / f"{number}.json").write_text(json.dumps(row[0]))
    assert count(prepared(tmp_path)) == 40
    said = capsys.readouterr().err
    assert re.search(r"3 files without rows: \S+/x.jsonl, \S+/y.csv, \S+/z.json\n", said)
    assert said.count("its rows have other fields (completion, more, prompt)") == 1


def test_the_letters_of_a_format_begin_a_table_too(tmp_path: Path) -> None:
    for word in ("ORCID", "GGUF version", "FEA1"):
        (tmp_path / "rows.csv").write_text(f"{word},prompt,completion\n1,q,a\n")
        assert count(prepared(tmp_path / "rows.csv")) == 1
    (tmp_path / "rows.csv").write_bytes(b"ORC\x08\x03prompt,completion\n")
    with pytest.raises(UserError, match="an ORC file"):
        prepared(tmp_path / "rows.csv")


def test_an_archive_with_two_files_of_one_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a.jsonl", lines(chats(0, 6)))
        archive.writestr("a.jsonl", lines(chats(10, 6)))
    with pytest.raises(UserError, match=r"has two files named 'a\.jsonl' \(make the archive again with each file once"):
        prepared(tmp_path / "rows.zip")


def test_an_archive_is_opened_once_for_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open it reads the list of its files: for thousands of them that took minutes."""
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        for number in range(20):
            archive.writestr(f"{number}.json", json.dumps(chats(number, 1)[0]))
    opened, read = [], zipfile.ZipFile._RealGetContents  # type: ignore[attr-defined]

    def counting(self: zipfile.ZipFile) -> None:
        opened.append(1)
        read(self)

    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", counting)
    assert count(prepared(tmp_path / "rows.zip")) == 20
    assert len(opened) < 5


def test_many_rows_of_a_file_whose_name_is_no_utf_8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff.jsonl"))
    path.write_text(lines(chats(0, 600)))
    assert count(prepared(path, strict=True)) == 600


# --- values and fields ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_a_number_of_few_bits_is_learned_as_it_is_written(tmp_path: Path, bits: int) -> None:
    numbers = pyarrow.array([0.1, 2.5, None, 1e-5]).cast(f"float{bits}" if bits > 16 else pyarrow.float16())
    table = pyarrow.table({"prompt": ["a", "b", "c", "d"], "completion": numbers, "n": numbers})
    parquet.write_table(table.filter(pyarrow.array([True, True, False, True])), tmp_path / "rows.parquet")
    rows = [row for part in prepared(tmp_path / "rows.parquet").splits.values() for row in part]
    answers = {row["messages"][0]["content"]: row["messages"][1]["content"] for row in rows}
    assert answers == {"a": "0.1", "b": "2.5", "d": "1e-05"}


def test_a_field_whose_name_another_one_gets_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(chats(0, 6, question="q")))
    dataset = prepared(tmp_path / "a.jsonl", column="prompt=question")
    assert dict(dataset.findings.unused) == {"prompt": 6}
    swapped = prepared(
        tmp_path / "a.jsonl", column="prompt=completion,completion=prompt", ignore="question", strict=True
    )
    assert swapped.splits["train"][0]["messages"][0]["content"].startswith("c")


def test_a_field_with_the_word_in_can_be_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,completion,price in EUR\nq,a,3\nr,b,4\n")
    with pytest.raises(UserError, match=r"price in EUR is not used \(--ignore, if that is meant\)"):
        prepared(tmp_path / "a.csv", strict=True)
    dataset = prepared(tmp_path / "a.csv", strict=True, ignore="price in EUR")
    assert count(dataset) == 2 and not dataset.notes


def test_a_field_type_of_rows_of_another_kind_is_kept(tmp_path: Path) -> None:
    tasks = [{"instruction": f"i{i}", "output": "o", "type": "open_qa"} for i in range(6)]
    folder(tmp_path, a_dot_jsonl=lines(chats(0, 6)), b_dot_jsonl=lines(tasks))
    dataset = prepared(tmp_path / "a.jsonl", f"alpaca:{tmp_path}/b.jsonl")
    others = [row for row in dataset.splits["train"] if "instruction" in row]
    assert {(row["type"], row["source_type"]) for row in others} == {("alpaca", "open_qa")}
    assert "the field type of alpaca rows is kept as source_type (6 rows)" in dataset.notes


def test_a_long_field_that_is_ignored_takes_no_row_away(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(chats(0, 3, page="x" * 300_000)))
    with pytest.raises(UserError, match="3 x longer than 200,000 characters"):
        prepared(tmp_path / "a.jsonl")
    assert count(prepared(tmp_path / "a.jsonl", ignore="page", strict=True)) == 3


def test_a_row_in_a_file_of_its_own_may_have_a_list_of_objects(tmp_path: Path) -> None:
    for number in range(3):
        row = {"sql_prompt": f"q{number}", "sql": "SELECT 1", "tables": [{"name": "t"}]}
        (tmp_path / f"{number}.json").write_text(json.dumps(row))
    assert dict(prepared(tmp_path, kind="sql").findings.unused) == {"tables": 3}
    (tmp_path / "0.json").write_text(json.dumps({"version": 1, "tables": [row]}))
    assert count(prepared(tmp_path / "0.json", kind="sql", ignore="tables")) == 1


def test_a_quote_does_not_make_one_row_of_several(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('prompt\tcompletion\n"Tis the season\tA\nq\tb\nRock n roll"\tc\ns\td\n')
    with pytest.raises(
        UserError, match=r"a\.tsv:2: a quote makes one row of 3 lines that are rows by themselves \(an unpa"
    ):
        prepared(tmp_path / "a.tsv")
    for table in ('prompt\tcompletion\n"two\nlines"\t"a\tb\nc"\n', 'prompt,completion\n"a, b\nc",d\n'):
        (tmp_path / "a.tsv").write_text(table)
        assert count(prepared(tmp_path / "a.tsv")) == 1


def test_an_empty_row_of_a_spreadsheet_is_a_blank_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,completion,n\nq,a,1\n,,\nr,b,2\n,,\n")
    dataset = prepared(tmp_path / "a.csv", ignore="n", strict=True)
    assert count(dataset) == 2 and dataset.findings.blank_lines == 2
    (tmp_path / "a.csv").write_text("prompt,completion,n\nq,a,1\n,,3\n")
    with pytest.raises(UserError, match=r"a\.csv:3: prompt is empty"):
        prepared(tmp_path / "a.csv")


# --- splits -----------------------------------------------------------------------------------------------------------


def test_rows_without_a_value_for_split_by_stay_together(tmp_path: Path) -> None:
    table = [f"p{i},c{i},{'' if i < 600 else i % 100}\n" for i in range(1000)]
    (tmp_path / "a.csv").write_text("prompt,completion,group\n" + "".join(table))
    splits = prepared(tmp_path / "a.csv", split_by="group", valid_fraction=0.05, test_fraction=0.05).splits
    groups = [{row["group"] for row in splits[split]} for split in ("train", "valid", "test")]
    assert sum(map(len, groups)) == 101 and all(groups)


@pytest.mark.parametrize(
    ("rows", "split_by", "words"),
    [
        (
            chats(0, 300),
            "group",
            r"300 usable rows cannot fill train, valid, test: those with one value of group, or one",
        ),
        (
            [{"prompt": "p", "completion": f"c{i}"} for i in range(300)],
            None,
            "those with one prompt stay in one split, and",
        ),
        (chats(0, 2), None, r"2 usable rows are too few to fill train, valid, test \(more rows, or --valid"),
    ],
)
def test_why_a_split_is_empty_is_true_and_the_remedies_work(
    tmp_path: Path, rows: list[Row], split_by: str | None, words: str
) -> None:
    (tmp_path / "a.jsonl").write_text(lines([{**row, "group": i % 3} for i, row in enumerate(rows)]))
    settings: dict[str, Any] = {"split_by": split_by, "valid_fraction": 0.05, "test_fraction": 0.05}
    with pytest.raises(UserError, match=words) as told:
        prepared(tmp_path / "a.jsonl", **settings)
    assert count(prepared(tmp_path / "a.jsonl", split_by=split_by)) == len(rows)
    if "a larger --valid-fraction" in str(told.value):
        assert all(prepared(tmp_path / "a.jsonl", **{**settings, "valid_fraction": 0.3, "test_fraction": 0.3}).splits)
    else:
        assert split_by is None


def test_a_split_that_a_source_has_not_is_told_and_recorded(tmp_path: Path) -> None:
    folder(
        tmp_path,
        a_dot_jsonl=lines(chats(0, 90)),
        b__train_dot_jsonl=lines(chats(100, 50)),
        b__test_dot_jsonl=lines(chats(200, 50)),
    )
    config = DatasetConfig(type_="chat", dataset_name=(f"{tmp_path}/a.jsonl", f"{tmp_path}/b"), keep_splits=True)
    dataset = prepare(config, ROW_KINDS["chat"], print)
    own = "the source's own; what a source has not, random, by seed and prompt, out of train"
    assert dataset.split_rule == own and [note for note in dataset.notes if "--keep-splits" in note] == [
        f"--keep-splits: {tmp_path}/a.jsonl has no split test and valid: drawn by seed out of train",
        f"--keep-splits: {tmp_path}/b has no split valid: drawn by seed out of train",
    ]
    whole = prepared(tmp_path / "b", keep_splits=True, test_fraction=0.05)
    assert whole.split_rule == "the source's own" and not whole.notes


def test_a_row_whose_group_is_in_the_test_split_is_left_out_for_that_reason(tmp_path: Path) -> None:
    train = [{**row, "group": number % 9} for number, row in enumerate(chats(0, 90))]
    folder(tmp_path, train_dot_jsonl=lines(train), test_dot_jsonl=lines(chats(100, 9, group=0)))
    dataset = prepared(tmp_path, keep_splits=True, split_by="group")
    assert dict(dataset.findings.dropped) == {"the prompt, or the field of --split-by, is in another split too": 10}
    assert dataset.split_rule == "the source's own; no group and no prompt is in two splits"


def test_remarks_are_of_rows_that_are_kept(tmp_path: Path, builtin_model: Path) -> None:
    """With a tokenizer, more rows are looked at than are taken."""
    sql = "SELECT ROW_NUMBER() OVER w, x FROM t, LATERAL (SELECT 1 AS y) AS z WINDOW w AS ()"
    row = {"sql": sql, "sql_context": "CREATE TABLE t (x INT)"}
    (tmp_path / "a.jsonl").write_text(lines([{**row, "sql_prompt": f"q{i}"} for i in range(30)]))
    encoder = ChatEncoder(builtin_model)
    whole = {"valid_fraction": 0, "test_fraction": 0}
    config = DatasetConfig(dataset_name=str(tmp_path / "a.jsonl"), dialect="postgres", sample_size=4, **whole)
    dataset = prepare(config, ROW_KINDS["sql"], print, encoder)
    assert count(dataset) == 4 and list(dataset.findings.noted.values()) == [4]


@pytest.mark.parametrize("flag", ["split", "ignore"])
def test_a_flag_of_sources_has_no_effect_on_own_answers(flag: str) -> None:
    origins = {flag: "flag", "from_adapter": "flag", "type_": "flag"}
    config = DatasetConfig(type_="preference", from_adapter=Path("sft"), origins=origins, **{flag: "x"})
    with pytest.raises(UserError, match=f"--{flag} has no effect with --from-adapter"):
        conflicts.check(config)


# --- rows that were changed -------------------------------------------------------------------------------------------


def test_rows_that_were_changed_are_checked_again_if_dataset_py_can_read_them(tmp_path: Path) -> None:
    pairs = [{"prompt": f"p{i}", "chosen": "c", "rejected": f"r{j}"} for i in range(6) for j in range(2)]
    tasks = [{"instruction": f"i{i}", "output": "o"} for i in range(6)]
    folder(
        tmp_path, chat_dot_jsonl=lines(chats(0, 6)), alpaca_dot_jsonl=lines(tasks), preference_dot_jsonl=lines(pairs)
    )
    sources = {"chat": ["chat"], "alpaca": ["alpaca"], "preference": ["preference"], "mixed": ["chat", "alpaca"]}
    for name, given in sources.items():
        kind = name if name in ROW_KINDS else "chat"
        dataset = prepared(*(f"{one}:{tmp_path}/{one}.jsonl" for one in given), kind=kind)
        config = DatasetConfig(type_=kind)
        record = write_dataset(tmp_path / name / "data", dataset.splits, [], dataset.record(config))
        with (tmp_path / name / "data" / "train.jsonl").open("a") as file:
            file.write("\n")
        with pytest.raises(UserError, match=r"changed since dataset\.py checked it") as told:
            read_split(tmp_path / name / "data", "train", record)
        if name in ("preference", "mixed"):
            assert "(restore it, or change the rows that it was made of, and run dataset.py again)" in str(told.value)
            continue
        words = str(told.value).partition("checked: ")[2].split()
        assert count(prepared(words[5], kind=words[3])) == count(dataset)


# --- many rows --------------------------------------------------------------------------------------------------------


def test_many_answers_to_one_prompt_take_no_longer_each(tmp_path: Path) -> None:
    seconds = []
    for alike in (False, True):
        rows = [{"prompt": f"p{0 if alike else i}", "completion": f"c{i}"} for i in range(2500)]
        (tmp_path / "a.jsonl").write_text(lines(rows))
        begin = time.process_time()
        assert count(prepared(tmp_path / "a.jsonl", same_prompt="first")) == (1 if alike else 2500)
        seconds.append(time.process_time() - begin)
    assert seconds[1] < 3 * seconds[0]
