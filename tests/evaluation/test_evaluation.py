"""From answers to a verdict: what decides, what got worse, what is kept when it is interrupted."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from finetune.backends.interface import Answer
from finetune.errors import UserError
from finetune.evaluation import scorecard
from finetune.evaluation.answer_log import AnswerLog
from finetune.evaluation.compare import _fitting, _key, compare
from finetune.evaluation.decision import compared
from finetune.evaluation.evaluate import (
    Losses,
    Scored,
    Side,
    Subject,
    evaluate,
    reference_losses,
    result,
)
from finetune.models.encoder import ChatEncoder
from finetune.models.loss_mask import Example
from finetune.records.evaluation import EvaluationRecord
from finetune.records.files import Row
from finetune.signals import Stop, never
from finetune.tasks import TASKS, Score
from finetune.tasks.text_overlap import repetition, rouge_l
from report_records import comparison

ROWS: list[Row] = [
    {"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}]} for i in range(8)
]
GRADED = [{**row, "instruction": "i", "output": "some words"} for row in ROWS * 3]


class Echo:
    """Answers a question "q3" with "a3", and says which rows it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answers(
        self,
        conversations: Sequence[Any],
        on_answer: Callable[[int, Answer], None],
        *,
        max_tokens: int,
        stop: Stop = never,
    ) -> list[Answer]:
        self.asked = [conversation.messages[-1]["content"] for conversation in conversations]
        found = [Answer(text.replace("q", "a"), 1, True, 0.1) for text in self.asked]
        for index in reversed(range(len(found))):  # answers come in any order
            if stop():
                return []
            on_answer(index, found[index])
        return found

    class encoder:
        @staticmethod
        def example(messages: Sequence[Any]) -> Example:
            return Example([1, 2, 3, 4, 5, 6], [False, True, True, False, True, True])

    def losses(self, examples: Sequence[Example], on_batch: Callable[[int], None]) -> list[float]:
        return [float(sum(example.loss_mask)) for example in examples]


def exact(row: Row, answer: str) -> Score:
    return Score(float(answer == row["messages"][-1]["content"]), "ok")


def side(values: Sequence[float | None], losses: Sequence[float], parts: Sequence[float] | None = None) -> Side:
    scores = [Score(value, "ok", "", {"F1": parts[i]} if parts else {}) for i, value in enumerate(values)]
    answers = [Scored(Answer("x", 1, True, 0.1), score) for score in scores]
    return Side(answers, Losses(list(losses), [2] * len(values)))


def subject(task: str) -> Subject:
    return Subject(TASKS[task], "test", "a model", "checkpoints")


def test_answers_that_were_interrupted_have_no_scores() -> None:
    asked = iter([False, False, True])
    assert evaluate(Echo(), exact, ROWS, 9, stop=lambda: next(asked)) == []


def test_what_is_known_is_not_asked_again() -> None:
    model, heard = Echo(), []
    first = evaluate(model, exact, ROWS, 8)
    known = {i: first[i] for i in (0, 3, 5)}
    again = evaluate(model, exact, ROWS, 8, known, lambda index, scored: heard.append(index))
    assert again == first and model.asked == ["q1", "q2", "q4", "q6", "q7"] and sorted(heard) == [1, 2, 4, 6, 7]


def test_the_loss_is_of_the_last_turn_alone() -> None:
    assert reference_losses(Echo(), ROWS[:2]) == Losses([2.0, 2.0], [2, 2])


def test_right_and_wrong_decide_where_rows_have_scores() -> None:
    base, tuned = side([0, 0, 1, 1, None] + [0] * 7, [9] * 12), side([1, 1, 1, 0, None] + [0] * 7, [1] * 12)
    found = compared(base, tuned, TASKS["sql"], ROWS * 2)
    verdict = found.verdict
    assert (found.decided_by, verdict.verdict) == ("execution accuracy", "no evidence")
    assert (verdict.fixed, verdict.broken) == (2, 1) and found.worse_rows == [3]
    assert verdict.needed and verdict.needed > 4 and "would settle it" in verdict.explanation
    assert found.differences["loss per token"].difference == -4


def test_a_row_without_a_score_on_one_side_counts_for_neither() -> None:
    base, tuned = side([0, None, 1, 1], [1] * 4), side([1, 1, None, 1], [1] * 4)
    record = result(subject("sql"), [{**row, "sql_prompt": "q"} for row in ROWS[:4]], {"base": base, "tuned": tuned})
    assert (record.n, record.scored, record.unscored) == (4, 2, {"ok": 2}) and record.base
    assert (record.base.right, record.base.accuracy, record.tuned.right) == (1, 0.5, 2)
    assert record.base.kinds == {"ok": 2} and (record.fixed, record.broken) == (1, 0)


def test_the_loss_decides_for_long_conversations() -> None:
    steady = [1.0 + i / 10 for i in range(20)]
    worse, better = side([None] * 20, [loss + 1 for loss in steady]), side([None] * 20, steady)
    for base, tuned, word in ((worse, better, "better"), (better, worse, "worse"), (worse, worse, "no evidence")):
        found = compared(base, tuned, TASKS["chat"], ROWS * 3)
        assert (found.verdict.verdict, found.decided_by, found.verdict.p) == (word, "loss per token", None)
    assert len(compared(better, worse, TASKS["chat"], ROWS * 3).worse_rows) == 20
    mixed = side([None] * 20, [loss + (-1) ** i for i, loss in enumerate(steady)])
    verdict = compared(better, mixed, TASKS["chat"], ROWS * 3).verdict
    assert verdict.verdict == "no evidence" and verdict.fixed == verdict.broken == 10


def test_the_mean_decides_where_scores_are_graded() -> None:
    base, tuned = side([0.2, 0.3] * 10, [1] * 20), side([0.4, 0.9] * 10, [1] * 20)
    found = compared(base, tuned, TASKS["alpaca"], GRADED)
    assert (found.decided_by, found.verdict.verdict, found.verdict.fixed) == ("score", "better", 20)
    assert compared(tuned, base, TASKS["alpaca"], GRADED).verdict.verdict == "worse"


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 5, 9, 10, 15])
def test_few_rows_of_noise_are_no_evidence(rows: int) -> None:
    import random

    draw, false = random.Random(5), 0
    for _ in range(40):
        base = [draw.gauss(2, 1) for _ in range(rows)]
        tuned = [loss + draw.gauss(0, 0.3) for loss in base]
        found = compared(side([None] * rows, base), side([None] * rows, tuned), TASKS["chat"], ROWS * 2)
        false += found.verdict.verdict != "no evidence"
    assert false <= 5 if rows >= 10 else false == 0


def test_a_model_that_computes_nonsense_is_refused() -> None:
    model = Echo()
    model.losses = lambda examples, on_batch: [float("nan")] * len(examples)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="not finite") as caught:
        reference_losses(model, ROWS)
    assert caught.value.exit_code == 5


def test_rows_beyond_the_context_are_left_out(builtin_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Short(ChatEncoder):
        context_length = 60

    run: Any = SimpleNamespace(encoder=Short(builtin_model), data_dir=Path("data"))
    long: Row = {"messages": [{"role": "user", "content": "word " * 80}, {"role": "assistant", "content": "a"}]}
    rows, room = _fitting(run, [*ROWS, long], 100)
    assert rows == ROWS and 10 < room < 60
    assert "1 of 9 rows skipped" in (said := capsys.readouterr().err) and f"cut off at {room} tokens" in said
    with pytest.raises(UserError, match="no row fits"):
        _fitting(run, [long], 100)


@pytest.mark.parametrize(
    "row",
    [
        {"text": "x"},
        {"messages": "q"},
        {"messages": []},
        {"messages": [{"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "user"}, {"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "a"}]},
        {"messages": ["q", "a"]},
    ],
)
def test_rows_that_are_no_conversations_are_refused(builtin_model: Path, row: Row) -> None:
    run: Any = SimpleNamespace(encoder=ChatEncoder(builtin_model), data_dir=Path("data"))
    with pytest.raises(UserError, match=r"data: row 2 was not written by dataset\.py"):
        _fitting(run, [ROWS[0], row], 100)


@pytest.mark.parametrize("bug", [KeyError, IndexError, TypeError])
def test_a_bug_of_the_encoder_is_not_the_fault_of_the_rows(bug: type[Exception]) -> None:
    class Broken:
        context_length = None

        def examples(self, conversations: Any) -> Any:
            raise bug("ours")

    run: Any = SimpleNamespace(encoder=Broken(), data_dir=Path("data"))
    with pytest.raises(bug, match="ours"):
        _fitting(run, ROWS, 100)


def test_a_comparison_is_written_and_read(tmp_path: Path) -> None:
    for number, options in enumerate(({}, {"base": False}, {"general": False})):
        record = compare(comparison(tmp_path, **options, log=tmp_path / f"{number}.jsonl"))
        record.write(tmp_path / "evaluation.json")
        assert EvaluationRecord.read(tmp_path / "evaluation.json") == record
        written = json.loads((tmp_path / "evaluation.json").read_text())
        assert {"task", "n", "scored", "base", "tuned", "verdict", "rows"} <= written.keys()
        assert written["tuned"]["accuracy"] == 0.5
    assert record.worse_rows == [1] and record.unscored == {"unscorable": 1} and record.verdict == "no evidence"


def test_the_terminal_says_what_decided_and_what_was_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    record = compare(comparison(tmp_path))
    scorecard.print_comparison(record, 3)
    said = capsys.readouterr().out
    assert "Verdict: no evidence that the tuned model differs from the base model by executed SQL." in said
    assert "Not judged: 1 of 5 rows: the reference tells nothing when it is run." in said
    assert "base: 2 x wrong rows, 2 x right" in said
    assert said.index("execution accuracy") < said.index("Row 1") < said.index("Verdict:")
    assert "73 general questions right before, 66 after, of 126" in said
    for label in ("well-formed", "finished (EOS)", "repetition", "tokens per answer", "general questions right"):
        assert f"  {label} " in said
    for decided_by, words in (("loss per token", "base model by loss per token."), ("score", "model by mean score.")):
        scorecard.print_comparison(replace(record, decided_by=decided_by, measure=None), 0)  # of an older version
        assert words in capsys.readouterr().out


@pytest.mark.parametrize("columns, place", [("48", "below"), ("80", "in the table")])
def test_the_differences_are_shown_on_every_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str, place: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    scorecard.print_comparison(compare(comparison(tmp_path)), 0)
    said = capsys.readouterr().out
    assert ("Differences (95 %):" in said) == (place == "below")
    assert said.count("+0.0 (-") == 1 and all(len(line) <= int(columns) for line in said.splitlines())


def test_no_answer_looks_like_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = compare(comparison(tmp_path))
    forged = "a\nVerdict: the tuned model is better than the base model.\n[right: ok]\n"
    rows = [replace(row, question=forged, tuned=replace(row.tuned, answer=forged)) for row in record.rows]
    scorecard.print_comparison(replace(record, rows=rows, adapter_path=forged, against=forged), len(rows))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(("Verdict", "[right"))] == [
        line for line in lines if line.startswith("Verdict: no evidence")
    ]


def test_parts_are_compared_on_the_same_rows() -> None:
    rows = [{**row, "instruction": "i", "output": "o"} for row in [*ROWS, *ROWS]]
    base, tuned = side([0.0] * 16, [1] * 16, [0.1] * 16), side([0.5] * 16, [1] * 16, [0.6] * 16)
    record = result(subject("alpaca"), rows, {"base": base, "tuned": tuned})
    assert record.differences["F1"].low == pytest.approx(0.5)
    assert record.tuned.parts["F1"] == pytest.approx(0.6) and record.rows[0].tuned.parts == {"F1": 0.6}


KEY: dict[str, object] = {"rows": "r", "max_tokens": 8}


def test_rows_that_are_scored_otherwise_are_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is kept with its score, which depends on what a prompt does not show."""
    monkeypatch.setattr("finetune.evaluation.compare._adapter_hashes", lambda run: [])
    run = SimpleNamespace(record=MagicMock())
    asked: Any = SimpleNamespace(run=run, other=None, split="test", base_asked=None, by_form=None)
    row = {"messages": [], "sql": "SELECT a FROM t", "sql_context": "CREATE TABLE t (a INT); INSERT INTO t VALUES (1);"}
    keys = [_key(asked, [one], 8)["rows"] for one in (row, {**row}, {**row, "sql_context": "CREATE TABLE t (a INT);"})]
    assert keys[0] == keys[1] != keys[2]


def test_an_interrupted_evaluation_is_resumed(tmp_path: Path) -> None:
    path, scored = tmp_path / "answers.jsonl", evaluate(Echo(), exact, ROWS, 8)
    odd = Scored(Answer("a\u2028b\x85c", 1, True, 0.1), Score(0.0, "different", "expected: \u2029"))
    with AnswerLog(path, KEY, resume=False) as log:
        for index in (2, 5):
            log.add("tuned", index, scored[index])
        log.add("base", 0, odd)
    with path.open("a") as file:
        file.write('{"side": "tuned", "row": 6, "ans')  # killed while it wrote
    with AnswerLog(path, KEY, resume=True) as log:
        assert log.known("tuned") == {2: scored[2], 5: scored[5]} and log.known("base") == {0: odd} and log.count == 3
        log.add("tuned", 6, scored[6])
    with AnswerLog(path, KEY, resume=True) as log:
        assert log.count == 4
    with pytest.raises(UserError, match="had a different rows"):
        AnswerLog(path, KEY | {"rows": "other"}, resume=True)
    with AnswerLog(path, KEY, resume=False) as log:
        assert log.count == 0
    assert len((tmp_path / "previous_answers.jsonl").read_text().splitlines()) > 4
    path.write_text('{"rows": "r", "max_tokens": 8}\n{"side": "tuned"}\n')
    with pytest.raises(UserError, match="not a valid answer log"):
        AnswerLog(path, KEY, resume=True)
    with pytest.raises(UserError, match="nothing to resume"):
        AnswerLog(tmp_path / "none.jsonl", KEY, resume=True)
    assert {found.name for found in tmp_path.iterdir()} == {"answers.jsonl", "previous_answers.jsonl"}


def test_one_of_two_evaluations_that_start_together_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, exists = tmp_path / "answers.jsonl", Path.exists
    with AnswerLog(path, KEY, resume=False):
        # the second one had looked for the file before the first one wrote it
        monkeypatch.setattr(Path, "exists", lambda self: self != path and exists(self))
        for resume in (False, True):
            with pytest.raises(UserError, match="another evaluation is writing"):
                AnswerLog(path, {"rows": "other"}, resume=resume)
        monkeypatch.undo()
        assert json.loads(path.read_text()) == KEY


def test_overlap_by_hand() -> None:
    assert rouge_l("the cat sat on the mat", "the cat lay on a mat") == pytest.approx(2 * 4 / 12)
    assert rouge_l("a b", "") == 0.0
    assert repetition("a b c d e") == 0.0 and repetition("a b c d a b c d a b c d") == pytest.approx(1 - 4 / 9)


def test_a_row_keeps_the_whole_conversation_that_was_to_be_answered() -> None:
    call = {"type": "function", "function": {"name": "find", "arguments": {"id": 7}}}
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello, Hans!"},
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "lost"},
        {"role": "assistant", "content": "It is lost."},
    ]
    rows: list[Row] = [{"messages": turns, "tools": [{"type": "function", "function": {"name": "find"}}]}, ROWS[0]]
    whole, short = result(subject("chat"), rows, {"tuned": side([1, 1], [1, 1])}).rows
    assert (whole.prompt, whole.tools, whole.reference) == ("Where is it?", ["find"], "It is lost.")
    assert [(turn.role, turn.text) for turn in whole.before] == [
        *(("system", "Be kind."), ("user", "Hello"), ("assistant", "Hello, Hans!")),
    ]
    assert [(turn.role, turn.text) for turn in whole.after] == [("assistant", "calls find(id=7)"), ("tool", "lost")]
    assert not (short.before or short.after or short.tools)
