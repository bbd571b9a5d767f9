"""Which turns of the assistant are learned: marks in messages, --learn, and what a chat template takes away."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.methods import METHODS
from finetune.models.encoder import ChatEncoder
from finetune.records.dataset import Turns
from finetune.settings.config import DatasetConfig, TrainingConfig
from finetune.tasks import ROW_KINDS
from finetune.tasks.learning import MARKS, chosen
from finetune.training import inputs


def talk(*answers: dict[str, Any]) -> list[dict[str, Any]]:
    """A question before each answer; an answer is its text, or its text and marks."""
    return [
        turn
        for at, answer in enumerate(answers)
        for turn in ({"role": "user", "content": f"q{at}"}, {"role": "assistant", **answer})
    ]


BAD, GOOD, PLAIN = {"content": "bad", "weight": 0}, {"content": "good", "weight": 1}, {"content": "plain"}


def prepared(
    folder: Path, rows: list[dict[str, Any]], kind: str = "chat", encoder: ChatEncoder | None = None, **settings: Any
) -> Dataset:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DatasetConfig(type_=kind, dataset_name=str(path), valid_fraction=0, test_fraction=0, **settings)
    return prepare(config, ROW_KINDS[kind], print, encoder)


def learned_text(encoder: ChatEncoder, messages: list[dict[str, Any]]) -> list[str]:
    """What the loss counts, turn by turn."""
    example = encoder.example(messages)
    tokens = [token if learned else None for token, learned in zip(example.tokens, example.loss_mask, strict=True)]
    runs: list[list[int]] = [[]]
    for token in tokens:
        if token is None:
            runs.append([])
        else:
            runs[-1].append(token)
    return [encoder.decode_all(run) for run in runs if run]


@pytest.mark.parametrize(
    ("learn", "answers", "weights"),
    [
        ("all", (BAD, GOOD), [0, None]),
        ("all", (PLAIN, BAD, GOOD), [None, 0, None]),
        ("all", (PLAIN, BAD), [None]),  # nothing is learned from what follows
        ("all", (GOOD, PLAIN), [None, None]),
        ("last", (PLAIN, PLAIN, PLAIN), [0, 0, None]),
        ("last", (BAD, GOOD, PLAIN), [0, 0, None]),
        ("marked", (PLAIN, GOOD, PLAIN), [0, None]),
        ("marked", (GOOD, BAD, GOOD), [None, 0, None]),
    ],
)
def test_what_is_not_learned_has_weight_0(learn: str, answers: Any, weights: list[int | None]) -> None:
    found = chosen(talk(*answers), learn)
    assert [message.get("weight") for message in found if message["role"] == "assistant"] == weights


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("value", [0, 0.0, False, "false", "0", "No"])
def test_every_mark_is_honoured_whoever_writes_it(tmp_path: Path, mark: str, value: Any) -> None:
    row = {"conversations": [
        {"from": "human", "value": "q"}, {"from": "gpt", "value": "bad", mark: value},
        {"from": "human", "value": "r"}, {"from": "gpt", "value": "good"},
    ]}  # fmt: skip
    dataset = prepared(tmp_path, [row], strict=True)
    assert [message.get("weight") for message in dataset.splits["train"][0]["messages"]] == [None, 0, None, None]


@pytest.mark.parametrize(
    ("row", "settings", "words", "remedy"),
    [
        ({"messages": talk(BAD)}, {}, "every answer has weight 0.*--ignore weight", {"ignore": "weight"}),
        ({"messages": talk({"content": "x", "weight": 0.3})}, {}, "--ignore weight", {"ignore": "weight"}),
        ({"messages": talk({"content": "x", "loss": 2.41})}, {}, "--ignore loss", {"ignore": "loss"}),
        ({"messages": talk({"content": "x", "mask": [1, 0]})}, {}, "--ignore mask", {"ignore": "mask"}),
        ({"messages": talk(PLAIN), "train_on_turn": [True]}, {}, "--ignore train_on_turn", {"ignore": "train_on_turn"}),
        ({"messages": talk(PLAIN), "train": "no"}, {}, "--ignore train", {"ignore": "train"}),
        ({"prompt": "a", "completion": "b", "weight": 0}, {}, "--ignore weight", {"ignore": "weight"}),
        ({"messages": talk(PLAIN, GOOD)}, {"learn": "marked"}, "", {}),
        ({"messages": talk(PLAIN)}, {"learn": "marked"}, "or omit --learn marked", {"learn": "all"}),
        ({"messages": talk(GOOD, BAD)}, {"learn": "last"}, "omit --learn last", {"learn": "all"}),
        ({"messages": talk(GOOD, BAD)}, {"learn": "last"}, "or --ignore weight", {"ignore": "weight", "learn": "last"}),
    ],
)
def test_the_remedy_of_a_refusal_works(
    tmp_path: Path, row: dict[str, Any], settings: dict[str, Any], words: str, remedy: dict[str, Any]
) -> None:
    if words:
        with pytest.raises(UserError, match=rf"rows\.jsonl:1: .*{words}"):
            prepared(tmp_path, [row], **settings)
    dataset = prepared(tmp_path, [row], **(remedy or settings))
    assert len(dataset.splits["train"]) == 1 and not [note for note in dataset.notes if "--ignore" in note]


def test_answers_in_a_row_are_joined_if_all_of_them_are_learned(tmp_path: Path) -> None:
    question, bad, good = {"role": "user", "content": "q"}, {"role": "assistant", **BAD}, {"role": "assistant", **GOOD}
    with pytest.raises(UserError, match="two messages of the assistant follow each other"):
        prepared(tmp_path, [{"messages": [question, bad, good]}])
    rows = prepared(tmp_path, [{"messages": [question, {"role": "assistant", **PLAIN}, good]}]).splits["train"]
    assert rows[0]["messages"][1] == {"role": "assistant", "content": "plain\n\ngood"}


@pytest.mark.parametrize(("kind", "row"), [
    ("sql", {"sql_prompt": "q", "sql": "SELECT 1"}),
    ("preference", {"prompt": "p", "chosen": "c", "rejected": "r"}),
])  # fmt: skip
def test_learn_is_refused_where_it_has_no_effect(tmp_path: Path, kind: str, row: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"--learn has no effect with --type {kind}"):
        prepared(tmp_path, [row], kind, learn="last")


def test_the_history_of_alpaca_can_be_context(tmp_path: Path) -> None:
    row = {"instruction": "a", "output": "b", "history": [["q", "r"]]}
    messages = prepared(tmp_path, [row], "alpaca", learn="last").splits["train"][0]["messages"]
    assert [message.get("weight") for message in messages] == [None, 0, None, None]


def test_the_mask_leaves_out_what_is_only_context(builtin_model: Path) -> None:
    encoder = ChatEncoder(builtin_model)
    end = "<|im_end|>"
    assert learned_text(encoder, talk(BAD, GOOD)) == [f"good{end}"]
    assert learned_text(encoder, talk(PLAIN, BAD)) == [f"plain{end}"]
    assert learned_text(encoder, talk(PLAIN, BAD, GOOD)) == [f"plain{end}", f"good{end}"]
    with_bad, without = (encoder.example(talk(first, GOOD)) for first in (BAD, {"content": "bad"}))
    assert with_bad.tokens == without.tokens and without.learned == with_bad.learned + 2


@pytest.mark.parametrize("method", METHODS)
def test_no_method_learns_what_is_only_context(builtin_model: Path, method: str) -> None:
    encoder = ChatEncoder(builtin_model)
    row = {"messages": talk(BAD, GOOD), "rejected": "worse"}
    (made,) = METHODS[method].encode(encoder, [row])
    for example in made:
        text = encoder.decode_all([t for t, learned in zip(example.tokens, example.loss_mask, strict=True) if learned])
        assert "bad" not in text
        assert "bad" in encoder.decode_all(example.tokens)


SHORTENS = (  # what is not the last message loses its second half, as thinking does in some templates
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content if loop.last or m.role == 'user' else m.content[:12] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LONG = {"content": "a long answer of some ten words, and then one more"}


def test_turns_that_the_template_rewrites_are_learned_as_they_are_asked_for_and_counted(
    builtin_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = ChatEncoder(builtin_model, SHORTENS)
    messages = talk(LONG, LONG, {"content": "short"}, LONG)
    assert learned_text(encoder, messages) == ["short<|im_end|>", LONG["content"] + "<|im_end|>"]
    made = next(encoder.examples([messages]))
    assert not isinstance(made, ValueError) and len(made) == 3
    for turn, example in zip((1, 3, 7), made, strict=True):  # the third stands in the whole, too
        prompt = encoder.prompt(messages[:turn])
        assert example.tokens[: len(prompt)] == prompt
        assert encoder.decode_all(example.tokens[len(prompt) :]) == LONG["content"] + "<|im_end|>"
    rows = [{"messages": messages}, {"messages": talk(LONG, {**LONG, "weight": 0}, LONG)}]
    record = prepared(tmp_path, rows, encoder=encoder).record(DatasetConfig())
    assert record.turns == Turns(assistant=7, learned=6, context=1, rewritten=3)
    training_rows = [(line, row) for line, row in enumerate(rows, 1)]
    found = inputs._encoded(encoder, training_rows, "train", TrainingConfig(), METHODS["sft"].encode)
    assert inputs._turns(found, Path("train.jsonl")) == record.turns
    said = (
        "Turns of the assistant in train.jsonl: 7, 3 in examples of their own, because the chat template rewrites them"
    )
    assert said in capsys.readouterr().err
