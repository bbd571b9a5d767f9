"""Pairs of a better and a worse answer: in the shapes that people keep them in, and made by a model itself."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from finetune.dataset.own_pairs import no_pairs_remedy, pairs
from finetune.dataset.prepare import prepare
from finetune.errors import UserError
from finetune.methods.base import Sample
from finetune.models.examples import TrainingRow
from finetune.models.loss_mask import Example
from finetune.rollouts.groups import Group, rollout_metrics
from finetune.rollouts.probe import RewardProbe
from finetune.rollouts.rewards import Reward
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS

USER = {"role": "user", "content": "Say hi."}
ANSWERS = [{"role": "assistant", "content": "Hi."}, {"role": "assistant", "content": "Go away."}]
SHAPES: list[dict[str, Any]] = [
    {"prompt": "Say hi.", "chosen": "Hi.", "rejected": "Go away."},
    {"prompt": [USER], "chosen": ANSWERS[:1], "rejected": ANSWERS[1:]},
    {"prompt": "Say hi.", "chosen": [USER, ANSWERS[0]], "rejected": [USER, ANSWERS[1]]},
    {"chosen": [USER, ANSWERS[0]], "rejected": [USER, ANSWERS[1]]},
    {"prompt": [USER], "chosen": "Hi.", "rejected": "Go away."},
]


def read(path: Path, rows: list[dict[str, Any]], **settings: Any) -> Any:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DatasetConfig(type_="preference", dataset_name=str(path), valid_fraction=0, test_fraction=0, **settings)
    return prepare(config, ROW_KINDS["preference"], print)


@pytest.mark.parametrize("row", SHAPES)
def test_every_shape_becomes_the_same_row(tmp_path: Path, row: dict[str, Any]) -> None:
    dataset = read(tmp_path / "pairs.jsonl", [row])
    assert dataset.splits["train"] == [{"messages": [USER, ANSWERS[0]], "rejected": "Go away."}]
    assert dataset.record(DatasetConfig(type_="preference")).type == "chat"  # which is how answers are scored


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "chosen": "b"}, "no field 'rejected'"),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, "rejected is empty"),
        ({"prompt": "a", "chosen": "b", "rejected": "b "}, "chosen and rejected are the same"),
        ({"chosen": "b", "rejected": "c"}, "no prompt"),
        (
            {"chosen": [USER, ANSWERS[0]], "rejected": [{**USER, "content": "?"}, ANSWERS[1]]},
            "chosen and rejected have different prompts",
        ),
        ({"prompt": 3, "chosen": "b", "rejected": "c"}, "prompt is a number, not text"),
        ({"prompt": "a", "chosen": [USER], "rejected": "c"}, "chosen does not end with an assistant message"),
    ],
)
def test_what_is_no_pair_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"pairs\.jsonl:1: {message}"):
        read(tmp_path / "pairs.jsonl", [row])


def group(*answers: tuple[str, float | None, bool, float]) -> Group:
    """Of (text, reward, ended by itself, log-probability)."""
    return Group(
        TrainingRow(1, ROW, ()),
        [Sample([0] * len(text), [logprob / len(text)] * len(text), stopped) for text, _, stopped, logprob in answers],
        [text for text, *_ in answers],
        [Reward(reward, {}) for _, reward, *_ in answers],
    )


ROW = {"messages": [USER, {"role": "assistant", "content": "the row's own"}], "sql": "kept"}


def test_pairs_are_the_right_and_the_wrong_answers_as_they_were_drawn() -> None:
    made = pairs(
        ROW,
        group(
            ("right and long", 1.0, True, -1),
            ("wrong", 0.3, True, -5),
            ("cut off", 0.0, False, -1),
            ("right", 1.0, True, -9),
            ("right", 1.0, True, -9),
            ("likely wrong", 0.1, True, -2),
        ),
        reference_chosen=False,
    )
    assert isinstance(made, list) and made[0] == {
        "messages": [USER, {"role": "assistant", "content": "right and long"}],
        "sql": "kept",
        "rejected": "wrong",
    }
    assert [(row["messages"][-1]["content"], row["rejected"]) for row in made[1:]] == [("right", "likely wrong")]


def test_rows_without_a_pair_are_counted_by_reason() -> None:
    wrong, right = ("wrong", 0.0, True, -1.0), ("right", 1.0, True, -1.0)
    assert pairs(ROW, group(wrong, wrong), reference_chosen=False) == "no answer is right"
    assert pairs(ROW, group(right, right), reference_chosen=False) == "no answer is wrong"
    assert (
        pairs(ROW, group(("cut", 0.0, False, -1.0)), reference_chosen=False)
        == "every answer is cut off at the token limit"
    )
    assert (
        pairs(ROW, group(("unjudged", None, True, -1.0), right), reference_chosen=False)
        == "its answers cannot be scored"
    )
    made = pairs(ROW, group(wrong, wrong), reference_chosen=True)
    assert made == [{**ROW, "rejected": "wrong"}]


def test_pairs_of_a_model_that_thinks_keep_the_thinking_of_the_reference() -> None:
    answer = {"role": "assistant", "content": "5", "reasoning_content": "2 + 3"}
    row = {"messages": [USER, answer]}
    wrong, endless = ("<think>\nno\n</think>\n\n6", 0.0, True, -1.0), ("<think>\nhm", 0.0, True, -1.0)
    made = pairs(row, group(endless, wrong), reference_chosen=True)
    assert made == [{"messages": [USER, answer], "rejected": wrong[0]}]
    nothing = "every answer that ends is empty, or thinking alone"
    assert pairs(row, group(endless), reference_chosen=True) == nothing


def test_a_call_that_the_model_wrote_is_the_worse_call_in_whatever_form() -> None:
    tools = [{"type": "function", "function": {"name": "w", "parameters": {}}}]
    wanted = {"id": "1", "type": "function", "function": {"name": "w", "arguments": {"a": 1}}}
    row = {"tools": tools, "messages": [USER, {"role": "assistant", "content": "", "tool_calls": [wanted]}]}
    made = pairs(row, group(('{"name": "w", "parameters": {"a": 2}}', 0.3, True, -1.0)), reference_chosen=True)
    assert isinstance(made, list) and made[0]["messages"][-1]["tool_calls"][0]["function"] == wanted["function"]
    assert made[0]["rejected"] == '<tool_call>\n{"name": "w", "arguments": {"a": 2}}\n</tool_call>'


def test_what_a_refusal_says_to_ignore_is_ignored(tmp_path: Path) -> None:
    row = {"prompt": "Say hi.", "chosen": [{**ANSWERS[0], "weight": 0}], "rejected": "Go away."}
    with pytest.raises(UserError, match="--ignore weight"):
        read(tmp_path / "pairs.jsonl", [row])
    (made,) = read(tmp_path / "pairs.jsonl", [row], ignore="weight").splits["train"]
    assert made == {"messages": [USER, ANSWERS[0]], "rejected": "Go away."}


@pytest.mark.parametrize(
    ("answers", "remedy"),
    [
        ([("cut", 0.0, False, -1.0)], "raise --max-tokens"),
        ([("wrong", 0.0, True, -1.0)], "give --reference-chosen; or ask for more --answers, or raise --temperature"),
        ([("right", 1.0, True, -1.0)], "ask for more --answers, or raise --temperature"),
        ([("unjudged", None, True, -1.0)], "use rows whose answers can be scored"),
    ],
)
def test_where_there_are_no_pairs_the_remedy_is_one_for_the_reason(answers: list[Any], remedy: str) -> None:
    why = pairs(ROW, group(*answers), reference_chosen=False)
    assert isinstance(why, str) and no_pairs_remedy(Counter([why])) == remedy


def test_rows_that_cannot_be_judged_are_told_before_training() -> None:
    groups = [group(("a", None, True, -1.0)), group(("aa", 0.0, True, -1), ("aa", 1.0, True, -1))]
    assert RewardProbe(groups, 2, 1.0).lines()[1:] == [
        "1 of 2 prompts cannot be judged: nothing is learned from rows like these"
    ]
    assert len(RewardProbe(groups[1:], 2, 1.0).lines()) == 1


def test_adapters_inside_the_new_folder_are_no_start() -> None:
    """A run that was there moves aside, and what is in previous/ would be gone."""
    from finetune.settings.config import TrainingConfig
    from finetune.training import start

    with pytest.raises(UserError, match=r"--adapter-path: the folder of --from-adapter, a.previous, is inside a "):
        start.check_start(TrainingConfig(from_adapter=Path("a/previous"), adapter_path=Path("a")))


def test_what_is_watched() -> None:
    flat = group(("aa", 0.5, True, -1), ("aaaa", 0.5, False, -2))
    mixed = group(("aa", 0.0, True, -1), ("aa", 1.0, True, -1))
    found = rollout_metrics([flat, mixed])
    assert found == {
        "frac_reward_zero_std": 0.5,
        "completion_length": 2.5,
        "clipped_ratio": 0.25,
        "entropy": pytest.approx(5 / 10),
        "sampled_tokens": 10,
        "reward": 0.5,
        "best_of_group": 0.75,
    }
    assert not flat.has_signal and mixed.has_signal


def test_an_example_of_a_pair_learns_its_last_answer_alone(builtin_model: Path) -> None:
    from finetune.methods.pairs import encode
    from finetune.models.encoder import ChatEncoder

    encoder = ChatEncoder(builtin_model)
    row = {"messages": [USER, ANSWERS[0], {**USER, "content": "Again."}, ANSWERS[0]], "rejected": "Go away."}
    (made,) = encode(encoder, [row])
    assert isinstance(made, list)
    learned = [
        encoder.decode([token for token, learned in zip(one.tokens, one.loss_mask, strict=True) if learned])
        for one in made
    ]
    assert learned == ["Hi.", "Go away."] and all(isinstance(one, Example) for one in made)
