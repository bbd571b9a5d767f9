"""The score of extracted objects: what is right, what is wrong, and how that is said; the table of fields."""

import json
from typing import Any

import pytest

from finetune.evaluation.evaluate import evaluate
from finetune.records.files import Row
from finetune.tasks import TASKS
from finetune.tasks.base import Score
from finetune.tasks.extract.objects import written
from finetune.tasks.extract.scoring import field_table, score
from finetune.tasks.extract.survey import Survey

LINE = {
    "sku": "HB-8841", "description": "Hex bolt", "quantity": 5, "unit_price": 29.61, "vat": -19, "total": 148.05,
    "due": "2024-03-05", "tags": ["b", "a", "a"], "at": [1.5, 2], "by": {"name": "Ann", "city": None}, "paid": False,
}  # fmt: skip


def row_of(*objects: dict[str, Any], reference: int = 0) -> Row:
    """A row whose schema is that of all these objects."""
    survey = Survey()
    for at, one in enumerate(objects):
        survey.see(one, f"row {at}")
    root, wanted = survey.schema(), objects[reference]
    asked = {"role": "user", "content": "line"}
    return {"messages": [asked, {"role": "assistant", "content": written(wanted)}], "json_schema": root.as_schema()}


ROW = row_of(LINE, {**LINE, "by": {"name": "Bo", "city": "Oslo"}}, {**LINE, "due": "2024-12-31", "note": "x"})
ROW_NOTED = row_of({**LINE, "note": "x"}, LINE)


def changed(**fields: Any) -> str:
    return json.dumps({name: value for name, value in {**LINE, **fields}.items() if value is not ...})


def judged(answer: str, row: Row = ROW) -> Score:
    return score(row, answer)


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(LINE),
        json.dumps(LINE, indent=2),
        written(dict(reversed(LINE.items()))),
        f"  {json.dumps(LINE)}\n",
        f"<think>It is a bolt.</think>\n{json.dumps(LINE)}",
        changed(quantity=5.0),
        json.dumps(LINE).replace("148.05", "1.4805e2"),
        json.dumps(LINE).replace("29.61", "29.610"),
        changed(sku=" HB-8841 "),
        changed(due="2024-3-5"),
        changed(due="2024/03/05"),
        changed(tags=["a", "b", "a"]),
    ],
)
def test_what_says_the_same_is_right(answer: str) -> None:
    found = judged(answer)
    assert (found.value, found.kind, found.reason) == (1.0, "ok", "")
    assert found.parts["valid JSON"] == found.parts["fields right"] == 1.0


def test_unicode_forms_and_whole_floats() -> None:
    row = row_of({"name": "Zo\u00eb", "total": 11864.0, "n": 3})
    assert judged('{"name": "Zoe\\u0308", "total": 11864, "n": 3}', row).value == 1
    assert judged('{"name": "zo\u00eb", "total": 11864, "n": 3}', row).reason == (
        'name is "zoë", not "Zoë" (upper and lower case)'
    )


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (changed(quantity=148.05, total=5), "wrong_value", "quantity is 148.05, not 5 (the value of total)"),
        (changed(total=14805), "wrong_value", "total is 14805, not 148.05 (decimal point moved)"),
        (changed(vat=19), "wrong_value", "vat is 19, not -19 (lost sign)"),
        (changed(total=148.1), "wrong_value", "total is 148.1, not 148.05 (rounded)"),
        (changed(total=7.7), "wrong_value", "total is 7.7, not 148.05"),
        (changed(quantity="5"), "wrong_type", 'quantity is "5", not 5 (text, not a number)'),
        (changed(paid=0), "wrong_type", "paid is 0, not false (a number, not true or false)"),
        (changed(total=None), "wrong_value", "total is null, not 148.05"),
        (changed(total=...), "missing_field", "total is missing: 148.05"),
        (changed(currency="EUR"), "invented_field", 'currency is "EUR", but there is no such field'),
        (changed(note="y"), "invented_field", 'note is "y", but the text has none'),
        (changed(sku="HB-884"), "wrong_value", 'sku is "HB-884", not "HB-8841" (a part of it)'),
        (changed(sku="HB-8841X"), "wrong_value", 'sku is "HB-8841X", not "HB-8841" (more than it)'),
        (changed(description="Hex  bolt"), "wrong_value", 'description is "Hex  bolt", not "Hex bolt" (white space)'),
        (changed(due="2024-05-03"), "wrong_value", 'due is "2024-05-03", not "2024-03-05"'),
        (changed(due="soon"), "wrong_value", 'due is "soon", not "2024-03-05" (no such date)'),
        (changed(tags=["a", "b"]), "wrong_value", 'tags is ["a", "b"], not ["b", "a", "a"] (items missing)'),
        (changed(tags=["a", "b", "a", "c"]), "wrong_value", "(items too many)"),
        (changed(at=[2, 1.5]), "wrong_value", "at is [2, 1.5], not [1.5, 2] (another order)"),
        (changed(by={"name": "Bo", "city": None}), "wrong_value", 'by.name is "Bo", not "Ann"'),
        (changed(by=None), "missing_field", 'by.name is missing: "Ann"; by.city is missing: null'),
        (changed(by={"name": "Ann"}), "missing_field", "by.city is missing: null"),
    ],
)
def test_what_is_wrong_is_said_by_field(answer: str, kind: str, reason: str) -> None:
    found = judged(answer)
    assert (found.value, found.kind) == (0.0, kind) and reason in found.reason
    assert found.parts["valid JSON"] == 1.0 and 0.8 <= found.parts["fields right"] < 1


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        ("", "no_json", "no text"),
        ('"sku": "HB-8841", "quantity": 5', "no_json", "no object: it begins with"),
        (json.dumps(LINE).replace("148.05", "148."), "no_json", "not JSON: Expecting ',' delimiter at "),
        (json.dumps(LINE).replace("148.05", "NaN"), "no_json", "NaN is no number in JSON"),
        (json.dumps(LINE)[:-1] + ', "sku": "HB-8841"}', "no_json", "it has a name twice"),
        (json.dumps(LINE).replace("Hex bolt", "Hex\nbolt"), "no_json", "not JSON: Invalid control character"),
        (str(LINE), "no_json", "not JSON"),
        (json.dumps([LINE]), "not_an_object", "a list, not an object"),
        (json.dumps(LINE)[:-1], "unfinished", "the object has no end"),
        (json.dumps(LINE)[:40], "unfinished", "the object has no end"),
        ('{"sku": "HB-8841", "paid": fal', "unfinished", "the object has no end"),
        ('{"sku": "HB-8841", "quantity": -', "unfinished", "the object has no end"),
        ('{"sku"', "unfinished", "the object has no end"),
    ],
)
def test_what_no_program_can_read_has_no_field_right(answer: str, kind: str, reason: str) -> None:
    found = judged(answer)
    assert (found.value, found.kind) == (0.0, kind) and reason in found.reason
    assert set(found.parts.values()) == {0.0} and kind in TASKS["extract"].malformed


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (f"```json\n{json.dumps(LINE)}\n```", "fence", "a fence around the object"),
        (f"{json.dumps(LINE)} That is all.", "text_around", "'That is all.' after the object"),
        (f"Here: {json.dumps(LINE)}", "text_around", "'Here:' before the object"),
        (json.dumps(LINE) * 2, "text_around", "after the object"),
    ],
)
def test_an_object_with_something_around_it_is_no_json_but_its_fields_count(
    answer: str, kind: str, reason: str
) -> None:
    found = judged(answer)
    assert (found.value, found.kind) == (0.0, kind) and reason in found.reason
    assert found.parts == {"valid JSON": 0.0, "fits the schema": 0.0, "fields right": 1.0}


def test_a_field_that_may_be_null_or_absent_is_the_same_either_way() -> None:
    row = row_of({"a": 1, "b": None}, {"a": 1}, {"a": 1, "b": "x"})
    assert judged('{"a": 1}', row).value == judged('{"a": 1, "b": null}', row).value == 1


def test_the_schema_is_a_part_of_its_own() -> None:
    assert judged(changed(due="2024-3-5")).parts["fits the schema"] == 0.0
    assert judged(changed(quantity="5")).parts["fits the schema"] == 0.0
    assert judged(changed(total=1)).parts == {
        "valid JSON": 1.0, "fits the schema": 1.0, "fields right": pytest.approx(11 / 12)
    }  # fmt: skip


def test_every_kind_has_words_and_lists_of_objects_are_bags() -> None:
    row = row_of({"items": [{"n": 1, "t": "a"}, {"n": 2, "t": "b"}]})
    assert judged('{"items": [{"t": "b", "n": 2}, {"n": 1.0, "t": "a"}]}', row).value == 1
    assert "(other items)" in judged('{"items": [{"n": 1, "t": "a"}, {"n": 2, "t": "c"}]}', row).reason
    assert set(TASKS["extract"].kind_words) >= TASKS["extract"].malformed


def test_the_table_of_fields() -> None:
    rows = [ROW, ROW_NOTED, ROW, {"messages": ROW["messages"]}]
    tuned = [changed(total=14805, vat=19), changed(note=..., currency="EUR"), "{", "not scored here"]
    base = ["no", changed(total=...), json.dumps(LINE), ""]
    table = {field.name: field for field in field_table(rows, {"base": base, "tuned": tuned})}
    total, note, currency = table["total"], table["note"], table["currency"]
    assert (total.n, total.tuned.right, total.tuned.faults) == (
        3,
        1,
        {"decimal point moved": 1, "no object to read": 1},
    )
    assert total.base and (total.base.right, total.base.faults) == (1, {"no object to read": 1, "missing": 1})
    assert [(one.row, one.fault, one.reference, one.answer) for one in total.wrong] == [
        (0, "decimal point moved", "148.05", "14805"), (2, "no object to read", "148.05", None)
    ]  # fmt: skip
    assert (note.n, note.tuned.faults) == (1, {"missing": 1})
    assert (currency.n, currency.tuned.faults, currency.about) == (0, {"invented": 1}, "not in the schema")
    assert list(table)[-1] == "currency" and list(table)[:3] == ["sku", "description", "quantity"]
    assert {"by.name", "by.city"} <= table.keys() and "by" not in table


class _Model:
    """Answers every row with the beginning of an object."""

    def __init__(self, *, stops: bool):
        self.stops = stops

    def answers(self, conversations: Any, on_answer: Any, *, max_tokens: int, stop: Any) -> list[Any]:
        from finetune.backends.interface import Answer

        for index in range(len(conversations)):
            on_answer(index, Answer('{"sku": "HB', max_tokens, self.stops, 0.1))
        return []


def test_each_restriction_is_that_of_its_row_also_if_some_answers_are_known() -> None:
    asked: list[int] = []

    class Restricted(_Model):
        def answers(
            self, conversations: Any, on_answer: Any, *, max_tokens: int, stop: Any, restrict: Any = None
        ) -> Any:
            for at in range(len(conversations)):
                restrict(at)
            return super().answers(conversations, on_answer, max_tokens=max_tokens, stop=stop)

    rows = [ROW, ROW, ROW, ROW]
    known = evaluate(_Model(stops=True), score, rows, 7)
    found = evaluate(Restricted(stops=True), score, rows, 7, {0: known[0], 2: known[2]}, restrict=asked.append)
    assert asked == [1, 3] and len(found) == 4


@pytest.mark.parametrize(
    ("stops", "reason"),
    [
        (False, "the object has no end: cut off after 7 tokens (--max-tokens 7)"),
        (True, "the object has no end: the model ended it"),
    ],
)
def test_an_object_without_its_end_says_whether_it_was_cut_off(*, stops: bool, reason: str) -> None:
    (scored,) = evaluate(_Model(stops=stops), score, [ROW], 7)
    assert (scored.score.kind, scored.score.reason) == ("unfinished", reason)
