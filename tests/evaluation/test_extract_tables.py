"""Fields and restricted answers: in the record, on the terminal, on the page; which rows cannot be restricted."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from finetune.backends.interface import Answer
from finetune.errors import UserError
from finetune.evaluation import by_grammar, scorecard
from finetune.evaluation.evaluate import Scored
from finetune.records.evaluation import EvaluationRecord
from finetune.report import field_table, render
from finetune.tasks import TASKS
from finetune.tasks.extract import scoring
from finetune.tasks.extract.grammar import grammar_schema
from finetune.tasks.extract.objects import written
from finetune.tasks.extract.schema import of_row, root_of
from report_records import evaluation, of_quality, records

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "s<b>": {"type": "string"}},
    "required": ["n", "s<b>"],
}


def row_of(number: int) -> dict:
    answer = {"role": "assistant", "content": written({"n": number, "s<b>": "x"})}
    return {
        "messages": [{"role": "user", "content": f"n {number}"}, answer],
        "json_schema": root_of(SCHEMA).as_schema(),
    }


ROWS = [row_of(number) for number in range(5)]


def said(*texts: str, stopped: bool = True) -> list[Scored]:
    return [Scored(Answer(t, 7, stopped, 0.1), scoring.score(row, t)) for row, t in zip(ROWS, texts, strict=True)]


def right(at: int) -> str:
    return str(ROWS[at]["messages"][-1]["content"])


def record() -> EvaluationRecord:
    """Of five rows: the base model writes no JSON, the tuned one gets three right; restricted, both write objects."""
    free = {
        "base": said(*["no"] * 5),
        "tuned": said(right(0), right(1), right(2), '{"n":3', '{"n":9,"s<b>":"x","z":1}'),
    }
    by = {"base": said(*[right(4)] * 5), "tuned": said(right(0), right(1), right(2), right(3), '{"n":9,"s<b>":"x"}')}
    table = scoring.field_table(ROWS, {name: [one.answer.text for one in scored] for name, scored in free.items()})
    return by_grammar.add(replace(evaluation(), fields=table), free, by)


def test_the_restriction_is_compared_with_free_answers_and_between_the_models() -> None:
    found = record().restricted
    assert found and found.base and (found.base.right, found.tuned.right) == (1, 4)
    assert (found.tuned.verdict, found.verdict) == ("no evidence", "no evidence")
    assert found.tuned.explanation.startswith("1 answer fixed, 0 broken")
    assert found.tuned.parts["valid JSON"] == 1.0 and len(found.tuned.answers) == 5


def test_the_terminal_shows_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    scorecard.print_comparison(record(), 0)
    out = " ".join(capsys.readouterr().out.split())
    assert "most frequent fault" in out and "restricted" in out
    assert "Restricted against free, tuned: no evidence of a difference; 1 answer fixed, 0 broken" in out


def test_a_restricted_answer_that_was_cut_off_is_told() -> None:
    cut = said(*['{"n":'] * 5, stopped=False)
    told = field_table.restriction(by_grammar.add(evaluation(), {"tuned": cut}, {"tuned": cut}))
    assert "5 restricted answers of the tuned model were cut off at the token limit: their objects have no end." in told


def test_the_page_has_the_fields_their_wrong_values_and_the_restricted_answers() -> None:
    made = record()
    page = render(**of_quality(records(), fields=made.fields, restricted=made.restricted))
    assert 'href="#fields"' in page and "s&lt;b&gt;" in page and "s<b>" not in page
    assert "n: wrong in 2 rows" in page and "not in the schema" in page
    assert 'href="#restricted"' in page and "Restricted against free, tuned: no evidence of a difference" in page
    assert "Only objects of the schema" not in render(**of_quality(records(), fields=made.fields))


def test_references_that_are_longer_than_an_answer_may_be_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = iter([3, 9, 12])
    made = [[SimpleNamespace(loss_mask=[False, *[True] * next(lengths)])] for _ in range(3)]
    run = SimpleNamespace(task=TASKS["extract"], encoder=SimpleNamespace(examples=lambda conversations: made))
    by_grammar.tell_cut(run, ROWS[:3], 8)  # type: ignore[arg-type]
    assert "2 references longer than --max-tokens 8" in capsys.readouterr().err
    by_grammar.tell_cut(run, ROWS[:3], 12)  # type: ignore[arg-type]
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "rows", "problem"),
    [("extract", [{"messages": []}], "rows of several types")],
)
def test_rows_that_cannot_be_restricted(task: str, rows: list, problem: str) -> None:
    run = SimpleNamespace(task=TASKS[task], encoder=None)
    with pytest.raises(UserError, match=f"--restrict has no effect with {problem}"):
        by_grammar.open_grammar(run, rows)  # type: ignore[arg-type]


def test_without_the_grammar_library_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    run = SimpleNamespace(task=TASKS["extract"], encoder=None)
    with pytest.raises(UserError, match=r"--restrict: llguidance is not installed \(run: make setup\)"):
        by_grammar.open_grammar(run, ROWS)  # type: ignore[arg-type]


def test_dates_in_another_form_are_a_pattern_of_the_grammar() -> None:
    schema = {"type": "object", "properties": {"due": {"type": "string", "x-date-form": "%d.%m.%Y"}}}
    found = grammar_schema(of_row(json.loads(json.dumps(schema))))
    assert found["properties"] == {"due": {"type": "string", "pattern": r"^\d{1,2}\.\d{1,2}\.\d{4}$"}}
