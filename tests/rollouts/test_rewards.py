"""Rewards: what a wrong answer is worth, and functions of the user's in a process of their own."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.methods.base import Sample
from finetune.models.answers import Reading
from finetune.models.examples import TrainingRow
from finetune.models.loss_mask import Example
from finetune.rollouts.groups import sample_groups
from finetune.rollouts.rewards import Reward, open_judge
from finetune.settings.config import TrainingConfig
from finetune.tasks import TASKS
from finetune.tasks.user_function import RewardFunction

ROW = {
    "sql_prompt": "Names of the dear ones?",
    "sql_context": "CREATE TABLE item (name TEXT, price INT);"
    " INSERT INTO item VALUES ('pen', 2), ('book', 12), ('lamp', 30), ('desk', 90);",
    "sql": "SELECT name FROM item WHERE price > 10",
}


def function(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def everywhere(line: str) -> str:
    """A reward that writes a line to each of its descriptors but the standard ones."""
    return (
        "import os\ndef reward(row, answer):\n    for number in range(3, 300):\n        try:\n"
        f"            os.write(number, {line.encode()!r} + b'\\n')\n        except OSError:\n            pass\n    return 1"
    )


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
        ("def reward(row, answer):\n    return 10**400", r"r\.py: reward\(\) returned more than 1e\+30: 1000"),
        (
            "def reward(row, answer):\n    return ['x'] * 10_000_000",
            r"r\.py: reward\(\) returned \['x', .*, not a number",
        ),
        (everywhere("gone"), r"r\.py: wrote 'gone' to our descriptor"),
        (everywhere("[1]"), r"r\.py: wrote '?\[1\]'? to our descriptor"),
        (everywhere("null"), r"r\.py: wrote '?(null|None)'? to our descriptor"),
        (everywhere('{"error": 7}'), r"r\.py: wrote .* to our descriptor"),
        ("import sys\ndef reward(row, answer):\n    sys.exit(3)", r"r\.py:3: SystemExit: exit code 3$"),
        ("import sys\nsys.exit()", r"r\.py:2: SystemExit: exit code 0$"),
        ("def reward(row, answer):\n    raise BaseException", r"r\.py:2: BaseException$"),
        ("def reward(row, answer):\n    raise KeyboardInterrupt", r"r\.py:2: KeyboardInterrupt$"),
        ("def reward(row, answer):\n    raise ValueError('a\\nerror: b')", r"r\.py:2: ValueError: a error: b$"),
        ("import ctypes\ndef reward(row, answer):\n    ctypes.string_at(0)", r"ended \(killed by signal 11, Segm"),
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "from multiprocessing import Pool\ndef twice(x): return x * 2\n"
        "def reward(row, answer):\n    with Pool(1) as pool: return pool.map(twice, [3])[0]",
        "import pickle\nclass Kept: value = 6\ndef reward(row, answer): return pickle.loads(pickle.dumps(Kept())).value",
        "from __future__ import annotations\nfrom dataclasses import dataclass\ndef reward(row, answer):\n"
        "    @dataclass\n    class Kept:\n        value: int = 6\n    return Kept().value",
        "found = 0\nif __name__ == '__main__': found = 9\ndef reward(row, answer): return 6 + found",
        "import sys\ndef reward(row, answer):\n    print('said', flush=True)\n    return 6 + len(sys.stdin.read())",
        "import os\ndef reward(row, answer):\n    if os.fork() == 0: return 1\n    os.wait()\n    return 6",
        "import json, statistics, fractions\ndef reward(row, answer): return fractions.Fraction(12, 2)",
    ],
    ids=["pool", "pickle", "dataclass", "main", "stdin", "fork", "names"],
)
def test_a_file_can_do_what_a_module_can(tmp_path: Path, text: str) -> None:
    with RewardFunction(function(tmp_path / "statistics.py", text), 10) as reward:
        assert [reward({}, "answer"), reward({}, "answer")] == [6.0, 6.0]


def test_a_reward_that_hangs_is_interrupted(tmp_path: Path) -> None:
    asked: list[float] = []
    path = function(tmp_path / "r.py", "def reward(row, answer):\n    while True: pass")
    with RewardFunction(path, 60, lambda: bool(asked)) as reward:
        threading.Timer(0.2, lambda: asked.append(time.monotonic())).start()
        assert reward({}, "answer") is None and time.monotonic() < asked[0] + 1


def test_a_group_whose_judge_is_interrupted_is_dropped() -> None:
    judged: list[str] = []

    def judge(row: object, answer: str, *, stopped: bool) -> Reward:
        judged.append(answer)  # while it judges, somebody asks to stop
        return Reward(None, {})

    def sample(prompts: Sequence[object], seed: str, stop: object) -> list[Sample]:
        return [Sample([token], [0.0], True) for token in range(len(prompts))]

    row = TrainingRow(1, {}, (Example([1], [False]),))
    encoder: Any = SimpleNamespace(read=lambda tokens, stopped: Reading(str(tokens)))
    assert sample_groups(sample, encoder, judge, [row], 3, "seed", lambda: bool(judged)) is None
    assert judged == ["[0]"]


def test_nothing_rewarded_is_refused() -> None:
    with (
        pytest.raises(UserError, match="nothing is rewarded"),
        open_judge(TASKS["sql"], TrainingConfig(method="grpo", grpo_task_weight=0.0)),
    ):
        pass
