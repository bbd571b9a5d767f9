"""Rows with tools through the scripts: one template from training to evaluation, and parts of the score in its record."""

import json
from pathlib import Path

import pytest

from finetune.evaluation.chat.session import Session
from finetune.methods import pairs
from finetune.models.encoder import ChatEncoder
from scripts import run

FUNCTION = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": FUNCTION}]


def call(city: str) -> dict[str, object]:
    made = {"function": {"name": "get_weather", "arguments": json.dumps({"city": city})}}
    return {"role": "assistant", "content": None, "tool_calls": [made]}


def asked(city: str) -> list[dict[str, object]]:
    return [{"role": "user", "content": f"Weather in {city}?"}, call(city)]


@pytest.mark.scripts
def test_from_rows_to_the_verdict(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"tools": TOOLS, "messages": asked(f"Town {at}")} for at in range(20)]
    greeting = [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello, what can I do for you?"},
    ]
    rows += [{"tools": TOOLS, "messages": greeting}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = run(tmp_path, "dataset.py", "--type", "chat", "--dataset-name", "rows.jsonl", "--test-fraction", 0.4,
               "--valid-fraction", 0, "--model", tiny_model)  # fmt: skip
    note = "the chat template does not show tools, calls and results of calls: written as Hermes models do"
    assert note in said.stdout
    trained = run(tmp_path, "train.py", "--model", tiny_model, "--iters", 1, "--batch-size", 1)
    assert f"Note: {note}" in trained.stderr
    template = json.loads((tmp_path / "checkpoints" / "run.json").read_text())["template"]
    assert template.startswith("{%- set ft = namespace(") and "<tool_response>" in template
    run(tmp_path, "test_finetuned.py", "--max-tokens", 4, "--no-general")
    record = json.loads((tmp_path / "results" / "evaluation.json").read_text())
    assert record["n"] == record["scored"] == 8
    called = next(row for row in record["rows"] if row["reference"].startswith("calls "))
    town = called["question"].removeprefix("Weather in ").removesuffix("?")
    assert called["reference"] == f'calls get_weather(city="{town}")'
    assert called["tuned"]["parts"] == {"valid call": 0.0, "right function": 0.0, "right arguments": 0.0}
    assert called["tuned"]["kind"] == "no_call" and "right arguments" in record["differences"]


def test_pairs_of_calls_are_learned_as_calls(builtin_model: Path) -> None:
    encoder = ChatEncoder(builtin_model)
    good = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
    worse = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    turn = {"role": "assistant", "content": "", "tool_calls": [good]}
    row = {"messages": [{"role": "user", "content": "Oslo?"}, turn], "tools": TOOLS, "rejected": worse}
    (made,) = pairs.encode(encoder, [row])
    assert not isinstance(made, ValueError)
    learned = [
        encoder.decode_all([t for t, is_learned in zip(one.tokens, one.loss_mask, strict=True) if is_learned])
        for one in made
    ]
    assert learned[1] == worse + "<|im_end|>" and learned[0] == learned[1].replace("Rome", "Oslo")


def test_a_worse_answer_that_only_looks_like_a_call_is_learned_as_the_text_it_is(builtin_model: Path) -> None:
    encoder = ChatEncoder(builtin_model)
    good = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
    turn = {"role": "assistant", "content": "", "tool_calls": [good]}
    for worse in (
        '{"name": "get_weather", "arguments": {"city": "Oslo"}}',
        'So:\n```json\n{"name": "get_weather", "arguments": {}}\n```',
        '[get_weather(city="Oslo")]',
    ):
        row = {"messages": [{"role": "user", "content": "Oslo?"}, turn], "tools": TOOLS, "rejected": worse}
        (made,) = pairs.encode(encoder, [row])
        assert not isinstance(made, ValueError)
        learned = [token for token, is_learned in zip(made[1].tokens, made[1].loss_mask, strict=True) if is_learned]
        assert encoder.decode_all(learned) == worse + "<|im_end|>"


def test_a_result_that_two_models_get_is_told_as_the_result_of_both_functions() -> None:
    session = Session(["base", "tuned"], None)  # type: ignore[arg-type]  # no tables are asked for
    session.tools = [*TOOLS, {"type": "function", "function": {"name": "get_news"}}]
    for name, function in (("base", "get_news"), ("tuned", "get_weather")):
        session.keep(name, {"role": "user", "content": "Oslo?"}, json.dumps({"name": function, "arguments": {}}))
    assert session.command("/result sun") == ["(taken as the result of get_news for base and get_weather for tuned)"]
    assert session.waiting == ["base", "tuned"]
