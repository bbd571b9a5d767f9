"""The verdict says by what it was reached: six situations, each with its sentence."""

from collections.abc import Sequence
from typing import Any

import pytest

from finetune.backends.interface import Answer
from finetune.evaluation import scorecard
from finetune.evaluation.evaluate import Losses, Scored, Side, Subject, result
from finetune.records.evaluation import EvaluationRecord
from finetune.records.files import Row
from finetune.report import answers
from finetune.tasks import TASKS, Score
from finetune.tasks.mixed import for_rows


def row(task: str, number: int, **fields: Any) -> Row:
    reference = fields.get("output", f"answer {number}")
    messages = [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": reference}]
    named = {"sql": {"sql_prompt": f"q{number}"}, "alpaca": {"instruction": f"q{number}", "output": reference}}
    return {"messages": messages, **named.get(task, {}), **fields}


def side(values: Sequence[float | None], loss: float, kinds: Sequence[str] = ()) -> Side:
    scores = [Score(value, kinds[i] if kinds else "ok" if value == 1 else "wrong") for i, value in enumerate(values)]
    answered = [Scored(Answer("x", 1, True, 0.1), score) for score in scores]
    return Side(answered, Losses([loss + i / 100 for i in range(len(values))], [2] * len(values)))


def judged(
    task: str, rows: Sequence[Row], base: Sequence[float | None], tuned: Sequence[float | None], kind: str = ""
) -> EvaluationRecord:
    kinds = [kind] * len(rows) if kind else ()
    sides = {"base": side(base, 3.0, kinds), "tuned": side(tuned, 1.0, kinds)}
    return result(Subject(for_rows(TASKS[task], rows), "test", "m", "checkpoints"), rows, sides)


def said(record: EvaluationRecord, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    scorecard.print_comparison(record, 0)
    return capsys.readouterr().out


SITUATIONS = {
    "executed SQL": (
        "sql", [row("sql", i) for i in range(12)], [0.0] * 12, [1.0] * 12, "", "better", "execution accuracy",
        "Verdict: the tuned model is better than the base model by executed SQL.",
    ),
    "exact match": (
        "chat", [row("chat", i) for i in range(12)], [0.0] * 12, [1.0] * 12, "", "better", "exact match",
        "Verdict: the tuned model is better than the base model by exact match.",
    ),
    "graded": (
        "alpaca", [row("alpaca", i, output="some blue words") for i in range(12)], [0.2] * 12, [0.6] * 12, "partial",
        "better", "score", "Verdict: the tuned model is better than the base model by word overlap only.",
    ),
    "loss": (
        "chat", [row("chat", i, output="many words " * 9) for i in range(12)], [None] * 12, [None] * 12,
        "long_reference", "better", "loss per token",
        "Verdict: the tuned model is better than the base model by loss only: no answer could be judged.",
    ),
    "nothing": (
        "sql", [row("sql", i) for i in range(15)], [None] * 15, [None] * 15, "gold_error", "no evidence", "nothing",
        "Verdict: cannot be judged.\nNo answer could be judged, and the loss does not say whether one is right."
        " Loss per token of the reference",
    ),
    "few": (
        "sql", [row("sql", i) for i in range(5)], [0.0] * 5, [1.0] * 5, "", "no evidence", "execution accuracy",
        "5 answers fixed, 0 broken; exact McNemar test: p = 0.062; 5 rows are too few to compare",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_verdict_names_its_measure(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, rows, base, tuned, kind, word, decided_by, sentence = SITUATIONS[name]
    record = judged(task, rows, base, tuned, kind)
    assert (record.verdict, record.decided_by) == (word, decided_by)
    assert sentence in (out := said(record, capsys, monkeypatch))
    for internal in ("gold_error", "long_reference", "partial"):
        assert internal not in out


def test_nothing_judged_is_no_headline_of_success() -> None:
    task, rows, base, tuned, kind, *_ = SITUATIONS["nothing"]
    record = judged(task, rows, base, tuned, kind)
    assert answers.headline(record).word == "Cannot be judged" and record.unscored == {"gold_error": 15}
    assert answers.skipped(record) == "15 of 15 rows: the reference does not run"
    assert record.worse_rows == [] and answers.headline(judged(*SITUATIONS["loss"][:5])).word == "Better by loss only"


def test_the_measure_is_that_of_the_rows() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    calls = [row("chat", i, tools=tools) for i in range(12)]
    assert judged("chat", calls, [0.0] * 12, [1.0] * 12).measure == "the right calls"
    numbers = [row("chat", i, answer="42") for i in range(12)]
    assert judged("chat", numbers, [0.0] * 12, [1.0] * 12).measure == "the right number"
    mixed = [*calls[:7], *(row("sql", i, type="sql") for i in range(5))]
    assert judged("chat", mixed, [0.0] * 12, [1.0] * 12).measure == "the right calls and executed SQL"
    objects = [row("alpaca", i, output='{"a": 1}') for i in range(12)]
    assert judged("alpaca", objects, [0.0] * 12, [1.0] * 12).measure == "equal JSON values"
    few = judged(
        "chat", [row("chat", i) for i in range(12)], [None] * 9 + [0.0] * 3, [None] * 9 + [1.0] * 3, "different"
    )
    assert few.measure == "loss only: 9 of 12 answers could not be judged"


def test_only_rows_with_a_form_are_well_formed() -> None:
    plain = judged("chat", [row("chat", i) for i in range(3)], [0.0] * 3, [1.0] * 3)
    assert plain.tuned.formatted is None and "well-formed" not in [one.label for one in answers.measures(plain)]
    one = [*(row("alpaca", i) for i in range(2)), row("alpaca", 2, output='{"a": 1}')]
    broken = judged("alpaca", one, [0.0] * 3, [0.0] * 3, "invalid_json")
    assert broken.tuned.formatted == 0.0 and "well-formed" in [found.label for found in answers.measures(broken)]
    assert judged("sql", [row("sql", 1)], [0.0], [1.0]).tuned.formatted == 1.0
