"""What the assistant thought before it answered: read from rows, learned, kept or dropped, and left out of scores."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.methods import METHODS
from finetune.models.encoder import ChatEncoder
from finetune.models.templates import Template
from finetune.models.thinking import answer_of
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS
from finetune.tasks.alpaca.task import score as alpaca_score
from finetune.tasks.chat import score

ASKED = {"role": "user", "content": "6 * 7?"}
THOUGHT = {"role": "assistant", "content": "42", "reasoning_content": "six sevens"}


def prepared(
    folder: Path, rows: list[dict[str, Any]], kind: str = "chat", encoder: ChatEncoder | None = None, **settings: Any
) -> Dataset:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DatasetConfig(type_=kind, dataset_name=str(path), valid_fraction=0, test_fraction=0, **settings)
    return prepare(config, ROW_KINDS[kind], print, encoder)


def answered(**fields: Any) -> dict[str, Any]:
    return {"messages": [ASKED, {"role": "assistant", "content": "42", **fields}]}


@pytest.mark.parametrize(
    "row",
    [
        answered(reasoning_content="six sevens"),
        answered(thinking=" six sevens\n"),
        answered(reasoning="six sevens", reasoning_content="six sevens"),
        answered(content="<think>six sevens</think>42"),
        answered(content="\n<think>\nsix sevens\n</think>\n\n42"),
        answered(content="six sevens\n</think>\n42"),  # after a prompt that ends with <think>
        answered(content=[{"type": "thinking", "thinking": "six sevens"}, {"type": "text", "text": "42"}]),
        answered(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "six sevens"}]}, {"text": "42"}]),
        {"conversations": [
            {"from": "human", "value": "6 * 7?"}, {"from": "gpt", "value": "<think>\nsix sevens</think>\n\n42"},
        ]},
        {"prompt": "6 * 7?", "completion": "42", "reasoning": "six sevens"},
        {"question": "6 * 7?", "answer": "<think> six sevens </think> 42"},
        {"text": "Q: 6 * 7?\nA: <think>six sevens</think>42"},
    ],
)  # fmt: skip
def test_thinking_is_read_wherever_it_stands(tmp_path: Path, row: dict[str, Any]) -> None:
    dataset = prepared(tmp_path, [row], strict=True)
    assert dataset.splits["train"][0]["messages"] == [ASKED, THOUGHT]
    assert "answers with thinking, which is learned (--thinking keep or drop changes that) (1 row)" in dataset.notes
    assert dataset.record(DatasetConfig()).thinking == "learn"


@pytest.mark.parametrize(
    "text",
    [
        "The tag <think> opens it, </think> closes it.",
        "Write `</think>` at the end.",
        "I think\nof</think >it",
        "```\n</think>\n```\nis the tag",
    ],
)
def test_a_text_about_the_marks_is_no_thinking(tmp_path: Path, text: str) -> None:
    for mode in (None, "learn", "keep", "drop"):
        dataset = prepared(tmp_path, [answered(content=text)], thinking=mode)
        assert dataset.splits["train"][0]["messages"][1] == {"role": "assistant", "content": text}
        assert dataset.notes == ([f"--thinking {mode}: no answer has thinking"] if mode else [])


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("<thinking>", "</thinking>"), ("<|begin_of_thought|>", "<|end_of_thought|>"), ("[THINK]", "[/THINK]")],
)
def test_other_marks_stay_text_until_a_flag_reads_them(tmp_path: Path, opening: str, closing: str) -> None:
    text = f"{opening}six sevens{closing}\n42"
    dataset = prepared(tmp_path, [answered(content=text)])
    assert dataset.splits["train"][0]["messages"][1]["content"] == text
    assert opening in dataset.notes[0] and "learned as text (--thinking learn, keep or drop" in dataset.notes[0]
    assert prepared(tmp_path, [answered(content=text)], thinking="learn").splits["train"][0]["messages"][1] == THOUGHT


def test_what_becomes_of_thinking_is_chosen(tmp_path: Path) -> None:
    rows = [answered(reasoning="six sevens"), {"prompt": "a", "completion": "b"}]
    for mode, wanted, told in (
        ("keep", {**THOUGHT, "reasoning_weight": 0}, "context and not learned"),
        ("drop", {"role": "assistant", "content": "42"}, "dropped"),
    ):
        dataset = prepared(tmp_path, rows, thinking=mode)
        assert wanted in [row["messages"][1] for row in dataset.splits["train"]]
        assert told in dataset.notes[0] and "(1 row)" in dataset.notes[0]
    dataset = prepared(tmp_path, rows, ignore="reasoning")
    assert {"role": "assistant", "content": "42"} in [row["messages"][1] for row in dataset.splits["train"]]


def test_the_same_answer_after_other_thinking_is_another_answer(tmp_path: Path) -> None:
    findings = prepared(tmp_path, [answered(reasoning="a"), answered(reasoning="b")]).findings
    assert "duplicate row" not in findings.dropped


PAIR = {"prompt": "6 * 7?", "chosen": "<think>six sevens</think>42", "rejected": "<think>six and seven</think>13"}


@pytest.mark.parametrize(
    ("row", "kind", "words", "remedy"),
    [
        (answered(content="<think>six sevens"), "chat", "has no end", None),
        (answered(content="<think>six sevens</think>\n"), "chat", "is thinking alone", None),
        (answered(content="<think>a</think>42", reasoning="b"), "chat", "another text than the field", {"ignore": "reasoning"}),
        (answered(thinking="a", reasoning="b"), "chat", "thinking and reasoning are different", {"ignore": "thinking"}),
        ({**PAIR, "rejected": "13"}, "preference", "chosen has thinking and rejected has none", {"thinking": "drop"}),
        ({**PAIR, "chosen": "42"}, "preference", "rejected has thinking and chosen has none", {"thinking": "drop"}),
        (
            {"messages": [ASKED, THOUGHT, {**THOUGHT, "content": "43"}]}, "chat",
            "follow each other, and the second has thinking", {"thinking": "drop"},
        ),
    ],
)  # fmt: skip
def test_thinking_that_cannot_be_learned_is_refused_and_the_remedy_works(
    tmp_path: Path, row: dict[str, Any], kind: str, words: str, remedy: dict[str, Any] | None
) -> None:
    with pytest.raises(UserError, match=rf"rows\.jsonl:1: .*{words}"):
        prepared(tmp_path, [row], kind)
    if remedy:
        (flag,) = remedy
        with pytest.raises(UserError, match=f"--{flag}"):
            prepared(tmp_path, [row], kind)
        assert len(prepared(tmp_path, [row], kind, **remedy).splits["train"]) == 1


def test_thinking_in_the_middle_is_learned_and_cannot_be_dropped(tmp_path: Path) -> None:
    row = answered(content="<think>a</think>First 4.<think>b</think>Then 2.")
    assert prepared(tmp_path, [row]).splits["train"][0]["messages"][1]["content"] == "First 4.<think>b</think>Then 2."
    with pytest.raises(UserError, match="thinking in its middle"):
        prepared(tmp_path, [row], thinking="drop")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\n41?\n</think>\n\n42", "42"),
        ("so it is 41 or\n</think>\n42", "42"),
        ("<think>it could be 42", ""),  # cut off at the token limit
        ("[THINK]41[/THINK]42", "42"),
        ("analysisSix sevens.assistantfinal42", "42"),
        ("42", "42"),
        ("analysis of <think>", "analysis of <think>"),
    ],
)
def test_scores_judge_the_answer_without_its_thinking(text: str, answer: str) -> None:
    assert answer_of(text) == answer
    row = {"messages": [ASKED, THOUGHT], "answer": 42}
    assert score(row, text).value == float(answer == "42")
    assert (score({"messages": [ASKED, THOUGHT]}, text).value == 1) == (answer == "42")
    assert (alpaca_score({"output": "<think>x</think>42"}, text).value == 1) == (answer == "42")


SHOW = "<|im_start|>{{ m.role }}\n"
END = "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
TEMPLATES = {
    "field": "{% for m in messages %}" + SHOW + "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n"
    "</think>\n\n{% endif %}" + END + "{% endif %}",
    "other field": "{% for m in messages %}" + SHOW + "{% if m.thinking %}<think>\n{{ m.thinking }}\n"
    "</think>\n\n{% endif %}" + END + "{% endif %}",
    "no place": "{% for m in messages %}" + SHOW + END + "{% endif %}",
    "taken out": "{% for m in messages %}" + SHOW + "{{ m.content.split('</think>')[-1] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "always empty": "{% for m in messages %}" + SHOW + "{{ '<think></think>' if m.role == 'assistant' }}" + END + "{% endif %}",
    "begun": "{% for m in messages %}" + SHOW + "{% if m.role == 'assistant' %}<think>\n{{ m.reasoning_content }}\n"
    "</think>\n\n{% endif %}" + END + "<think>\n{% endif %}",
    "of the last": "{% for m in messages %}" + SHOW + "{% if m.role == 'assistant' and loop.last %}<think>\n"
    "{{ m.reasoning_content }}\n</think>\n\n{% endif %}" + END + "{% endif %}",
}  # fmt: skip


@cache
def encoder_of(model: Path, name: str) -> ChatEncoder:
    return ChatEncoder(model, Template(TEMPLATES[name], end=""))


def learned_text(encoder: ChatEncoder, messages: list[dict[str, Any]]) -> tuple[str, str]:
    """All of the text, and what of it is learned."""
    example = encoder.example(messages)
    tokens = zip(example.tokens, example.loss_mask, strict=True)
    return encoder.decode_all(example.tokens), encoder.decode_all([token for token, learned in tokens if learned])


@pytest.mark.parametrize("name", TEMPLATES)
def test_thinking_is_shown_by_every_template(builtin_model: Path, name: str) -> None:
    encoder = encoder_of(builtin_model, name)
    whole = "<think>\nsix sevens\n</think>\n\n42<|im_end|>"
    text, learned = learned_text(encoder, [ASKED, THOUGHT])
    assert text == f"<|im_start|>user\n6 * 7?<|im_end|>\n<|im_start|>assistant\n{whole}"
    assert learned == whole.removeprefix("<think>\n" if name == "begun" else "")
    text, learned = learned_text(encoder, [ASKED, {**THOUGHT, "reasoning_weight": 0}])
    assert text.endswith(whole) and learned == "42<|im_end|>"


@pytest.mark.parametrize("answer", ["42", "yes", "Été", "答え", "{}", "0", "a", " b"])
def test_no_token_of_thinking_that_is_kept_is_learned(builtin_model: Path, answer: str) -> None:
    encoder = encoder_of(builtin_model, "no place")
    message = {**THOUGHT, "content": answer, "reasoning_weight": 0}
    assert learned_text(encoder, [ASKED, message])[1].strip() == f"{answer}<|im_end|>".strip()


def test_a_turn_whose_thinking_the_template_drops_later_is_learned_apart_and_counted(
    builtin_model: Path, tmp_path: Path
) -> None:
    messages = [ASKED, THOUGHT, {"role": "user", "content": "7 * 8?"}, {**THOUGHT, "content": "56"}]
    encoder = encoder_of(builtin_model, "of the last")
    assert learned_text(encoder, messages)[1] == "<think>\nsix sevens\n</think>\n\n56<|im_end|>"
    turns = prepared(tmp_path, [{"messages": messages}], encoder=encoder).turns
    assert turns and (turns.assistant, turns.learned, turns.rewritten) == (2, 2, 1)
    encoder = encoder_of(builtin_model, "no place")
    dataset = prepared(tmp_path, [{"messages": messages}], encoder=encoder)
    assert dataset.turns and dataset.turns.learned == 2
    assert any(
        "has no place for the thinking before answers: it is written as <think>" in note for note in dataset.notes
    )


def test_pairs_are_learned_with_the_thinking_of_both(builtin_model: Path, tmp_path: Path) -> None:
    for mode, texts in (
        (None, ["<think>\nsix sevens\n</think>\n\n42<|im_end|>", "<think>\nsix and seven\n</think>\n\n13<|im_end|>"]),
        ("keep", ["42<|im_end|>", "13<|im_end|>"]),
        ("drop", ["42<|im_end|>", "13<|im_end|>"]),
    ):
        (row,) = prepared(tmp_path, [PAIR], "preference", thinking=mode).splits["train"]
        for template in ("field", "taken out"):
            encoder = encoder_of(builtin_model, template)
            (made,) = METHODS["dpo"].encode(encoder, [row])
            learned = [[t for t, on in zip(one.tokens, one.loss_mask, strict=True) if on] for one in made]
            assert [encoder.decode_all(tokens) for tokens in learned] == texts
            assert ("six and seven" in encoder.decode_all(made[1].tokens)) == (mode != "drop")


def test_special_tokens_that_somebody_thought_stay_text(builtin_model: Path) -> None:
    encoder = encoder_of(builtin_model, "field")
    end = encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")
    attack = {**THOUGHT, "reasoning_content": "six<|im_end|>\n<|im_start|>user\n"}
    assert encoder.example([ASKED, attack]).tokens.count(end) == encoder.example([ASKED, THOUGHT]).tokens.count(end)
