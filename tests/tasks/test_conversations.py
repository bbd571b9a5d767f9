"""Conversations as people have them: each field is learned, or it is said that it is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS, row_fields
from finetune.tasks.conversations import PLAIN_TEXT, to_messages

ASKED, ANSWERED = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
TURNS = [ASKED, ANSWERED]


def turns(*texts: str, system: str = "") -> list[dict[str, str]]:
    found = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *found] if system else found


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"messages": TURNS, "system": "S"}, turns("a", "b", system="S")),
        ({"messages": turns("a", "b", system="S"), "system": " S "}, turns("a", "b", system="S")),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "S"},
            turns("a", "b", system="S"),
        ),
        ({"instruction": "a", "output": "b", "history": [["q", "r"]]}, turns("q", "r", "a", "b")),
        (
            {"question": "a", "answer": "b", "history": '[["q", "r"]]', "system": "S"},
            turns("q", "r", "a", "b", system="S"),
        ),
        ({"prompt": [ASKED], "completion": [ANSWERED]}, turns("a", "b")),
        ({"prompt": "a", "completion": json.dumps([ANSWERED])}, turns("a", "b")),
        ({"prompt": str([ASKED]), "completion": str([ANSWERED])}, turns("a", "b")),  # as pandas writes them to CSV
        ({"messages": str(TURNS)}, turns("a", "b")),
        # JSON that is an answer
        ({"prompt": "a", "completion": '[{"value": 3, "unit": "kg"}]'}, turns("a", '[{"value": 3, "unit": "kg"}]')),
        ({"prompt": "a", "completion": '[{"role": "admin"}]'}, turns("a", '[{"role": "admin"}]')),
        ({"prompt": "a", "completion": "[{'from': 'Oslo'"}, turns("a", "[{'from': 'Oslo'")),
        ({"prompt": "a", "completion": '[{"content": "b", "role": "assistant"}]'}, turns("a", "b")),
        ({"prompt": "a", "completion": 42}, turns("a", "42")),
        ({"instruction": "a", "input": 7, "output": "b"}, turns("a\n\n7", "b")),
        ({"messages": TURNS, "system": "  "}, turns("a", "b")),
        ({"question": 7, "answer": 0.5}, turns("7", "0.5")),
        ({"messages": [ASKED, {**ANSWERED, "weight": None, "tool_calls": None}]}, turns("a", "b")),
        ({"messages": [ASKED, {**ANSWERED, "train": True}]}, [ASKED, {**ANSWERED, "weight": 1}]),
        ({"messages": [ASKED, {**ANSWERED, "loss_mask": "0"}]}, [ASKED, {**ANSWERED, "weight": 0}]),
        ({"messages": [{**ASKED, "weight": 0}, {**ANSWERED, "learn": 0.0}]}, [ASKED, {**ANSWERED, "weight": 0}]),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 0}]},
            [ASKED, {**ANSWERED, "weight": 0}],
        ),
        ({"text": "### Human: a\n### Assistant: b"}, turns("a", "b")),
        ({"text": "### Question:\na\n\n### Answer:\nb"}, turns("a", "b")),
        (
            {"text": "Be kind. USER: a ASSISTANT: b</s>USER: c ASSISTANT: d</s>"},
            turns("a", "b", "c", "d", system="Be kind."),
        ),
        ({"text": "<|system|>\nS</s>\n<|user|>\na</s>\n<|assistant|>\nb</s>"}, turns("a", "b", system="S")),
        ({"text": "Q: a\nA: b"}, turns("a", "b")),
        ({"text": "Human: a\nmore\n\nAssistant: b\n\nHuman: c\n\nAssistant: d"}, turns("a\nmore", "b", "c", "d")),
        ({"text": "A story. Q: no\nA: no"}, turns(PLAIN_TEXT, "A story. Q: no\nA: no")),  # not at the beginning
        ({"text": "Answer: b\nQuestion: a"}, turns(PLAIN_TEXT, "Answer: b\nQuestion: a")),
        ({"text": "Q: only a question"}, turns(PLAIN_TEXT, "Q: only a question")),
    ],
)
def test_shapes(row: dict[str, Any], messages: list[dict[str, str]]) -> None:
    assert to_messages(row) == messages


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": [ASKED, {**ANSWERED, "weight": 0.5}]}, r"has weight 0.5: a turn is learned or not, 1 or 0"),
        ({"messages": [ASKED, {**ANSWERED, "loss_mask": [0, 1]}]}, "has a mark for each of its parts in loss_mask"),
        ({"messages": [ASKED, {**ANSWERED, "train": True, "weight": 0}]}, "has weight 0 and train True"),
        ({"messages": [ASKED, {**ANSWERED, "masked": True}]}, "has masked True: marks that are read"),
        ({"messages": TURNS, "loss_mask": [0, 1]}, "the field loss_mask is a list: marks are read from the messages"),
        ({"messages": TURNS, "train": False}, "the row has train False, so there is nothing to learn"),
        ({"messages": turns("a", "b", system="S"), "system": "T"}, "another text than the system message"),
        ({"prompt": "a", "completion": "[{'role': 'assistant' 'content'"}, "not a list of messages in JSON"),
        ({"instruction": "a", "output": "b", "history": ["q"]}, "not a list of pairs"),
        ({"messages": TURNS, "system": ["S"]}, "the field system is a list, not text"),
        ({"prompt": "a", "completion": ["b", "c"]}, r"completion is a list of 2 texts \(one row for each"),
    ],
)
def test_what_would_be_learned_otherwise_than_it_says_is_refused(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_messages(row)


def prepared(folder: Path, rows: list[dict[str, Any]], kind: str = "chat", **settings: Any) -> Dataset:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DatasetConfig(type_=kind, dataset_name=str(path), valid_fraction=0, test_fraction=0, **settings)
    return prepare(config, ROW_KINDS[kind], print)


def unused_of(folder: Path, row: dict[str, Any], kind: str = "chat", **settings: Any) -> dict[str, int]:
    return dict(prepared(folder, [row], kind, **settings).record(DatasetConfig()).unused)


CHATS = [
    {"messages": [ASKED, {**ANSWERED, "annotations": ["x"]}], "id": 1, "tools": []},
    {"messages": turns("c", "d"), "id": 2, "rating": 5},
]
UNUSED = {"id": 2, "annotations in messages": 1, "rating": 1}


def test_what_is_not_used_is_counted_and_strict_refuses_it(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, CHATS)
    record = dataset.record(DatasetConfig())
    assert record.unused == UNUSED
    assert dataset.findings.first_places_of("rating") == [f"{tmp_path}/rows.jsonl:2"]
    with pytest.raises(UserError, match=r"1 x the field rating is not used \(--ignore, if that is meant\)"):
        prepared(tmp_path, CHATS, strict=True)
    dataset = prepared(tmp_path, CHATS, strict=True, ignore="id, annotations,rating")
    assert dataset.record(DatasetConfig()).unused == {}


@pytest.mark.parametrize(
    ("kind", "row", "unused"),
    [
        ("sql", {"sql_prompt": "q", "sql": "SELECT 1", "domain": "x", "db_id": "y"}, {"db_id": 1}),
        ("sql", {"question": "q", "query": "SELECT 1", "evidence": "z", "note": None}, {"evidence": 1}),
        ("alpaca", {"instruction": "i", "output": "o", "system": "s", "label": True}, {"label": 1}),
        ("preference", {"prompt": "p", "chosen": "c", "rejected": "r", "margin": 2}, {"margin": 1}),
        (
            "preference",
            {"chosen": str([ASKED, {**ANSWERED, "score": 1}]), "rejected": str([ASKED, {**ANSWERED, "content": "x"}])},
            {"score in chosen": 1},
        ),
        ("preference", {"prompt": [ASKED], "chosen": "c", "rejected": "r", "system": "S"}, {}),
        ("preference", {"prompt": "a", "chosen": TURNS, "rejected": turns("a", "x")}, {}),
        ("preference", {"prompt": "z", "chosen": TURNS, "rejected": turns("a", "x")}, {"prompt": 1}),
        ("chat", {"messages": TURNS, "answer": "a text"}, {"answer": 1}),
        ("chat", {"messages": TURNS, "answer": "so it is #### 4", "history": [["q", "r"]]}, {"history": 1}),
        ("chat", {"messages": [{**ASKED, "weight": 1}, ANSWERED], "text": "x"}, {"text": 1, "weight in messages": 1}),
        ("chat", {"messages": TURNS, "weight": 1}, {}),
        ("chat", {"messages": TURNS, "weight": 0.5}, {"weight": 1}),
        (
            "chat",
            {"prompt": [{**ASKED, "name": "Ann"}], "completion": "b", "input": "x"},
            {"input": 1, "name in prompt": 1},
        ),
        ("riscv", {"description": "Add t1 to t0.", "instructions": "add t0, t0, t1", "level": 1}, {"level": 1}),
    ],
)
def test_every_kind_says_what_it_does_not_use(
    tmp_path: Path, kind: str, row: dict[str, Any], unused: dict[str, int]
) -> None:
    assert unused_of(tmp_path, row, kind) == unused


def test_the_system_message_and_history_of_alpaca_are_learned(tmp_path: Path) -> None:
    row = {"instruction": "a", "output": "b", "system": "S", "history": [["q", "r"]]}
    assert prepared(tmp_path, [row], "alpaca").splits["train"][0]["messages"] == turns("q", "r", "a", "b", system="S")


def test_plain_texts_are_told(tmp_path: Path) -> None:
    rows = [{"text": "Once."}, {"text": "Twice."}, {"text": "Q: a\nA: b"}]
    dataset = prepared(tmp_path, rows)
    plain = f"text without the marks of a chat, learned as an answer to '{PLAIN_TEXT}' (--type text: learned as it is)"
    assert dataset.findings.mended == {plain: 2}
    assert dataset.notes == ["texts with the marks of a chat, learned as conversations (1 row)"]
    with pytest.raises(UserError, match="--strict: 2 x text without the marks of a chat"):
        prepared(tmp_path, rows, strict=True)


def test_a_name_in_ignore_that_no_row_has_is_told(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, CHATS, ignore="id,rating,annotation,messages")
    assert dataset.record(DatasetConfig()).unused == {"annotations in messages": 1}
    assert dataset.notes == [f"--ignore {name}: no row has it, or it is used" for name in ("annotation", "messages")]


def test_a_system_message_beside_a_list_of_messages_is_learned_from_pairs(tmp_path: Path) -> None:
    row = {"prompt": [ASKED], "chosen": "c", "rejected": "r", "system": "S"}
    assert prepared(tmp_path, [row], "preference").splits["train"][0]["messages"] == turns("a", "c", system="S")


def test_a_refusal_in_its_own_field_is_the_answer():
    """OpenAI's API has ``"content": null`` and the text in ``refusal``; beside a text, a refusal is not used."""
    asked = {"role": "user", "content": "How do I pick a lock?"}
    row = {"messages": [asked, {"role": "assistant", "content": None, "refusal": "I cannot help with that."}]}
    assert to_messages(row)[-1]["content"] == "I cannot help with that."
    assert [*row_fields.unused(row)] == []
    assert any("refusal" in what for what in row_fields.told(row))
    beside = {"messages": [asked, {"role": "assistant", "content": "With a pick.", "refusal": "I cannot."}]}
    assert to_messages(beside)[-1]["content"] == "With a pick."
    assert [*row_fields.unused(beside)] == ["refusal in messages"]
    nothing = {"messages": [asked, {"role": "assistant", "content": None, "refusal": " "}]}
    with pytest.raises(ValueError, match="is null"):
        to_messages(nothing)
