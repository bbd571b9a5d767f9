"""A scorer of the user's: what it may return, what is refused by name, and that it cannot hang or take the evaluation along."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.evaluation.compare import compare
from finetune.records.files import Row
from finetune.records.run import read_run
from finetune.rollouts.rewards import open_judge
from finetune.settings import conflicts
from finetune.settings.config import EvaluationConfig, TrainingConfig
from finetune.signals import never
from finetune.tasks import TASKS
from finetune.tasks.own_scorer import ScoreFunction, check_scorer, described, with_scorer
from finetune.tasks.user_function import RewardFunction
from finetune.training.start import check_same
from report_records import ROWS, comparison

ROW: Row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}], "price": 5}

PARTS = """
import json

def score(row, answer):
    if answer == "other":
        return None
    print("asked", flush=True)
    return eval(answer)
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "my_scorer.py"
    path.write_text(text)
    return path


def test_a_number_named_parts_or_nothing(tmp_path: Path) -> None:
    found = {}
    with ScoreFunction(written(tmp_path, PARTS), 5) as function:
        for answer in ("1", "0.25", "True", "0", "other", "{'a': 1, 'b': 0}", "{'score': 1, 'a': 0.5}", "{'a': None}",
                       "{'a': None, 'b': 1}", "{'score': None, 'a': 1}", "row['price'] / 10"):  # fmt: skip
            found[answer] = function(ROW, answer)
    values = [score.value for score in found.values()]
    assert values == [1.0, 0.25, 1.0, 0.0, None, 0.5, 1.0, None, 1.0, None, 0.5]
    assert found["{'a': 1, 'b': 0}"].parts == {"a": 1.0, "b": 0.0}
    assert found["{'score': 1, 'a': 0.5}"].parts == {"a": 0.5}
    assert [found[answer].kind for answer in ("1", "0", "0.25", "other")] == [
        "ok",
        "wrong",
        "partly_right",
        "not_judged",
    ]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("2", r"my_scorer\.py: score\(\) returned 2, not a number from 0 to 1"),
        ("-0.1", r"returned -0\.1, not a number from 0 to 1"),
        ("float('nan')", "returned nan, not a number from 0 to 1"),
        ("'good'", "returned 'good', not a number"),
        ("[1]", r"returned \[1\], not a number"),
        ("{}", "returned an empty dict"),
        ("{'a': 7}", "returned 7 for 'a', not a number from 0 to 1"),
        ("{3: 1}", "returned a part that has no short name: 3"),
        ("{'a\\nb': 1}", "no short name"),
        ("{'x' * 99: 1}", "no short name"),
        ("dict.fromkeys(map(str, range(99)), 1)", r"returned 99 parts \(at most 20\)"),
        ("{'mean score': 1}", r"names a part 'mean score', as our table does \(rename it\)"),
        ("1 / 0", r"my_scorer\.py:2: ZeroDivisionError"),
        ("row['nothing']", r"my_scorer\.py:2: KeyError: 'nothing'"),
        ("exit(4)", r"my_scorer\.py:2: SystemExit"),
        ("__import__('os')._exit(4)", r"its process ended \(exit code 4\)"),
        ("__import__('os').kill(__import__('os').getpid(), 9)", "its process ended .killed by signal 9"),
        ("'x' * 10**13", r"my_scorer\.py:2: MemoryError"),
    ],
)
def test_what_cannot_be_used_is_one_true_line(tmp_path: Path, returned: str, message: str) -> None:
    path = written(tmp_path, f"def score(row, answer):\n    return {returned}\n")
    with pytest.raises(UserError, match=message) as caught, ScoreFunction(path, 10) as function:
        function(ROW, "a")
    assert "\n" not in str(caught.value)


def test_a_scorer_that_hangs_is_found_before_a_model_is_loaded(tmp_path: Path) -> None:
    hangs = written(tmp_path, "def score(row, answer):\n    while answer != 'fine': pass\n    return 1\n")
    with pytest.raises(UserError, match=r"took more than 0\.3 s for the own answer of row 1 .*--scorer-seconds"):
        check_scorer(hangs, 0.3, [ROW])
    with ScoreFunction(hangs, 0.3) as function:  # later it counts as 0, and the next one goes on
        assert [function(ROW, answer).kind for answer in ("slow", "fine")] == ["took_too_long", "ok"]


def test_what_it_prints_is_shown_but_does_not_flood_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = """
import os, sys
def score(row, answer):
    print("looks at", answer)
    print("and complains", file=sys.stderr)
    while answer == "flood":
        os.write(1, b"x" * 1000)
    if answer == "end":
        os.write(2, b"last words")
        os._exit(3)
    return 1
"""
    path = written(tmp_path, text)
    with ScoreFunction(path, 0.5) as function:
        assert function(ROW, "one").kind == "ok"
        shown = capfd.readouterr().err
        assert "looks at one" in shown and "and complains" in shown
        assert function(ROW, "flood").kind == "took_too_long"
        flood = capfd.readouterr().err
        assert flood.count("x") <= 1 << 14 and flood.count("what it prints beyond that is not shown") == 1
        assert function(ROW, "two").kind == "ok" and "looks at two" in capfd.readouterr().err
        with pytest.raises(UserError, match="exit code 3"):
            function(ROW, "end")
        assert "last words" in capfd.readouterr().err


def test_only_a_reward_may_be_called_reward(tmp_path: Path) -> None:
    path = written(tmp_path, "def reward(row, answer):\n    return 7\n")
    with pytest.raises(UserError, match=r"no function score\(row, answer\), and reward.* is for --grpo-reward alone"):
        check_scorer(path, 5, [ROW])
    with RewardFunction(path, 5) as reward:
        assert reward(ROW, "a") == 7.0
    path.write_text("def score(row, answer):\n    return {'a': 1, 'b': 0}\n")  # the remedy
    check_scorer(path, 5, [ROW])
    with RewardFunction(path, 5) as reward:
        assert reward(ROW, "a") == 0.5


def test_a_scorer_that_finds_the_rows_own_answers_wrong_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_scorer(written(tmp_path, "def score(row, answer):\n    return answer == 'no'\n"), 5, [ROW] * 3)
    assert "gives 3 of the first 3 rows less than 1 for their own answer" in capsys.readouterr().err
    check_scorer(written(tmp_path, "def score(row, answer):\n    pass\n"), 5, [ROW])
    assert "cannot judge the own answers of the first 1 row: it returns None" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"--scorer: .*none\.py: no such file"):
        check_scorer(tmp_path / "none.py", 5, [ROW])


def test_it_decides_the_verdict_and_is_recorded(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "def score(row, answer):\n"
        "    return {'score': answer.startswith('ok'), 'short': len(answer) < 30, 'said': 0.5}\n",
    )
    record = compare(comparison(tmp_path, scorer=path))
    assert (record.measure, record.metric, record.decided_by) == ("my_scorer.py", *["right by my_scorer.py"] * 2)
    assert (record.tuned.right, record.scored, record.unscored) == (2, 5, {}) and record.tuned.formatted is None
    assert record.tuned.parts == {"said": 0.5, "short": 1.0} and record.differences["short"].tuned == 1.0
    assert record.scorer == described(path) and len(record.scorer.sha256) == 64
    path.write_text("def score(row, answer):\n    return 0.5\n")
    assert compare(comparison(tmp_path, scorer=path)).decided_by == "score"


def test_another_scorer_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "def score(row, answer):\n    return 1\n")
    compare(comparison(tmp_path, scorer=path))  # its answers stay in the log
    path.write_text("def score(row, answer):\n    return 0\n")
    with pytest.raises(UserError, match="had a different file of --scorer"):
        compare(comparison(tmp_path, scorer=path, resume=True))
    with pytest.raises(UserError, match="had a different file of --scorer"):
        compare(comparison(tmp_path, resume=True))


def test_it_is_the_reward_of_grpo(tmp_path: Path) -> None:
    path = written(tmp_path, "def score(row, answer):\n    return len(answer) / 10\n")
    task = with_scorer(TASKS["sql"], path, 5)
    with open_judge(task, TrainingConfig(method="grpo")) as judge:
        assert judge({}, "12345", stopped=True).total == 0.5
    assert with_scorer(TASKS["sql"], None, 5) is TASKS["sql"]


def test_thinking_is_not_part_of_the_answer(tmp_path: Path) -> None:
    path = written(tmp_path, "def score(row, answer):\n    return answer == 'yes'\n")
    task: Any = with_scorer(TASKS["chat"], path, 5)
    with task.open_scorer(never) as score:
        assert score(ROW, "<think>no</think>yes").value == 1.0 and score(ROWS[0], "no").value == 0.0


def test_a_run_with_another_scorer_is_not_resumed(tmp_path: Path) -> None:
    begun = Path(__file__).parents[1] / "records" / "older" / "stopped"
    record = replace(read_run(begun), scorer_sha256="5e" * 32)
    with pytest.raises(UserError, match="file of --scorer was not set, is now 5e5e5e5e"):
        check_same(begun, record)


def test_a_scorer_without_effect_is_refused() -> None:
    given = {"scorer": Path("s.py")}
    for config, why in (
        (TrainingConfig(**given, origins={"scorer": "flag"}), "without --eval-samples or --method grpo"),
        (EvaluationConfig(**given, interactive=True, origins={"scorer": "flag"}), "with --interactive"),
        (EvaluationConfig(scorer_seconds=2.0, origins={"scorer_seconds": "flag"}), "without --scorer"),
    ):
        with pytest.raises(UserError, match=f"has no effect {why}"):
            conflicts.check(config)
    conflicts.check(TrainingConfig(**given, eval_samples=4, origins={"scorer": "flag"}))
