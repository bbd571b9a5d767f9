"""Rows of several types: each is scored by its own task."""

from finetune.rollouts.rewards import RewardWeights, weighted_judge
from finetune.signals import never
from finetune.tasks import TASKS
from finetune.tasks.mixed import for_rows, says_other

SQL_ROW = {
    "sql_prompt": "How many?",
    "sql": "SELECT COUNT(*) FROM t",
    "sql_context": "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2);",
    "messages": [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "SELECT COUNT(*) FROM t"}],
}
ALPACA_ROW = {
    "type": "alpaca",
    "instruction": "Name a colour.",
    "output": "Red.",
    "messages": [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Red."}],
}
CHAT_ROW = {
    "type": "chat",
    "answer": "#### 4",
    "messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "It is 4. #### 4"}],
}


def test_rows_of_one_type_are_scored_by_their_task_itself() -> None:
    assert for_rows(TASKS["sql"], [SQL_ROW, {**SQL_ROW, "type": "hard"}, {**SQL_ROW, "type": 3}]) is TASKS["sql"]
    assert not says_other({"type": "sql"}, TASKS["sql"]) and says_other(ALPACA_ROW, TASKS["sql"])


def test_each_row_is_scored_by_its_own_task() -> None:
    task = for_rows(TASKS["sql"], [SQL_ROW, ALPACA_ROW, CHAT_ROW])
    assert task.name == "sql" and task.metric == "right answers"
    assert [task.question(row) for row in (SQL_ROW, ALPACA_ROW, CHAT_ROW)] == ["How many?", "Name a colour.", "2 + 2?"]
    with task.open_scorer(never) as score:
        found = [
            score(row, answer)
            for row, answer in (
                (SQL_ROW, "SELECT COUNT(*) FROM t;"),
                (SQL_ROW, "SELECT 3"),
                (ALPACA_ROW, "red"),
                (CHAT_ROW, "I say 4"),
                (CHAT_ROW, "none"),
            )
        ]
    assert [one.value for one in found] == [1.0, 0.0, 1.0, 1.0, 0.0]
    assert found[0].parts == {"execution accuracy (sql)": 1.0} and found[1].parts == {"execution accuracy (sql)": 0.0}
    assert found[2].parts["accuracy (alpaca)"] == found[3].parts["exact match (chat)"] == 1.0
    assert found[4].kind in task.malformed


def test_rewards_are_those_of_each_rows_own_task() -> None:
    task = for_rows(TASKS["sql"], [SQL_ROW, ALPACA_ROW])
    with weighted_judge(task, RewardWeights()) as judge:
        assert judge(SQL_ROW, "SELECT a FROM nowhere", stopped=True).total == TASKS["sql"].partial["unknown_table"]
        assert judge(ALPACA_ROW, "Red", stopped=True).total == 1.0


def test_no_kind_of_answer_is_rewarded_by_one_task_and_known_to_another() -> None:
    """A mixture takes the rewards of all its tasks together, by the kind of answer."""
    for task in TASKS.values():
        for other in TASKS.values():
            if other is not task:
                assert not set(task.partial) & (set(other.partial) | other.malformed)
