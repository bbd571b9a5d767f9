"""Answers that can only be labels: the most probable one, and a confidence that can be trusted."""

import random
from dataclasses import replace
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.evaluation.restricted import Choices, Chosen, add, calibration_error, choices, confidence_of, threshold
from finetune.evaluation.tuned_run import HeldOut, restriction_rows
from finetune.records.files import Row
from finetune.tasks import TASKS
from finetune.tasks.classify.task import knowing
from report_records import evaluation

LABELS = ["Red", "Green", "Blue"]


def overconfident(rows: int, factor: float, seed: int = 1) -> Choices:
    """Rows whose labels are sampled from known probabilities; the model's logits are ``factor`` times as large."""
    draw = random.Random(seed)
    logprobs, right = [], []
    for _ in range(rows):
        logits = [draw.gauss(0, 1.5) for _ in LABELS]
        weights = [2.718281828**one for one in logits]
        right.append(draw.choices(range(3), weights)[0])
        logprobs.append([factor * one for one in logits])
    return Choices(LABELS, logprobs, right)


def test_the_most_probable_label_is_chosen_with_its_share_of_the_probability() -> None:
    found = Choices(LABELS, [[log(0.02), log(0.01), log(0.07)]], [0]).chosen()
    assert found == [Chosen("Blue", False, pytest.approx(0.7))]


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_the_temperature_undoes_what_the_model_exaggerates(factor: float) -> None:
    valid, test = overconfident(600, factor), overconfident(600, factor, seed=2)
    assert valid.temperature() == pytest.approx(factor, rel=0.15)
    found, chosen = confidence_of(test, valid)
    assert found.calibration_error < 0.05 and found.fitted_on == 600
    assert factor == 1.0 or found.calibration_error < 0.5 * found.calibration_error_before
    assert [one.label for one in chosen] == [one.label for one in test.chosen()]  # it changes no answer
    assert found.threshold and found.precision == pytest.approx(0.95, abs=0.04)


def test_confidence_without_validation_rows_is_not_calibrated() -> None:
    found, _ = confidence_of(overconfident(50, 4.0), None)
    assert found.temperature is None and found.threshold is None and found.coverage is None
    assert found.calibration_error == found.calibration_error_before


def test_the_threshold_is_the_lowest_at_which_95_percent_are_right() -> None:
    sure = [Chosen("Red", True, 0.9)] * 19 + [Chosen("Red", False, 0.8)]
    assert threshold(sure) == 0.8
    assert threshold([*sure, Chosen("Red", False, 0.7)]) == 0.8
    assert threshold([Chosen("Red", True, 0.9), Chosen("Red", False, 0.9)]) is None
    assert calibration_error([Chosen("Red", True, 0.75), Chosen("Red", False, 0.75)]) == pytest.approx(0.25)


def rows_of(count: int) -> list[Row]:
    draw = random.Random(count)
    texts = [" ".join(draw.choice(["kettle", "lamp", "rug", "late", "broken"]) for _ in range(6)) for _ in range(count)]
    labels = [LABELS[at % 3] for at in range(count)]
    return [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}], "label": label}
        for text, label in zip(texts, labels, strict=True)
    ]


def test_a_prompt_is_computed_once_for_all_labels(tiny_model: Path) -> None:
    from finetune.backends import mlx
    from finetune.backends.mlx import shared_prompts
    from finetune.models.encoder import ChatEncoder

    model = mlx.load(tiny_model, ChatEncoder(tiny_model))
    rows = rows_of(7)
    shared = choices(model, rows, LABELS)
    of: Any = SimpleNamespace(
        encoder=model.encoder, batch_hint=4, losses=lambda examples, same_prompts: model.losses(examples)
    )
    alone = choices(of, rows, LABELS)
    for one, other in zip(shared.logprobs, alone.logprobs, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert shared.right == [0, 1, 2, 0, 1, 2, 0] and shared_prompts.why_not(model.network) is None


def test_the_record_has_both_ways_to_answer() -> None:
    class Encoder:
        def examples(self, conversations: Any) -> Any:
            said = (one.messages[-1]["content"] for one in conversations)
            return [[SimpleNamespace(tokens=[ord(text[0])], loss_mask=[True], terms={})] for text in said]

    def model(says: str) -> Any:
        return SimpleNamespace(
            encoder=Encoder(),
            batch_hint=2,
            losses=lambda examples, same_prompts: [0.1 if one.tokens == [ord(says)] else 3.0 for one in examples],
        )

    rows, task = rows_of(5), knowing(LABELS)
    assert task.summarised
    made = task.summarised(rows, {"base": ["x"] * 5, "tuned": ["Red"] * 5})
    found = add(
        replace(evaluation(), classes=made),
        {"tuned": model("R"), "base": model("G")},
        {"tuned": rows, "base": rows},
        LABELS,
        rows_of(6),
    )
    assert found.classes and found.classes.restricted == {"tuned": 0.4, "base": 0.4}
    assert found.classes.confidence and found.classes.confidence.fitted_on == 6
    assert [(row.base.label, row.tuned.label) for row in found.rows if row.base] == [("Green", "Red")] * 5
    assert 0.3 < (found.rows[0].tuned.confidence or 0) < 0.5  # a third of the validation rows is right


def test_restrict_is_refused_for_rows_without_labels(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(task=TASKS["chat"])
    with pytest.raises(UserError, match="--restrict has no effect with chat rows"):
        restriction_rows(run, HeldOut([], "test", tmp_path))
