"""What stands beside messages, and beside a question and its answer: part of the prompt, an answer, refused, or told."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS

QA = {"question": "Where?", "answer": "Oslo"}
ASKED, ANSWERED = {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Oslo"}
EARLIER = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]


def prepared(folder: Path, rows: list[dict[str, Any]], kind: str = "chat", **settings: Any) -> Dataset:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DatasetConfig(type_=kind, dataset_name=str(path), valid_fraction=0, test_fraction=0, **settings)
    return prepare(config, ROW_KINDS[kind], print)


def messages_of(folder: Path, row: dict[str, Any], kind: str = "chat", **settings: Any) -> list[dict[str, Any]]:
    return prepared(folder, [row], kind, **settings).splits["train"][0]["messages"]


@pytest.mark.parametrize(
    "history",
    [
        [["q", "r"]],
        EARLIER,
        [{"from": "Human", "role": "USER", "content": "q"}, {"role": "AI", "content": "r"}],
        json.dumps(EARLIER),
        str([["q", "r"]]),
        [{"user": "q", "assistant": "r"}],
        [{"human": "q", "gpt": "r"}],
        [{"question": "q", "answer": "r"}],
        "User: q\nAssistant: r",
    ],
)
@pytest.mark.parametrize("name", ["history", "chat_history"])
def test_history_in_every_shape(tmp_path: Path, history: Any, name: str) -> None:
    for row, kind in (
        ({**QA, name: history}, "chat"),
        ({"instruction": "Where?", "output": "Oslo", "history": history}, "alpaca"),
    ):
        found = messages_of(tmp_path, row, kind, strict=True)
        assert found == [*EARLIER, ASKED, ANSWERED]


@pytest.mark.parametrize("name", ["system", "system_prompt", "system_message"])
def test_a_system_message_under_every_name(tmp_path: Path, name: str) -> None:
    system = {"role": "system", "content": "Be brief."}
    for row in (
        {**QA, name: "Be brief."},
        {"messages": [ASKED, ANSWERED], name: "Be brief."},
        {"text": "Q: Where?\nA: Oslo", name: "Be brief."},
    ):
        assert messages_of(tmp_path, row, strict=True) == [system, ASKED, ANSWERED]
    pair = {"prompt": "Where?", "chosen": "Oslo", "rejected": "Rome", name: "Be brief."}
    assert messages_of(tmp_path, pair, "preference", strict=True) == [system, ASKED, ANSWERED]


@pytest.mark.parametrize(("roles", "wanted"), [
    (("USER", "Assistant"), ("user", "assistant")),
    (("Human", "AI"), ("user", "assistant")),
    (("prompter", " assistant "), ("user", "assistant")),
    (("customer", "agent"), ("user", "assistant")),
])  # fmt: skip
def test_roles_of_other_programs(tmp_path: Path, roles: tuple[str, str], wanted: tuple[str, str]) -> None:
    for role, text in (("role", "content"), ("from", "value")):
        turns = [{role: name, text: said} for name, said in zip(roles, ("a", "b"), strict=True)]
        found = messages_of(tmp_path, {"messages" if role == "role" else "conversations": turns}, strict=True)
        assert [message["role"] for message in found] == list(wanted)


def system(text: str, role: str = "system") -> dict[str, str]:
    return {"role": role, "content": text}


@pytest.mark.parametrize(
    ("turns", "wanted"),
    [
        ([system("S", "developer"), ASKED, ANSWERED], [system("S"), ASKED, ANSWERED]),
        ([system("S"), system("T", "developer"), ASKED, ANSWERED], [system("S\n\nT"), ASKED, ANSWERED]),
        (
            [ASKED, ANSWERED, system("now brief"), ASKED, ANSWERED],
            [ASKED, ANSWERED, {**ASKED, "content": "now brief\n\nWhere?"}, ANSWERED],
        ),
        ([ASKED, system("brief"), ANSWERED], [{**ASKED, "content": "Where?\n\nbrief"}, ANSWERED]),
        ([ASKED, ANSWERED, system("the end")], [ASKED, ANSWERED]),
    ],
)
def test_system_messages_anywhere(tmp_path: Path, turns: list[Any], wanted: list[Any]) -> None:
    dataset = prepared(tmp_path, [{"messages": turns}])
    assert dataset.splits["train"][0]["messages"] == wanted
    assert len(dataset.findings.mended) == (len(turns) != len(wanted))


CHOICES = ["Rome", "Oslo", "Bern"]
LISTED = "Where?\n\nA. Rome\nB. Oslo\nC. Bern"


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        ({**QA, "context": "It is in Norway."}, "It is in Norway.\n\nWhere?", "Oslo"),
        ({**QA, "passage": ["One.", "Two."]}, "One.\n\nTwo.\n\nWhere?", "Oslo"),
        ({"prompt": "In Norway. Where?", "completion": "Oslo", "context": "In Norway."}, "In Norway. Where?", "Oslo"),
        ({"prompt": "Where?", "completion": "Oslo", "input": "Norway"}, "Where?\n\nNorway", "Oslo"),
        ({"instruction": "Where?", "response": "Oslo", "context": "Norway"}, "Norway\n\nWhere?", "Oslo"),
        ({"instruction": "Where?", "output": "Oslo", "context": "C", "input": "I"}, "C\n\nWhere?\n\nI", "Oslo"),
        ({**QA, "choices": CHOICES}, LISTED, "Oslo"),
        ({**QA, "choices": CHOICES, "answer": 1}, LISTED, "B"),
        ({**QA, "options": CHOICES, "answer": "2"}, LISTED, "C"),
        ({**QA, "options": {"A": "Rome", "B": "Oslo", "C": "Bern"}, "answer": "B"}, LISTED, "B"),
        ({**QA, "choices": {"text": CHOICES, "label": ["A", "B", "C"]}, "answer": "B"}, LISTED, "B"),
        ({"question": "2+1?", "choices": [1, 2, 3], "answer": 3}, "2+1?\n\nA. 1\nB. 2\nC. 3", "3"),
        ({"question": "Rome, Oslo or Bern?", "choices": CHOICES, "answer": "Oslo"}, "Rome, Oslo or Bern?", "Oslo"),
        (  # the letter needs its list, and 1 is no word of 14
            {"question": "1, 4 or 14?", "choices": ["1", "4"], "answer": 0},
            "1, 4 or 14?\n\nA. 1\nB. 4",
            "A",
        ),
        ({"question": "Of 14?", "choices": ["1", "4"], "answer": "4"}, "Of 14?\n\nA. 1\nB. 4", "4"),
        ({"question": "A) 3\nB) 4?", "choices": ["3", "4"], "answer": 1}, "A) 3\nB) 4?", "B"),
        ({"query": "Where?", "response": "Oslo"}, "Where?", "Oslo"),
        ({"problem": "Where?", "solution": "Oslo"}, "Where?", "Oslo"),
        ({"input": "Where?", "output": "Oslo"}, "Where?", "Oslo"),
    ],
)
def test_what_belongs_to_the_prompt_is_part_of_it(
    tmp_path: Path, row: dict[str, Any], prompt: str, answer: str
) -> None:
    dataset = prepared(tmp_path, [row], strict=True)
    assert [message["content"] for message in dataset.splits["train"][0]["messages"]] == [prompt, answer]
    for name in {"context", "passage", "choices", "options"} & row.keys():
        assert f"{name} read as part of the prompt (--ignore {name} leaves it out) (1 row)" in dataset.notes


def test_a_passage_can_be_left_out_of_the_prompt(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, [{**QA, "context": "C", "choices": CHOICES}], ignore="context,choices", strict=True)
    assert (dataset.splits["train"][0]["messages"], dataset.notes) == ([ASKED, ANSWERED], [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (0, "0"),
        (2.5, "2.5"),
        ({"n": 3}, '{"n": 3}'),
        ([1, [2]], "[1, [2]]"),
        (["Oslo"], "Oslo"),
        ({"é": None}, '{"é": null}'),
    ],
)
def test_values_that_are_no_text_are_learned_as_what_they_say(tmp_path: Path, value: Any, text: str) -> None:
    rows = [
        {"prompt": "p", "completion": value},
        {"messages": [{**ASKED, "content": value}, {**ANSWERED, "content": value}]},
    ]
    dataset = prepared(tmp_path, rows)
    contents = {tuple(message["content"] for message in row["messages"]) for row in dataset.splits["train"]}
    assert contents == {("p", text), (text, text)}
    assert dataset.notes == ([] if isinstance(value, (int, float)) and value is not True else dataset.notes[:1])
    assert all("(2 rows)" in note and "learned as" in note for note in dataset.notes)
    assert messages_of(tmp_path, {"instruction": "i", "input": value, "output": "o"})[0]["content"] == f"i\n\n{text}"


@pytest.mark.parametrize(
    ("row", "words", "remedy"),
    [
        ({**QA, "label": False}, "label False says that the answer is a bad one", {"ignore": "label"}),
        ({**QA, "label": "false"}, "--ignore label", {"ignore": "label"}),
        ({**QA, "thumbs_up": 0}, "--ignore thumbs_up", {"ignore": "thumbs_up"}),
        ({**QA, "rating": "bad"}, "--ignore rating", {"ignore": "rating"}),
        ({"messages": [ASKED, {**ANSWERED, "label": False}]}, "--ignore label", {"ignore": "label"}),
        ({"text": "Q: Where?\nA: Oslo", "label": False}, "--ignore label", {"ignore": "label"}),
        ({**QA, "images": ["x.png"]}, "the row has images, and only text", {"ignore": "images"}),
        ({"messages": [ASKED, ANSWERED], "audio": {"path": "x"}}, "the row has audio", {"ignore": "audio"}),
        ({**QA, "question": "<image>\nWhere?"}, "an image or the like", None),
        ({"messages": [{**ASKED, "content": [{"type": "image_url"}]}, ANSWERED]}, "part that is not text", None),
        ({**QA, "answer": ["Oslo", "Bergen"]}, "a list of 2 texts", None),
        ({**QA, "choices": CHOICES, "answer": 3}, "none of the 3 choices, counted from 0", None),
        ({**QA, "choices": CHOICES, "answer": -1}, "none of the 3 choices, counted from 0", None),
        ({**QA, "history": [[{"role": "user"}, "x"]]}, "a text in history is an object", None),
        ({**QA, "history": [["q", False]]}, "a text in history is true or false", None),
        ({**QA, "history": ["q", "r", "s"]}, "history is not a list of pairs", None),
        ({"messages": '[{"role": "user", "content": NaN}]'}, "cannot be read: NaN is no number in JSON", None),
        ({"messages": '[{"role": "user", "content": "\\ud83d"}]'}, "cannot be read: half of a surrogate pair", None),
        ({**QA, "system": "S", "system_prompt": "T"}, "different values", None),
    ],
)  # fmt: skip
def test_what_would_be_learned_as_something_else_is_refused_and_the_remedy_works(
    tmp_path: Path, row: dict[str, Any], words: str, remedy: dict[str, Any] | None
) -> None:
    good = {"prompt": "p", "completion": "c"}
    with pytest.raises(UserError, match=rf"rows\.jsonl:2: .*{words}.*--fix skips them"):
        prepared(tmp_path, [good, row])
    assert len(prepared(tmp_path, [good, row], fix=True).splits["train"]) == 1
    if remedy:
        dataset = prepared(tmp_path, [good, row], strict=True, **remedy)
        assert len(dataset.splits["train"]) == 2 and not any("--ignore" in note for note in dataset.notes)


@pytest.mark.parametrize("field", [{"label": True}, {"label": 1}, {"liked": "yes"}])
def test_a_good_answer_is_learned(tmp_path: Path, field: dict[str, Any]) -> None:
    assert messages_of(tmp_path, {**QA, **field}, strict=True) == [ASKED, ANSWERED]


@pytest.mark.parametrize("field", [{"label": "sports"}, {"label": 3}, {"rating": 2}, {"score": 0}])
def test_a_class_or_a_number_is_told(tmp_path: Path, field: dict[str, Any]) -> None:
    (name,) = field
    dataset = prepared(tmp_path, [{**QA, **field}])
    assert dataset.record(DatasetConfig()).unused == {name: 1}
    told = [note for note in dataset.notes if "beside answers, which are all learned alike" in note]
    assert len(told) == (name in ("rating", "score"))


@pytest.mark.parametrize("text", ["Draw <image> tags", "<svg><image></svg> is what?"])
def test_code_with_the_mark_of_an_image_is_text(tmp_path: Path, text: str) -> None:
    assert messages_of(tmp_path, {**QA, "question": text})[0]["content"] == text


@pytest.mark.parametrize(
    ("row", "words", "mended"),
    [
        (
            {"messages": [{**ASKED, "role": "Narrator"}, ANSWERED]}, "use system, user, assistant",
            {"messages": [ASKED, ANSWERED]},
        ),
        (
            {"messages": "[{'role': 'user' 'content'"}, "write them with json.dumps",
            {"messages": json.dumps([ASKED, ANSWERED])},
        ),
        ({**QA, "answer": ["a", "b"]}, "or one text: json.dumps", {**QA, "answer": json.dumps(["a", "b"])}),
        ({**QA, "choices": CHOICES, "answer": 7}, "write its text", {**QA, "choices": CHOICES, "answer": "Oslo"}),
        ({**QA, "system": "S", "system_prompt": "T"}, "keep one of them", {**QA, "system": "S"}),
        (
            {"messages": [system("S"), ASKED, ANSWERED], "system": "T"}, "keep one of them",
            {"messages": [ASKED, ANSWERED], "system": "T"},
        ),
        (
            {"messages": [ASKED, ANSWERED, system("S"), ANSWERED]}, "write it into a message of the user",
            {"messages": [ASKED, ANSWERED, {**ASKED, "content": "S"}, ANSWERED]},
        ),
        (
            {"messages": [ASKED, {**ANSWERED, "weight": 0}, ANSWERED]}, "remove one of them",
            {"messages": [ASKED, ANSWERED]},
        ),
        (
            {"messages": [ASKED, ANSWERED], "loss_mask": [0, 1]}, "write weight 0 or 1 into each message",
            {"messages": [ASKED, {**ANSWERED, "weight": 1}]},
        ),
    ],
)  # fmt: skip
def test_a_row_that_is_mended_as_its_refusal_says_is_read(
    tmp_path: Path, row: dict[str, Any], words: str, mended: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=words):
        prepared(tmp_path, [row])
    assert len(prepared(tmp_path, [mended], strict=True).splits["train"]) == 1


def test_a_pair_of_answers_is_sent_to_the_type_that_reads_it(tmp_path: Path) -> None:
    pair = {"prompt": "p", "chosen": "c", "rejected": "r"}
    with pytest.raises(UserError, match=r"dataset\.py --type preference --dataset-name"):
        prepared(tmp_path, [pair])
    assert len(prepared(tmp_path, [pair], "preference").splits["train"]) == 1


def test_one_message_in_place_of_a_text(tmp_path: Path) -> None:
    assert messages_of(tmp_path, {"prompt": ASKED, "completion": ANSWERED}, strict=True) == [ASKED, ANSWERED]
    assert messages_of(tmp_path, {"prompt": "Where?", "completion": {"role": "admin", "content": 3}})[1][
        "content"
    ].startswith("{")
