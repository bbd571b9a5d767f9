"""Long answers: what is counted of them, from rows to the table and the page."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.evaluation import drafts, scorecard
from finetune.records.evaluation import EvaluationRecord
from finetune.records.files import Row
from finetune.report import render
from report_records import evaluation, of_quality, records

BODY = "we have looked at it and everything is on its way to you now, so please wait a little"


def row(prompt: str, answer: str) -> Row:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def reply(name: str, body: str) -> str:
    return f"Hi {name}, thanks for getting in touch! {BODY}. {body}\n\nBest,\nTeam Northwind"


NAMES = "Hans Maria Peter Anna Tom Eva Ida Max Lea Ben Kim Jan".split()
TRAIN = [row(f"I am {name}, order {7000 + i}", reply(name, f"It is order {7000 + i}, within 30 days.")) for i, name in
         enumerate(NAMES)]  # fmt: skip
TEST = [row(f"I am Karl, order {8000 + i}", reply("Karl", f"It is order {8000 + i}.")) for i in range(4)]


def record(tuned: list[str], base: list[str], rows: list[Row] = TEST, task: str = "chat") -> EvaluationRecord:
    made = evaluation(general=False)
    of = [
        replace(made.rows[0], base=replace(made.rows[0].tuned, answer=b), tuned=replace(made.rows[0].tuned, answer=t))
        for t, b in zip(tuned, base, strict=True)
    ]
    return replace(made, task=task, rows=of, n=len(of), worse_rows=[])


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> None:
    written = [found for one in TRAIN if (found := drafts.Written.of(one))]
    monkeypatch.setattr(drafts, "training_answers", lambda run: written)


TUNED = [
    reply("Karl", "It is order 8000, within 30 days."),  # the last is the house's
    reply("Karl", "It is order 8011, a 7-day return."),  # both are invented
    reply("Hans", "It is order 8002."),  # somebody else's name
    reply("Karl", "It is order 8003. Ask Priya in our office."),  # invented
]
BASE = ["I do not know."] * 4
RUN: Any = SimpleNamespace()


def test_where_the_facts_of_an_answer_come_from(train: None, capsys: pytest.CaptureFixture[str]) -> None:
    made = drafts.add(record(TUNED, BASE), RUN, TEST)
    found = made.drafts
    assert found and found.base and (found.n, found.trained) == (4, 12)
    assert [(one.row, one.kind, one.text, one.origin) for one in found.tuned.doubtful] == [
        (1, "number", "8011", "invented"),
        (1, "number", "7-day", "invented"),
        (2, "name", "Hans", "other rows"),
        (3, "name", "Priya", "invented"),
    ]
    numbers = found.tuned.facts["number"]
    assert (numbers.said, numbers.prompt, numbers.training, numbers.invented) == (6, 3, 1, 2)
    assert (found.tuned.opening, found.tuned.closing, found.base.opening) == (4, 4, 0)
    assert found.tuned.length == pytest.approx(1, abs=0.2) and found.base.length < 0.3
    scorecard.print_comparison(made, 0)
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "tuned, invented (in neither prompt, reference nor training answers): 2 numbers, 1 name in 2 of 4 answers"
        in said
    )
    assert 'row 2 "8011", row 2 "7-day", row 4 "Priya".' in said and 'row 3 "Hans".' in said
    assert 'Usual opening: "Hi NAME, thanks for getting in touch!' in said and "base: no invented facts found" in said
    page = render(**of_quality(records(), drafts=found))
    assert "7-day" in page and "usual closing" in page


def test_nothing_is_said_of_short_answers_calls_and_other_types(train: None) -> None:
    sums = [{**row("How many?", f"First there are {i} and then {i} more, which makes #### {2 * i}"), "answer": f"{2 * i}"}
            for i in range(4)]  # fmt: skip
    assert drafts.add(record(TUNED, BASE, sums), RUN, sums).drafts is None
    short = [row("Which?", "Billing")] * 4
    assert drafts.add(record(TUNED, BASE, short), RUN, short).drafts is None
    assert drafts.add(record(TUNED, BASE, task="sql"), RUN, TEST).drafts is None
    assert drafts.add(record(TUNED, BASE), RUN, [*TEST[:1], *short[:3]]).drafts is None
    half = drafts.add(record(TUNED, BASE), RUN, [*TEST[:2], *short[:2]]).drafts
    assert half and half.n == 2 and {one.row for one in half.tuned.doubtful} == {1}


def test_without_training_rows_the_references_take_their_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Any = SimpleNamespace(data_dir=tmp_path)
    made = drafts.add(record(TUNED, BASE), run, TEST)
    assert made.drafts and made.drafts.trained == 0
    scorecard.print_comparison(made, 0)
    assert "the references (the training rows are gone)" in " ".join(capsys.readouterr().out.split())


def test_where_names_cannot_be_told_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    german = (
        "Guten Tag, wir haben Ihre Bestellung gestern an das Lager gegeben und senden das Paket mit der Rechnung per Post, wie"
        " in der Nachricht vom Kundendienst versprochen."
    )
    rows = [row("Wo ist mein Paket?", german)] * 4
    written = [found for one in rows if (found := drafts.Written.of(one))]
    monkeypatch.setattr(drafts, "training_answers", lambda run: written)
    found = drafts.add(record([german] * 4, [german] * 4, rows), RUN, rows).drafts
    assert found and found.no_names and "name" not in found.tuned.facts


def test_the_record_is_written_and_read(train: None, tmp_path: Path) -> None:
    made = drafts.add(record(TUNED, BASE), RUN, TEST)
    made.write(tmp_path / "evaluation.json")
    assert EvaluationRecord.read(tmp_path / "evaluation.json") == made
