"""Rewards: what a wrong answer is worth, and functions of the user's in a process of their own."""

from pathlib import Path

import pytest

from finetune.errors import UserError
from finetune.rollouts.reward_function import RewardFunction
from finetune.rollouts.rewards import open_judge
from finetune.settings.config import TrainingConfig
from finetune.tasks import TASKS

ROW = {
    "sql_prompt": "Names of the dear ones?",
    "sql_context": "CREATE TABLE item (name TEXT, price INT);"
    " INSERT INTO item VALUES ('pen', 2), ('book', 12), ('lamp', 30), ('desk', 90);",
    "sql": "SELECT name FROM item WHERE price > 10",
}


def function(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_executed_sql_is_worth_more_the_nearer_it_comes() -> None:
    answers = [
        "I do not know.",
        "SELECT name FROM",
        "SELECT nome FROM item",
        "SELECT name, price FROM item WHERE price > 10",
        "SELECT name FROM item",
        "SELECT name FROM item WHERE price >= 11",
    ]
    with open_judge(TASKS["sql"], TrainingConfig(method="grpo")) as judge:
        rewards = [judge(ROW, answer, stopped=True).total for answer in answers]
    assert rewards == [0.0, 0.0, 0.05, 0.1, 0.15, 1.0]


def test_parts_are_weighted_and_logged(tmp_path: Path) -> None:
    path = function(tmp_path / "short.py", "def reward(row, answer):\n    return -len(answer)\n")
    config = TrainingConfig(method="grpo", grpo_reward=path, grpo_reward_weight=0.01, grpo_format_weight=0.5)
    answer = "SELECT name FROM item"
    with open_judge(TASKS["sql"], config) as judge:
        ended, cut = judge(ROW, answer, stopped=True), judge(ROW, answer, stopped=False)
    assert ended.parts == {"task": 0.15, "format": 1.0, "function": -21.0}
    assert ended.total == pytest.approx(0.15 + 0.5 - 0.21)
    assert cut.total == pytest.approx(0.15 - 0.21)


def test_the_final_number_decides_where_the_answer_is_one() -> None:
    messages = [{"role": "user", "content": "2 + 40?"}, {"role": "assistant", "content": "2 + 40 is\n#### 42"}]
    row = {"messages": messages, "answer": "2 + 40 is\n#### 42"}
    with open_judge(TASKS["chat"], TrainingConfig(method="grpo")) as judge:
        answers = ["It is 2 + 40, so 42.", "#### 1,042", "41", "no idea", "42.0"]
        assert [judge(row, answer, stopped=True).total for answer in answers] == [1.0, 0.0, 0.0, 0.0, 1.0]
        heading = {"messages": messages, "answer": "#### Step 3: add"}  # asks for no number
        assert judge(heading, "2 + 40 is #### 42", stopped=True).total == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def reward(row, answer)\n    return 1", r"r\.py:1: SyntaxError"),
        ("x = 1", r"r\.py: has no function reward\(row, answer\)"),
        ("import nosuchmodule", r"r\.py:1: ModuleNotFoundError"),
        ("def reward(row, answer):\n    y = 1\n    return row['price']", r"r\.py:3: KeyError: 'price'"),
        ("def reward(row, answer):\n    return 'good'", r"r\.py: reward\(\) returned 'good', not a number"),
        ("def reward(row, answer):\n    return float('nan')", r"r\.py: reward\(\) returned nan, not a number"),
        (
            "import os\ndef reward(row, answer):\n    os.write(3, b'gone\\n')\n    os.write(4, b'gone\\n')",
            r"r\.py: its process wrote a line that is not JSON: 'gone",
        ),
        ("import os\ndef reward(row, answer):\n    os._exit(3)", r"r\.py: its process ended \(exit code 3\)"),
    ],
)
def test_a_function_that_cannot_be_used_is_named_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message), RewardFunction(function(tmp_path / "r.py", text), 5) as reward:
        reward({}, "answer")


def test_a_call_that_takes_too_long_counts_as_nothing_and_the_next_one_goes_on(tmp_path: Path) -> None:
    text = (
        "import time\nprint('loaded')\ndef reward(row, answer):\n    while answer == 'slow':\n        time.sleep(1)\n"
        "    print('said')\n    return None if answer == 'unknown' else len(answer)\n"
    )
    with RewardFunction(function(tmp_path / "r.py", text), 0.5) as reward:
        assert [reward({}, answer) for answer in ("four", "slow", "good", "unknown")] == [4.0, 0.0, 4.0, None]
        assert reward.late == 1


def test_nothing_rewarded_is_refused() -> None:
    with (
        pytest.raises(UserError, match="nothing is rewarded"),
        open_judge(TASKS["sql"], TrainingConfig(method="grpo", grpo_task_weight=0.0)),
    ):
        pass
