"""python -m finetune init: what it proposes is what dataset.py does, and files of other kinds get one true line."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dataset as dataset_script
from finetune import scripts
from finetune.commands.init import asking, command
from finetune.commands.init.command import Config
from finetune.dataset import looking, recognition
from finetune.errors import UserError
from finetune.records.dataset import read_dataset_record
from finetune.settings import conflicts
from finetune.settings.command_line import parse
from finetune.settings.config import SECTIONS, DatasetConfig
from finetune.settings.fields import build
from finetune.tasks import ROW_KINDS

CITIES = ("Rome", "Oslo", "Lima", "Kyiv", "Bern")
TOPICS = ("Billing", "Crash", "Praise")


def table(rows: list[dict[str, object]], delimiter: str = ",") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def ticket(number: int, *, reply: bool = True) -> dict[str, object]:
    words = f"{CITIES[number % 5]} {number * 7919 % 1000} {'abcdefgh'[number % 8] * 4} {number * 31 % 97}"
    row = {"no": number, "ticket_text": f"Order {words} has a problem", "category": TOPICS[number * number % 3]}
    return row | ({"agent_reply": f"Dear customer, about {words}: we look at it, {number}."} if reply else {})


def turns(number: int) -> list[dict[str, object]]:
    return [
        {"role": "user", "content": f"What about number {number}?"},
        {"role": "assistant", "content": f"The number {number} is a fine one, and {number + 1} follows."},
    ]


def calling(number: int) -> dict[str, object]:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": json.dumps({"a": number})}}
    asked = {"role": "user", "content": f"Add one to {number}"}
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    return {"messages": [asked, {"role": "assistant", "content": None, "tool_calls": [call]}], "tools": [tool]}


def asked_in_sql(number: int) -> dict[str, object]:
    return {
        "id": number,
        "question": f"How many towns have more than {number} people?",
        "statement": f"SELECT COUNT(*) FROM town WHERE people > {number}",
        "tables": "CREATE TABLE town (name TEXT, people INTEGER); INSERT INTO town VALUES ('Rome', 30), ('Bern', 5);",
    }


def invoice(number: int) -> dict[str, object]:
    made = {"sku": f"w-{number}", "quantity": number % 9 + 1}
    return {"line": f"{made['quantity']} pieces of {made['sku']}, please", "json": made}


# file -> its text, type, --column
KINDS: dict[str, tuple[str, str, str | None]] = {
    "tickets.csv": (table([ticket(n) for n in range(60)]), "classify", "text=ticket_text,label=category"),
    "tickets.tsv": (
        table([ticket(n, reply=False) for n in range(60)], "\t"),
        "classify",
        "text=ticket_text,label=category",
    ),
    "replies.csv": (
        table([{k: v for k, v in ticket(n).items() if k != "category"} for n in range(40)], ";"),
        "chat",
        "prompt=ticket_text,completion=agent_reply",
    ),
    "chats.jsonl": (lines([{"messages": turns(n)} for n in range(40)]), "chat", None),
    "alpaca.json": (
        json.dumps(
            [
                {"instruction": f"Say the number {n} in words", "input": "", "output": f"It is number {n}, in words."}
                for n in range(40)
            ]
        ),
        "chat",
        None,
    ),
    "calls.jsonl": (lines([calling(n) for n in range(40)]), "chat", None),
    "queries.jsonl": (
        lines([asked_in_sql(n) for n in range(40)]),
        "sql",
        "sql_prompt=question,sql=statement,sql_context=tables",
    ),
    "pairs.jsonl": (
        lines(
            [{"question": f"Why {n}?", "chosen": f"Because of {n}.", "rejected": f"No idea, {n}"} for n in range(40)]
        ),
        "preference",
        "prompt=question",
    ),
    "invoices.jsonl": (lines([invoice(n) for n in range(40)]), "extract", "text=line"),
    "labelled.jsonl": (
        lines([{"messages": [turns(n)[0], {"role": "assistant", "content": TOPICS[n * n % 3]}]} for n in range(60)]),
        "classify",
        None,
    ),
    "with_gaps.csv": (
        table([ticket(n) | ({"category": ""} if n in (3, 9) else {}) for n in range(60)]),
        "classify",
        "text=ticket_text,label=category",
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def from_file(config_class: type, path: str = "run.yml") -> object:
    """The configuration as the script itself makes it."""
    explicit = {"config": Path(path)}
    config = build(config_class, [("flag", explicit), *scripts.layers_of(config_class)(explicit)], scripts.CHOICES)
    conflicts.check(config)
    return config


@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name][1] in ROW_KINDS])
def test_what_is_proposed_is_what_dataset_py_does(here: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, kind, column = KINDS[name]
    (here / name).write_text(text)
    command.main(Config(files=name, json=True, estimate=False))
    proposed = json.loads(capsys.readouterr().out)
    assert (proposed["type"], proposed["settings"]["dataset"].get("column")) == (kind, column)
    assert sorted(path.name for path in here.iterdir()) == sorted([name, "run.yml"])  # nothing else is written
    config = from_file(DatasetConfig)
    assert (config.type_, config.column) == (kind, column)
    dataset_script.main(config)
    record = read_dataset_record(here / "data")
    for field in ("rows_read", "kept", "rows", "dropped"):
        assert proposed[field] == getattr(record, field), field
    for section in SECTIONS.values():
        from_file(section)  # each script takes the file
    assert capsys.readouterr().err.count("error") == 0


def test_documents_are_proposed_as_text(here: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        (here / f"chapter{number}.txt").write_text(f"Chapter {number}. " + "It was a dark and stormy night. " * 40)
    (here / "texts").mkdir()
    for path in here.glob("*.txt"):
        path.rename(here / "texts" / path.name)
    command.main(Config(files="texts", model=str(tiny_model), json=True, estimate=False))
    proposed = json.loads(capsys.readouterr().out)
    dataset_script.main(from_file(DatasetConfig))
    record = read_dataset_record(here / "data")
    assert record.type == proposed["type"] == "text"
    assert record.rows == proposed["rows"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("photo.jpg", b"\xff\xd8\xff\xe0" + bytes(200), "a picture"),
        ("photo.webp", b"RIFF\x10\0\0\0WEBPVP8 " + bytes(200), "a picture"),
        ("empty.csv", b"", "an empty file"),
        ("header.csv", b"text,label\n", "no rows in it"),
        ("numbers.csv", b"a,b\n" + b"1,2.5\n" * 40, "a table of numbers"),
        ("app.log", b"2026-01-05 10:11:12 INFO begin\n" * 9, "a log file"),
        ("server.txt", b"Jan  5 10:11:12 host sshd[12]: accepted\n" * 9, "a log file"),
        ("main.py", b"import os\nprint(os.getcwd())\n", "source code (Python)"),
        ("run", b"#!/bin/sh\nexec true\n", "source code"),
        (
            "mail.mbox",
            b"From a@b.c Mon Jan  5 10:00:00 2026\nFrom: a@b.c\nSubject: x\n\nText\n",
            "a mailbox of e-mails",
        ),
        ("song.mp3", b"ID3\x04\0\0" + bytes(200), "a sound"),
        ("settings.yml", b"a: 1\nb: 2\n", "a file of YAML"),
    ],
)
def test_a_file_of_another_kind_gets_one_true_line(here: Path, name: str, content: bytes, said: str) -> None:
    (here / name).write_bytes(content)
    with pytest.raises(UserError) as refused:
        command.main(Config(files=name, yes=True, estimate=False))
    assert refused.value.exit_code == 2
    assert str(refused.value).startswith(name)
    assert said in str(refused.value)
    assert "(" in str(refused.value) or ":" in str(refused.value)
    assert not (here / "run.yml").exists()


def test_an_existing_file_is_not_replaced_and_the_remedy_works(here: Path) -> None:
    (here / "run.yml").write_text("mine")
    (here / "tickets.csv").write_text(KINDS["tickets.csv"][0])
    with pytest.raises(UserError, match=r"--output another\.yml"):
        command.main(Config(files="tickets.csv", yes=True, estimate=False))
    command.main(Config(files="tickets.csv", yes=True, estimate=False, output=Path("another.yml")))
    assert (here / "run.yml").read_text() == "mine"
    assert (here / "another.yml").exists()


def test_folders_with_earlier_rows_are_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "tickets.csv").write_text(KINDS["tickets.csv"][0])
    (here / "data").mkdir()
    (here / "data" / "mine.txt").write_text("mine")
    command.main(Config(files="tickets.csv", json=True, estimate=False))
    dataset = from_file(DatasetConfig)
    assert str(dataset.output_dir) == "data-tickets"
    assert str(from_file(SECTIONS["train"]).data_dir) == "data-tickets"
    assert str(from_file(SECTIONS["test"]).adapter_path) == "checkpoints-tickets"
    assert str(from_file(SECTIONS["benchmark"]).results_dir) == "results-tickets"


def answering(monkeypatch: pytest.MonkeyPatch, *answers: str) -> Callable[[], list[str]]:
    """A person at a terminal who types these lines."""
    asked: list[str] = []
    left = iter(answers)

    def read(prompt: str) -> str:
        asked.append(prompt)
        answer = next(left)
        if answer == "^C":
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(asking, "input", read, raising=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    return lambda: asked


def test_a_person_chooses_what_is_to_be_learned(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "tickets.csv").write_text(KINDS["tickets.csv"][0])
    asked = answering(monkeypatch, "7", "2", "")
    command.main(Config(files="tickets.csv", estimate=False))
    assert len(asked()) == 3
    assert from_file(DatasetConfig).column == "prompt=ticket_text,completion=agent_reply"
    assert "a number from 1 to" in capsys.readouterr().err


def test_interrupting_a_question_leaves_nothing_behind(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "tickets.csv").write_text(KINDS["tickets.csv"][0])
    answering(monkeypatch, "^C")
    with pytest.raises(KeyboardInterrupt):
        command.main(Config(files="tickets.csv", estimate=False))
    assert [path.name for path in here.iterdir()] == ["tickets.csv"]


@pytest.mark.parametrize(
    ("rows", "type_", "parts"),
    [
        # labels that are sorted, with other columns that look like labels
        (
            [{"id": n, "lang": "en", "review": f"Text number {n} of them all", "stars": n // 20} for n in range(60)],
            "text",
            {"text": "review"},
        ),
        (
            [{"Frage": f"Was ist {n} mal zwei?", "Antwort": f"Das ist {2 * n}, ganz einfach."} for n in range(30)],
            "chat",
            {},
        ),
        ([{"q": f"count of {n}", "sql": f"with a as (select {n}) select * from a"} for n in range(30)], "sql", {}),
        ([{"text": f"Some text {n}", "tags": [["a"], ["b"], ["a", "b"]][n % 3]} for n in range(60)], "classify", {}),
        ([{"text": "A long text about a thing. " * 40 + str(n)} for n in range(30)], "text", {}),
    ],
)
def test_fields_of_other_names_and_values(rows: list[dict[str, object]], type_: str, parts: dict[str, str]) -> None:
    seen = looking.Look()
    import random

    for row in rows:
        seen.see(row, random.Random(0))
    first = recognition.guesses(seen, "rows")[0]
    assert first.type_ == type_
    assert parts.items() <= dict(first.parts).items()


def test_the_wrong_type_names_the_command_that_works(here: Path) -> None:
    (here / "tickets.csv").write_text(KINDS["tickets.csv"][0])
    with pytest.raises(UserError) as refused:
        dataset_script.main(DatasetConfig(dataset_name="tickets.csv"))  # --type sql, the default
    assert "tickets.csv:2: no field sql_prompt" in str(refused.value)
    assert "(and 59 more rows, such as :3, :4)" in str(refused.value)
    command = re.search(r"these rows look like classify, since .*?: python dataset\.py ([^;)]*)", str(refused.value))
    assert command
    explicit = parse(DatasetConfig, scripts.CHOICES, command[1].split(), "")
    layers = scripts.layers_of(DatasetConfig)(explicit)
    dataset_script.main(build(DatasetConfig, [("flag", explicit), *layers], scripts.CHOICES))
    assert read_dataset_record(here / "data").type == "classify"


def test_many_problems_that_differ_in_values_are_one_line(here: Path) -> None:
    rows = [{"messages": [{"role": f"bot{n}", "content": "x"}, *turns(n)]} for n in range(30)]
    (here / "rows.jsonl").write_text(lines(rows))
    with pytest.raises(UserError) as refused:
        dataset_script.main(DatasetConfig(type_="chat", dataset_name="rows.jsonl"))
    assert not refused.value.details
    assert "rows.jsonl:1: a message has the role 'bot0'" in str(refused.value)
    assert "(and 29 more rows like it, such as :2, :3)" in str(refused.value)


def test_a_date_is_no_answer() -> None:
    seen = looking.Look()
    import random

    for n in range(40):
        seen.see(
            {"message": f"My kettle number {n} is broken", "opened_at": f"2026-01-01 10:{n:02d}"}, random.Random(0)
        )
    assert not [one for one in recognition.guesses(seen, "rows") if one.parts.get("completion") == "opened_at"]
