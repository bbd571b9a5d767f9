"""Rows with labels: which field is which, one spelling of each label, contradictions, and each label's share in every split."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import tickets
from finetune.dataset.near_texts import NearTexts
from finetune.dataset.prepare import Dataset, prepare
from finetune.dataset.preview import print_summary
from finetune.errors import UserError
from finetune.records.files import SPLITS, Row
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS

WORDS = "the quick brown fox jumps over a lazy dog while seven wizards brew strong coffee near green rivers".split()


def rows_of(labels: str = "Red Green Blue", count: int = 60, **fields: Any) -> list[Row]:
    draw = random.Random(4)
    texts = [" ".join(draw.choice(WORDS) for _ in range(9)) for _ in range(count)]
    return [{"text": text, "label": draw.choice(labels.split()), **fields} for text in texts]


def apart(rows: list[Row]) -> list[Row]:
    """The rows with texts of which no two share a word."""
    letters = str.maketrans("0123456789", "abcdefghij")
    return [
        {**row, "text": " ".join(f"{place}{at:04}".translate(letters) for place in range(9))}
        for at, row in enumerate(rows)
    ]


def made(tmp_path: Path, rows: list[Row], **options: Any) -> Dataset:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read(path, **options)


def read(path: Path, **options: Any) -> Dataset:
    given = {"valid_fraction": 0.1, "test_fraction": 0.2, **options}
    return prepare(DatasetConfig(type_="classify", dataset_name=str(path), **given), ROW_KINDS["classify"], print)


def every(dataset: Dataset) -> list[Row]:
    return [row for split in SPLITS for row in dataset.splits[split]]


def labels(dataset: Dataset) -> Counter[str]:
    return Counter(row["label"] for row in every(dataset))


def renamed(rows: list[Row], text: str, label: str, **more: Any) -> list[Row]:
    return [{text: row["text"], label: row["label"], **more} for row in rows]


def test_a_row_asks_with_the_labels_and_answers_with_one(tmp_path: Path) -> None:
    dataset = made(tmp_path, rows_of())
    row = dataset.splits["train"][0]
    system, user, assistant = row["messages"]
    assert system["content"].endswith("\n- Blue\n- Green\n- Red") and user["role"] == "user"
    assert assistant["content"] == row["label"] and "text" not in row
    record = dataset.record(DatasetConfig(type_="classify")).labels
    assert record and record.prompt == system["content"] and list(record.rows) == ["Blue", "Green", "Red"]
    assert sum(sum(of.values()) for of in record.rows.values()) == 60
    plain = made(tmp_path, rows_of(), labels_in_prompt="no").splits["train"][0]["messages"][0]["content"]
    assert "Blue" not in plain


@pytest.mark.parametrize(
    ("rows", "text", "label"),
    [
        (renamed(rows_of(), "ticket_text", "category", ticket_id="T1"), "ticket_text", "category"),
        (renamed(rows_of(), "Anliegen", "Sachgebiet"), "Anliegen", "Sachgebiet"),
        (
            renamed(rows_of(), "body", "Ticket Category", agent_reply="We look into it, thank you."),
            "body",
            "Ticket Category",
        ),
        (renamed(rows_of(), "prompt", "completion"), "prompt", "completion"),
        ([{**row, "label_text": row["label"], "label": 3} for row in rows_of()], "text", "label_text"),
        ([{"sentence": row["text"], "is_spam": row["label"] == "Red"} for row in rows_of()], "sentence", "is_spam"),
    ],
)
def test_text_and_label_are_found_and_said(tmp_path: Path, rows: list[Row], text: str, label: str) -> None:
    dataset = made(tmp_path, rows)
    assert f"text read from {text}, label from {label}" in dataset.notes
    used = {row["messages"][1]["content"] for row in every(dataset)}
    assert used <= {row[text] for row in rows}


@pytest.mark.parametrize(
    "rows",
    [
        [{**row, "intent": "ab"[at % 2]} for at, row in enumerate(rows_of())],
        [
            {"Anliegen": row["text"], "Sachgebiet": row["label"], "Prio": "ab"[at % 2]}
            for at, row in enumerate(rows_of())
        ],
    ],
)
def test_which_of_two_is_the_label_is_asked_and_the_remedy_works(tmp_path: Path, rows: list[Row]) -> None:
    with pytest.raises(UserError, match="labels that could be meant") as refused:
        made(tmp_path, rows)
    remedy = str(refused.value).rpartition("--column ")[2].rstrip(")")
    assert len(every(made(tmp_path, rows, column=remedy))) == 60


def test_several_fields_can_be_one_text(tmp_path: Path) -> None:
    rows = [
        {"subject": f"Case {at}", "body": row["text"], "category": row["label"]} for at, row in enumerate(rows_of())
    ]
    rows[0]["subject"] = ""
    dataset = made(tmp_path, rows, column="text=subject+body")
    texts = {row["messages"][1]["content"] for row in every(dataset)}
    assert rows[0]["body"] in texts and f"Case 1\n\n{rows[1]['body']}" in texts
    assert not dataset.findings.unused
    with pytest.raises(UserError, match="did you mean subject"):
        made(tmp_path, rows, column="text=subjct+body")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (
            [{"text": row["text"], "label": at / 7} for at, row in enumerate(rows_of())],
            "60 different values in 60 rows",
        ),
        ([{**row, "label": row["text"][:40]} for row in rows_of()], "are no labels"),
        (rows_of("Red"), "all 60 rows have the label 'Red'"),
        ([{**row, "label": ["Red", "Blue"]} for row in rows_of()], "--multi-label reads them"),
        (renamed(rows_of(), "text", "label", messages=[{"role": "user", "content": "x"}]), "not one question"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path: Path, rows: list[Row], why: str) -> None:
    with pytest.raises(UserError, match=why):
        made(tmp_path, rows)


def test_one_label_in_several_spellings_is_one_and_counted(tmp_path: Path) -> None:
    rows = rows_of()
    for at, spelling in enumerate(("red", "RED", "Red ", "  red")):
        rows[at]["label"] = spelling
    rows[6]["label"] = "dark  red"
    rows[7]["label"] = rows[8]["label"] = "dark red"
    rows[4]["label"] = "Ble\N{COMBINING DIAERESIS}u"
    rows[5]["label"] = "Bl\N{LATIN SMALL LETTER E WITH DIAERESIS}u"
    dataset = made(tmp_path, rows)
    assert set(labels(dataset)) == {"Red", "Green", "Blue", "dark red", "Bl\N{LATIN SMALL LETTER E WITH DIAERESIS}u"}
    assert dataset.findings.mended["label 'red' read as 'Red'"] == 2
    assert dataset.findings.mended["label 'dark  red' read as 'dark red'"] == 1
    assert dataset.findings.mended["white space around a label removed"] == 2
    with pytest.raises(UserError, match="label 'red' read as 'Red'"):
        made(tmp_path, rows, strict=True)


def test_labels_that_look_alike_are_kept_apart_and_told(tmp_path: Path) -> None:
    rows = [*rows_of("Refund Billing", 60), *rows_of("Refunds Level-1 Level-2 n/a", 40)]
    for at, row in enumerate(rows):
        row["text"] += f" {at}"
    dataset = made(tmp_path, rows)
    assert {"Refund", "Refunds", "Level-1", "Level-2"} <= set(labels(dataset))
    told = "\n".join(dataset.notes)
    assert (
        "'Refunds'" in told
        and "'Refund'" in told
        and "Level" not in told.partition("fewer than")[0].partition("alike")[2]
    )
    assert "'n/a'" in told and "may mean that there is none" in told


def test_a_text_with_two_labels_is_dropped_unless_asked_for(tmp_path: Path) -> None:
    rows = [*rows_of(), *({**row, "label": "Blue"} for row in rows_of()[:10])]
    twice = sum(row["label"] != "Blue" for row in rows[:10])
    dataset = made(tmp_path, rows)
    (reason,) = (reason for reason in dataset.findings.dropped if "another label" in reason)
    assert dataset.findings.dropped[reason] == 2 * twice and len(every(dataset)) == 60 - twice
    assert len(every(made(tmp_path, rows, same_prompt="keep"))) == 60 + twice
    assert len(every(made(tmp_path, rows, same_prompt="first"))) == 60
    with pytest.raises(UserError, match="--same-prompt refuse"):
        made(tmp_path, rows, same_prompt="refuse")


def test_each_label_has_its_share_in_each_split(tmp_path: Path) -> None:
    rows = apart(rows_of(" ".join(["often"] * 20 + ["some"] * 5 + ["rare"]), 400))
    dataset = made(tmp_path, rows)
    for label, count in labels(dataset).items():
        for split, share in (("valid", 0.1), ("test", 0.2)):
            there = sum(row["label"] == label for row in dataset.splits[split])
            assert abs(there - share * count) <= 1
    many = apart([{**row, "label": f"class {at % 50}"} for at, row in enumerate(rows_of(count=200))])
    dataset = made(tmp_path, many)
    assert {len({row["label"] for row in dataset.splits[split]}) for split in ("train", "test")} == {50}
    assert len(dataset.splits["valid"]) == 20


def test_few_rows_are_told(tmp_path: Path) -> None:
    rows = [*rows_of(), {"text": "one of its kind here", "label": "Alone"}]
    told = "\n".join(made(tmp_path, rows).notes)
    assert "1 label with fewer than 10 rows, too few to learn and to judge: Alone 1" in told
    assert "1 label without a row in the test split, so never tested: Alone" in told
    assert "with fewer than 5 rows in the test split" in told


def test_texts_that_are_nearly_the_same_are_in_one_split(tmp_path: Path) -> None:
    tail = "has not arrived although it was promised for last week, please tell me where it is"
    rows = [*rows_of(count=100), *({"text": f"Order {at} {tail}", "label": "Red"} for at in range(8))]
    dataset = made(tmp_path, rows)
    where = {split for split in SPLITS for row in dataset.splits[split] if tail in row["messages"][1]["content"]}
    assert len(where) == 1
    assert any("rows with texts that are nearly the same" in note for note in dataset.notes)


def test_near_texts_differ_in_a_fifth_of_their_words_at_most() -> None:
    near = NearTexts()
    base = "a parcel from your shop that should have been here on Monday is still missing today".split()
    texts = [
        " ".join(base),
        " ".join([*base[:-1], "now"]),
        " ".join([*base[:8], *"but nobody wrote a word of it".split()]),
    ]
    for at, text in enumerate([*texts, "Hi there", "Hi you"]):
        near.add(bytes([at]), text)
    assert list(near.links()) == [(b"\x01", b"\x00")]


@pytest.mark.parametrize("between", ["|", ";", ", ", None])
def test_rows_with_several_labels(tmp_path: Path, between: str | None) -> None:
    draw = random.Random(1)
    rows = rows_of(count=90)
    for row in rows:
        found = draw.sample(["Red", "green", "Blue pale"], draw.randint(1, 3))
        row["label"] = found if between is None else between.join(found)
    dataset = made(tmp_path, rows, multi_label=True)
    assert {label for row in every(dataset) for label in row["label"]} == {"Red", "green", "Blue pale"}
    for row in every(dataset):
        assert row["messages"][-1]["content"].split("\n") == row["label"] == sorted(row["label"], key=str.casefold)
    again = made(tmp_path, every(dataset), multi_label=True)
    assert sorted(map(str, every(again))) == sorted(map(str, every(dataset)))


def test_the_rows_that_were_written_can_be_read_again(tmp_path: Path) -> None:
    dataset = made(tmp_path, rows_of(source="shop"))
    again = made(tmp_path, every(dataset), strict=True, ignore="source")
    assert sorted(map(str, every(again))) == sorted(map(str, every(dataset)))


def test_the_tickets_of_a_spreadsheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tickets.write(tmp_path / "tickets.csv")
    with pytest.raises(UserError, match="3 of 560 rows"):
        read(source)
    dataset = read(source, fix=True)
    print_summary(DatasetConfig(type_="classify", dataset_name=str(source), fix=True), dataset)
    shown = capsys.readouterr().out
    assert set(labels(dataset)) == set(tickets.ROWS)
    assert "text read from ticket_text, label from category" in shown
    assert "- Wrong item" in shown and "\r" not in "".join(row["messages"][1]["content"] for row in every(dataset))
    assert not dataset.findings.unused.keys() & {"ticket_text", "category"}
    assert dataset.read == len(every(dataset)) + dataset.findings.dropped.total() + len(dataset.findings.errors)


@pytest.mark.parametrize("several", [False, True])
def test_names_of_classes_in_parquet_are_used(tmp_path: Path, several: bool) -> None:
    import datasets

    names = datasets.ClassLabel(names=["negative", "positive"])
    rows = rows_of()
    values = [[0, 1] if several and at % 3 == 0 else [at % 2] if several else at % 2 for at in range(60)]
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.Sequence(names) if several else names}
    )
    table = datasets.Dataset.from_dict({"text": [row["text"] for row in rows], "label": values}, features=features)
    table.to_parquet(str(tmp_path / "rows.parquet"))
    dataset = read(tmp_path / "rows.parquet", multi_label=several)
    found = {label for row in every(dataset) for label in (row["label"] if several else [row["label"]])}
    assert found == {"negative", "positive"}
    chat = prepare(
        DatasetConfig(
            type_="chat", dataset_name=str(tmp_path / "rows.parquet"), column="prompt=text,completion=label", fix=True
        ),
        ROW_KINDS["chat"],
        print,
    )
    assert not {row["messages"][-1]["content"] for row in every(chat)} & found  # other kinds of rows: as it was


def test_fields_that_have_names_of_ours_do_not_get_in_the_way(tmp_path: Path) -> None:
    rows = [
        {"body": row["text"], "category": row["label"], "label": "x", "text": 3, "messages": None} for row in rows_of()
    ]
    dataset = made(tmp_path, rows, column="text=body,label=category", ignore="label")
    row = every(dataset)[0]
    assert row["label"] in ("Red", "Green", "Blue") and row["source_label"] == "x" and row["source_text"] == 3
    assert set(dataset.findings.unused) == {"text"}


def test_rows_of_one_value_of_split_by_stay_together(tmp_path: Path) -> None:
    rows = [{**row, "user": at % 20} for at, row in enumerate(rows_of(count=200))]
    dataset = made(tmp_path, rows, split_by="user")
    users = [{row["user"] for row in dataset.splits[split]} for split in SPLITS]
    assert all(users) and sum(map(len, users)) == 20


def test_several_sources_have_one_list_of_labels(tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    rows = [{"Anliegen": row["text"] + " und mehr", "Sachgebiet": row["label"]} for row in rows_of("RED Yellow", 40)]
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = tmp_path / "rows.jsonl"
    first.write_text("".join(json.dumps(row) + "\n" for row in rows_of()))
    config = DatasetConfig(
        type_="classify", dataset_name=(str(first), str(other)), valid_fraction=0.1, test_fraction=0.2
    )
    dataset = prepare(config, ROW_KINDS["classify"], print)
    assert set(labels(dataset)) == {"Red", "Green", "Blue", "Yellow"}
    assert len({row["messages"][0]["content"] for row in every(dataset)}) == 1


def test_several_labels_that_no_row_has_are_told(tmp_path: Path) -> None:
    assert "--multi-label: no row has several labels" in made(tmp_path, rows_of(), multi_label=True).notes
