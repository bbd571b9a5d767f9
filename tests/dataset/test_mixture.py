"""Several sources in one dataset, with weights: names, shares, splits, types, the record and what is refused."""

import json
import math
import random
import re
from pathlib import Path

import pytest

from finetune.dataset import mixture
from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.records.dataset import read_dataset_record, write_dataset
from finetune.records.files import Row
from finetune.settings import conflicts
from finetune.settings.command_line import parse
from finetune.settings.config import DatasetConfig
from finetune.settings.fields import build
from finetune.settings.layers import file_layers
from finetune.settings.save import save
from finetune.tasks import ROW_KINDS

SQL, CHAT, ALPACA = (ROW_KINDS[name] for name in ("sql", "chat", "alpaca"))


def written(path: Path, rows: list[Row]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def chats(first: int, count: int, of: str = "parcel") -> list[Row]:
    return [{"prompt": f"Where is {of} {i}?", "completion": f"In hall {i % 7}."} for i in range(first, first + count)]


def queries(count: int) -> list[Row]:
    context = "CREATE TABLE t (a INT);"
    return [{"sql_prompt": f"Add {i}.", "sql": f"SELECT a + {i} FROM t", "sql_context": context} for i in range(count)]


def tasks(count: int) -> list[Row]:
    return [{"instruction": f"Name number {i}.", "output": f"It is {i}."} for i in range(count)]


def prepared(*names: str, kind: str = "chat", **options: object) -> Dataset:
    return prepare(DatasetConfig(type_=kind, dataset_name=names, **options), ROW_KINDS[kind], print)


def kept(dataset: Dataset) -> list[int]:
    return [part.kept for part in dataset.sources or ()]


@pytest.mark.parametrize(
    ("given", "name", "kind", "weight", "share"),
    [
        ("rows.jsonl", "rows.jsonl", SQL, None, None),
        ("rows.jsonl=3", "rows.jsonl", SQL, 3.0, None),
        ("rows.jsonl=.5", "rows.jsonl", SQL, 0.5, None),
        ("alpaca:rows.jsonl=20%", "rows.jsonl", ALPACA, None, 0.2),
        ("chat:owner/name=2.5%", "owner/name", CHAT, None, 0.025),
        ("alpaca:builtin", "builtin", ALPACA, None, None),
        ("lang=en/*.jsonl", "lang=en/*.jsonl", SQL, None, None),
        ("lang=en/*.jsonl=2", "lang=en/*.jsonl", SQL, 2.0, None),
        ("there=3", "there=3", SQL, None, None),  # paths that exist
        ("alpaca:there.jsonl", "alpaca:there.jsonl", SQL, None, None),
        ("alpaca:there.jsonl=2", "alpaca:there.jsonl", SQL, 2.0, None),
        ("hf://owner/name", "hf://owner/name", SQL, None, None),
    ],
)
def test_a_source_is_named_with_its_type_and_its_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, name: str, kind: object, weight: float, share: float
) -> None:
    monkeypatch.chdir(tmp_path)
    for there in ("there=3", "alpaca:there.jsonl"):
        (tmp_path / there).touch()
    part = mixture.parsed(given, ROW_KINDS, SQL)
    assert (part.name, part.kind, part.weight, part.share) == (name, kind, weight, share)


def test_quotas_and_totals_never_overdraw_a_source() -> None:
    draw = random.Random(5)
    for _ in range(2000):
        weights = [draw.choice([0.1, 0.5, 1, 2, 3, 7.3]) for _ in range(draw.randrange(2, 6))]
        wanted = [weight / sum(weights) for weight in weights]
        has = [draw.randrange(1, 2000) for _ in weights]
        total = mixture.largest_total(wanted, has)
        counts = mixture.quotas(wanted, total)
        assert sum(counts) == total and all(count <= rows for count, rows in zip(counts, has, strict=True))
        assert all(abs(count - share * total) < 1 for count, share in zip(counts, wanted, strict=True))
        larger = mixture.quotas(wanted, total + math.ceil(1 / min(wanted)) + 1)
        assert any(count > rows for count, rows in zip(larger, has, strict=True))


@pytest.mark.parametrize(
    ("weights", "size", "wanted"),
    [
        (("", ""), None, [120, 400]),
        (("=1", "=1"), None, [120, 120]),
        (("=30%", ""), None, [120, 280]),
        (("=3", "=1"), None, [120, 40]),
        (("=3", "=1"), 100, [75, 25]),
        (("=25%", "=75%"), 161, [40, 121]),
        (("=20%", ""), 500, [100, 400]),
    ],
)
def test_weights_share_the_rows(tmp_path: Path, weights: tuple[str, str], size: int | None, wanted: list[int]) -> None:
    first = written(tmp_path / "a.jsonl", chats(0, 120))
    second = written(tmp_path / "b.jsonl", chats(1000, 400))
    dataset = prepared(first + weights[0], second + weights[1], sample_size=size)
    assert kept(dataset) == wanted
    for part in dataset.sources or ():  # each is divided by itself
        assert part.rows["test"] == part.rows["valid"] == round(0.05 * part.kept)
    record = dataset.record(DatasetConfig())
    assert record.rows_read == 520 == record.kept + sum(record.dropped.values())
    assert sum(dataset.lengths.values()) in (0, record.kept) and dataset.turns and dataset.turns.learned == record.kept


def test_no_row_is_twice_and_no_prompt_in_two_splits(tmp_path: Path) -> None:
    first = written(tmp_path / "a.jsonl", chats(0, 200))
    other = [{**row, "prompt": row["prompt"].upper(), "completion": "Gone."} for row in chats(100, 100)]
    second = written(tmp_path / "b.jsonl", [*chats(0, 50), *other, *chats(1000, 50)])
    for options in ({}, {"seed": 7, "valid_fraction": 0.3, "test_fraction": 0.3}, {"sample_size": 120}):
        dataset = prepared(first, second, **options)
        if not options:
            assert sum(kept(dataset)) == 350 and dataset.findings.dropped == {"duplicate row": 50}
        found = [{row["messages"][0]["content"].lower() for row in rows} for rows in dataset.splits.values()]
        assert not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])


def test_rows_of_another_type_say_so_and_are_made_by_their_own_task(tmp_path: Path) -> None:
    rows = queries(60)
    rows[0]["type"], rows[1]["type"] = "chat", "hard"  # the first would say that another task scores it
    first = written(tmp_path / "a.jsonl", rows)
    second = written(tmp_path / "b.jsonl", tasks(60))
    dataset = prepared(first, f"alpaca:{second}=25%", kind="sql")
    assert kept(dataset) == [60, 20]
    every = [row for part in dataset.splits.values() for row in part]
    assert sum(row.get("type") == "alpaca" and "instruction" in row for row in every) == 20
    (clash,) = (row for row in every if row.get("source_type") == "chat")
    assert "type" not in clash and sum(row.get("type") == "hard" for row in every) == 1
    assert dataset.findings.mended == {"its field type names a kind of rows, and is kept as source_type": 1}
    assert [part.type for part in dataset.sources or ()] == ["sql", "alpaca"]
    again = prepared(first, kind="sql")
    assert sum("source_type" in row for row in again.splits["train"]) <= 1


def test_builtin_rows_can_be_added_and_keep_their_splits(tmp_path: Path) -> None:
    first = written(tmp_path / "a.jsonl", queries(300))
    dataset = prepared(first, "alpaca:builtin=20%", kind="sql", sample_size=200)
    assert kept(dataset) == [160, 40] and not dataset.findings.unused
    from finetune.tasks.alpaca.rows import generate

    tests = {(row["instruction"], row.get("input")) for row in generate("test", 42)}
    for split, part in dataset.splits.items():
        for row in part:
            assert row.get("type") != "alpaca" or ((row["instruction"], row.get("input")) in tests) == (split == "test")


def test_own_splits_are_kept_and_a_source_without_any_is_divided(tmp_path: Path) -> None:
    for name, first, count in (("train", 0, 60), ("valid", 100, 20), ("test", 200, 20)):
        written(tmp_path / "parts" / f"{name}.jsonl", chats(first, count))
    second = written(tmp_path / "b.jsonl", chats(1000, 100))
    dataset = prepared(str(tmp_path / "parts"), second, keep_splits=True)
    assert [part.rows for part in dataset.sources or ()] == [
        {"train": 60, "valid": 20, "test": 20},
        {"train": 90, "valid": 5, "test": 5},
    ]
    fewer = prepared(f"{tmp_path / 'parts'}=1", f"{second}=2", keep_splits=True)
    assert kept(fewer) == [50, 100]
    assert (fewer.sources or ())[0].rows == {"train": 46, "valid": 2, "test": 2}


def test_a_source_of_a_row_or_two_is_trained_on(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.jsonl", chats(0, 100)), written(tmp_path / "b.jsonl", chats(1000, 2))
    dataset = prepared(first, second)
    assert (dataset.sources or ())[1].rows == {"train": 2, "valid": 0, "test": 0}


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (["a.jsonl=2"], {}, "a weight has no effect with one source"),
        (["a.jsonl=0", "b.jsonl"], {}, "a weight is more than 0"),
        (["a.jsonl=101%", "b.jsonl"], {}, "at most 100%"),
        (["a.jsonl=half", "b.jsonl"], {}, "'half' is not a weight .a number such as 2, or a share such as 20%"),
        (["a.jsonl=40%", "b.jsonl=40%"], {}, "the shares add up to 80%, not to 100%"),
        (["a.jsonl=60%", "b.jsonl=40%", "c.jsonl"], {}, r"nothing is left for .*c\.jsonl .lower them"),
        (["a.jsonl=2", "a.jsonl=3"], {}, r"a\.jsonl is given twice .give it once"),
        (["a.jsonl", "chta:b.jsonl"], {}, "unknown type 'chta' .choose from sql"),
        (["alpaca:a.jsonl", "sql:b.jsonl"], {}, "--type chat: no source has such rows .give --type alpaca"),
        (["a.jsonl", "preference:b.jsonl"], {}, "preference rows cannot be in one dataset with chat rows"),
        (["a.jsonl", "b.jsonl"], {"subset": "x"}, "--subset has no effect with sources on this disk"),
        (["a.jsonl", "b.jsonl"], {"check_answers": False}, "--no-check-answers has no effect with --type chat"),
        (["a.jsonl", "one/x", "two/y"], {"revision": "x"}, "--revision is of one dataset on the Hub, and there are 2"),
        (["a.jsonl", "b.jsonl"], {"column": "prompt=x"}, "--column: no row has the field 'x'"),
        (["a.jsonl", "alpaca:builtin"], {"split_by": "id"}, "--split-by has no effect with the builtin rows"),
        (["a.jsonl", "b.jsonl"], {"keep_splits": True}, "have no splits of their own"),
        (["a.jsonl=1", "b.jsonl=1000"], {"sample_size": 100}, "its share of 100 rows is less than a row"),
        (["a.jsonl", "none.jsonl"], {}, r"none\.jsonl: no such file"),
    ],
)
def test_what_cannot_be_mixed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], options: Row, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for at, name in enumerate("abc"):
        written(tmp_path / f"{name}.jsonl", chats(1000 * at, 50))
    given = names if len(names) > 1 else names[0]
    config = DatasetConfig(type_="chat", dataset_name=given, **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=words):
        prepare(config, CHAT, print)


@pytest.mark.parametrize("weights", [("=3", "=1", "=1"), ("=90%", "", "=5%"), ("=1", "=7", "=20%")])
def test_a_source_with_too_few_rows_is_refused_and_the_remedy_works(tmp_path: Path, weights: tuple[str, ...]) -> None:
    counts = (130, 41, 27)
    names = [written(tmp_path / f"{at}.jsonl", chats(1000 * at, count)) for at, count in enumerate(counts)]
    given = [name + weight for name, weight in zip(names, weights, strict=True)]
    with pytest.raises(UserError, match=r"too few rows: .* usable rows, and .*% of 190 are") as error:
        prepared(*given, sample_size=190)
    remedy = re.search(r"at most --sample-size (\d+)", str(error.value))
    assert remedy and sum(kept(prepared(*given, sample_size=int(remedy[1])))) == int(remedy[1])
    assert sum(kept(prepared(*given))) <= int(remedy[1])


def test_columns_are_of_all_sources(tmp_path: Path) -> None:
    first = written(tmp_path / "a.jsonl", [{"ask": row["prompt"], "completion": "Yes."} for row in chats(0, 30)])
    second = written(tmp_path / "b.jsonl", chats(1000, 30))
    assert kept(prepared(first, second, column="prompt=ask")) == [30, 30]
    with pytest.raises(UserError, match=r"--column: no row has the field 'ask2' .did you mean ask\?"):
        prepared(first, second, column="prompt=ask,completion=ask2")


def test_the_record_has_every_source_and_old_records_are_read(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.jsonl", chats(0, 60)), written(tmp_path / "b.jsonl", chats(1000, 60))
    dataset = prepared(first, f"{second}=2")
    write_dataset(tmp_path / "data", dataset.splits, [], dataset.record(DatasetConfig()))
    record = read_dataset_record(tmp_path / "data")
    assert record.sources and [part.kept for part in record.sources] == [30, 60]
    assert [round(part.share, 3) for part in record.sources] == [0.333, 0.667]
    assert all(part.source.sha256 for part in record.sources) and record.source.source == f"{first} + {second}=2"
    value = json.loads((tmp_path / "data" / "dataset.json").read_text())
    del value["sources"]
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(value))
    assert read_dataset_record(tmp_path / "data").sources is None


def test_the_flag_is_given_again_or_is_a_list_in_a_file_and_is_saved_as_one(tmp_path: Path) -> None:
    def settings(*argv: str) -> DatasetConfig:
        explicit = parse(DatasetConfig, {}, argv, "")
        config = build(DatasetConfig, [("flag", explicit), *file_layers(DatasetConfig, explicit)], {})
        conflicts.check(config)
        assert isinstance(config, DatasetConfig)
        return config

    assert settings("--dataset-name", "a.jsonl").dataset_name == "a.jsonl"
    twice = settings("--dataset-name", "a.jsonl", "--dataset-name", "alpaca:b.jsonl=20%")
    assert twice.dataset_names == ("a.jsonl", "alpaca:b.jsonl=20%")
    save(twice, tmp_path / "saved.yml", "command")
    assert settings("--config", str(tmp_path / "saved.yml")).dataset_names == twice.dataset_names
    (tmp_path / "own.yml").write_text("dataset:\n  dataset_name:\n  - a.jsonl\n  - b.jsonl=3\n")
    assert settings("--config", str(tmp_path / "own.yml")).dataset_names == ("a.jsonl", "b.jsonl=3")
    for text, words in (
        ("dataset_name: []\n", "own.yml:1: dataset_name: a list is not text"),
        ("dataset_name: [[a]]\n", "own.yml:1: dataset_name: a list is not text"),
        ("dataset_name: [a, a]\n", "own.yml:1: dataset_name: 'a' is given twice"),
        ("seed: [1, 2]\n", "own.yml:1: seed: a list is not a whole number"),
    ):
        (tmp_path / "own.yml").write_text(text)
        with pytest.raises(UserError, match=re.escape(words)):
            settings("--config", str(tmp_path / "own.yml"))
