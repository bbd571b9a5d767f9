"""Answers that are labels: which are right, what is invented, and what they say of each label."""

from dataclasses import replace

import pytest

from finetune.records.classes import Confidence
from finetune.records.files import Row
from finetune.report import labels
from finetune.report.texts import plain
from finetune.signals import never
from finetune.tasks import TASKS
from finetune.tasks.base import Score
from finetune.tasks.classify.labels import label_text, prompt_of
from finetune.tasks.classify.task import knowing, labels_of
from finetune.tasks.mixed import for_rows

LABELS = ["Billing", "Late delivery", "Caf\N{LATIN SMALL LETTER E WITH ACUTE}"]


def row(label: str | list[str], text: str = "x") -> Row:
    answer = label if isinstance(label, str) else "\n".join(label)
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "label": label}


def scored(label: str | list[str], answer: str) -> Score:
    with knowing(LABELS).open_scorer(never) as score:
        return score(row(label), answer)


@pytest.mark.parametrize(
    ("label", "answer", "kind"),
    [
        ("Billing", "Billing", "ok"),
        ("Billing", " billing\n", "ok"),
        ("Late delivery", "LATE  delivery", "ok"),
        (LABELS[2], "cafe\N{COMBINING ACUTE ACCENT}", "ok"),
        ("Billing", "<think>Refund?</think>Billing", "ok"),
        ("Billing", "late delivery", "other_label"),
        ("Billing", "Refurbished item", "no_such_label"),
        ("Billing", "Billing, because it is about an invoice", "no_such_label"),
        ("Billing", "", "empty"),
    ],
)
def test_an_answer_is_the_label_or_of_a_kind_that_is_counted(label: str, answer: str, kind: str) -> None:
    found = scored(label, answer)
    assert (found.kind, found.value) == (kind, float(kind == "ok"))
    assert kind == "ok" or found.reason == f"expected: {label}"


@pytest.mark.parametrize(
    ("answer", "kind", "f1"),
    [
        ("Billing\nLate delivery", "ok", 1.0),
        ("late delivery\n\nbilling", "ok", 1.0),
        ("Billing", "some_labels", 2 / 3),
        (LABELS[2], "other_label", 0.0),
        ("Billing\nLate delivery\nMore", "no_such_label", 0.8),
        ("", "empty", 0.0),
    ],
)
def test_several_labels_are_right_as_a_set(answer: str, kind: str, f1: float) -> None:
    found = scored(["Billing", "Late delivery"], answer)
    assert (found.kind, found.value) == (kind, float(kind == "ok"))
    assert found.parts["label F1"] == pytest.approx(f1)


def test_each_label_has_its_figures() -> None:
    rows = [row("Billing"), row("Billing"), row("Billing"), row("Late delivery"), row("Late delivery")]
    tuned = ["Billing", "billing", "Late delivery", "Late delivery", "Nonsense"]
    base = ["Nonsense", "", "Billing", "Billing", "Billing"]
    task = knowing(LABELS)
    assert task.summarised
    found = task.summarised(rows, {"base": base, "tuned": tuned})
    billing, late, cafe = found.tuned.labels.values()
    assert (billing.n, billing.answered, billing.right) == (3, 2, 2)
    assert (billing.precision, billing.recall, billing.f1) == (1.0, pytest.approx(2 / 3), pytest.approx(0.8))
    assert (late.precision, late.recall, late.f1) == (0.5, 0.5, 0.5)
    assert (cafe.n, cafe.precision, cafe.recall, cafe.f1) == (0, None, None, None)
    assert found.tuned.macro_f1 == pytest.approx(0.65)  # of the labels that rows have
    assert found.tuned.confusion == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert found.tuned.invented == {"Nonsense": 1} and found.tuned.n_invented == 1
    assert found.base and found.base.n_invented == 2
    assert (found.majority, found.majority_share) == ("Billing", 0.6)
    assert found.never_right == []
    others = task.summarised(rows, {"tuned": [*tuned[:4], LABELS[2]]}).tuned
    assert others.labels[LABELS[2]].f1 == 0 and others.macro_f1 == pytest.approx(0.65)


def test_labels_that_became_clearly_worse_are_named() -> None:
    rows = [row("Billing") for _ in range(8)] + [row("Late delivery") for _ in range(8)]
    right = ["Billing"] * 8 + ["Late delivery"] * 8
    task = knowing(LABELS)
    assert task.summarised
    found = task.summarised(rows, {"base": right, "tuned": ["Billing"] * 16})
    assert found.worse == ["Late delivery"] and found.never_right == ["Late delivery"]
    assert not task.summarised(rows, {"base": ["Billing"] * 16, "tuned": right}).worse
    five = task.summarised(rows, {"base": right, "tuned": ["Billing"] * 11 + right[11:]})
    assert not five.worse  # 3 of 8 may be chance


def test_of_several_labels_each_is_counted_by_itself() -> None:
    rows = [row(["Billing", "Late delivery"]), row(["Billing"])]
    task = knowing(LABELS)
    assert task.summarised
    found = task.summarised(rows, {"tuned": ["Billing", "Billing\nLate delivery"]})
    assert found.several and found.tuned.confusion == []
    assert [(one.n, one.answered, one.right) for one in found.tuned.labels.values()] == [
        (2, 2, 2),
        (1, 1, 0),
        (0, 0, 0),
    ]
    assert found.tuned.micro_f1 == pytest.approx(2 * 2 / 6)


def test_rows_of_another_dataset_bring_their_labels() -> None:
    others = [{**row("Red"), "type": "classify"}, {**row("Blue"), "type": "classify"}]
    sql = {**row("SELECT 1"), "sql": "SELECT 1", "sql_prompt": "?"}
    del sql["label"]
    task = for_rows(TASKS["sql"], [sql, *others])
    with task.open_scorer(never) as score:
        assert score(others[0], "blue").kind == "other_label"
        assert score(others[0], "Green").kind == "no_such_label"
    assert task.summarised is None
    assert for_rows(TASKS["classify"], others).labels == ("Blue", "Red")


@pytest.mark.parametrize(
    ("value", "label"), [(True, "true"), (3, "3"), (2.0, "2"), (0.5, "0.5"), (["Red"], "Red"), (" a\n b ", "a b")]
)
def test_labels_are_text(value: object, label: str) -> None:
    assert label_text(value, "label") == label


@pytest.mark.parametrize("value", [None, "", "  ", [], ["a", "b"], {"a": 1}])
def test_what_is_no_label(value: object) -> None:
    with pytest.raises(ValueError, match=r"^category "):
        label_text(value, "category")


def test_the_prompt_says_how_to_answer() -> None:
    assert prompt_of(["A", "B"], listed=True, multi=False).split("\n") == [
        "Assign the text to one of these labels. Answer with the label alone.",
        "",
        "- A",
        "- B",
    ]
    assert "each on its own line" in prompt_of(["A"], listed=False, multi=True)
    assert labels_of({"messages": [{"role": "assistant", "content": "A\nB"}]}) == ["A", "B"]


def test_an_overall_figure_is_held_against_the_most_frequent_label_and_few_rows_are_called_few() -> None:
    rows = [row("Billing") for _ in range(3)] + [row("Late delivery") for _ in range(2)]
    task = knowing(LABELS)
    assert task.summarised
    always = task.summarised(rows, {"tuned": ["Billing"] * 5})
    assert plain(labels.warnings(always)[0]) == (
        "No better than always answering \u201cBilling\u201d, which is right in 60.0 % of the rows."
    )
    better = task.summarised(rows, {"tuned": ["Billing"] * 3 + ["Late delivery", "Billing"]})
    assert not [one for one in labels.warnings(better) if "always" in one]
    sure = Confidence(1.0, 40, 0.1, 0.1, threshold=0.4, coverage=0.2, precision=1.0)
    said = plain(labels.confidence(replace(better, confidence=sure))[-1])
    assert "20 % of the rows (1 of 5) are answered, 100.0 % of them right. These are too few rows" in said
