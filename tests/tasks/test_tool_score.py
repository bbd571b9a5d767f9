"""Answers to rows with tools: each thing that is wrong with a call is named, and parts of it count by themselves."""

import json
from typing import Any

import pytest

from finetune.methods.pairs import REJECTED
from finetune.models.call_text import Call, in_hermes_form, message_of, spoken
from finetune.tasks import ROW_KINDS
from finetune.tasks.chat import CHAT, score
from finetune.tasks.tool_score import ARGUMENTS, FUNCTION, NONE, VALID

PROPERTIES = {
    "city": {"type": "string"},
    "days": {"type": "integer", "default": 3},
    "hourly": {"type": "boolean"},
    "area": {"type": "object"},
    "note": {"type": ["string", "null"]},
}
SCHEMA = {"type": "object", "properties": PROPERTIES}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("w", "n")]
WRONG = "wrong_arguments"


def row(*calls: Call, text: str = "") -> dict[str, Any]:
    answer = message_of("\n".join([text, *map(in_hermes_form, calls)]).strip())
    return {"messages": [{"role": "user", "content": "Oslo?"}, answer], "tools": TOOLS}


W = {"city": "Oslo", "hourly": True}


@pytest.mark.parametrize(
    ("wanted", "answer", "kind", "reason"),
    [
        ([Call("w", W)], [Call("w", {"hourly": True, "city": "Oslo"})], "ok", ""),
        ([Call("w", W)], [Call("w", {**W, "days": 3.0})], "ok", ""),  # its default
        ([Call("w", {**W, "days": 2})], [Call("w", {**W, "days": 2.0})], "ok", ""),
        ([Call("w", {"city": "Zu\u0308rich"})], [Call("w", {"city": " Z\u00fcrich"})], "ok", ""),
        ([Call("w", W), Call("n", {})], [Call("n", {}), Call("w", W)], "ok", ""),
        ([Call("w", {"city": "a"}), Call("w", {"city": "b"})], [Call("w", {"city": "b"}), Call("w", {"city": "a"})], "ok", ""),
        ([Call("w", W)], [Call("w", {"city": "", "hourly": 1})], WRONG, 'city is "", not "Oslo"; hourly is 1, not true'),
        ([Call("w", W)], [Call("w", {"city": "Oslo", "area": {}})], WRONG, "hourly is missing: true; area is not wanted: {}"),
        ([Call("w", {"area": {"x": [1]}})], [Call("w", {"area": {"x": [2]}})], WRONG, 'area is {"x": [2]}, not {"x": [1]}'),
        ([Call("w", {**W, "days": 2})], [Call("w", W)], WRONG, "days is 3, not 2"),
        ([Call("w", W)], [Call("w", {**W, "area": None})], "ok", ""),  # null says that it is left out
        ([Call("w", W)], [Call("w", {**W, "zip": None})], WRONG, "zip is not wanted: null"),
        ([Call("w", {**W, "note": None})], [Call("w", W)], WRONG, "note is missing: null"),
        ([Call("w", W)], [Call("n", W)], "wrong_function", "calls n, not w"),
        ([Call("w", W), Call("n", {})], [Call("w", W)], "missing_call", "no call of n"),
        ([Call("w", W)], [Call("w", W), Call("w", W)], "extra_call", "a call of w more than wanted"),
        ([Call("w", W)], "It is 3 degrees.", "no_call", 'expected: w(city="Oslo", hourly=true)'),
        ([Call("w", W)], '<tool_call>{"name": "w", "argu', "invalid_call", "not valid JSON: Unterminated string"),
        ([], [Call("w", W)], "unwanted_call", 'no call is wanted, but: w(city="Oslo", hourly=true)'),
        ([], "<tool_call>{", "unwanted_call", "no call is wanted, but: not valid JSON"),
        ([], "Mild.", "ok", "no call is wanted, and none is made"),
    ],
)  # fmt: skip
def test_calls_are_scored(wanted: list[Call], answer: str | list[Call], kind: str, reason: str) -> None:
    text = answer if isinstance(answer, str) else "\n".join(map(in_hermes_form, answer))
    found = score(row(*wanted, text="" if wanted else "It is mild today."), text)
    assert (found.kind, found.value) == (kind, float(kind == "ok")) and found.reason.startswith(reason)
    if wanted:
        valid, right = kind not in ("no_call", "invalid_call"), kind in ("ok", "wrong_arguments")
        assert found.parts == {VALID: float(valid), FUNCTION: float(right), ARGUMENTS: float(kind == "ok")}
    else:
        assert found.parts[NONE] == found.value


def test_half_of_a_character_is_no_call() -> None:
    """A model that is cut off within an emoji; no file could hold the reason of its score."""
    found = score(row(Call("w", W)), '<tool_call>{"name": "w", "arguments": {"city": "\\ud83d"}}</tool_call>')
    assert found.kind == "invalid_call" and found.reason.encode()


def test_digits_for_an_argument_that_can_be_null_are_text() -> None:
    written = "<tool_call>\n<function=w>\n<parameter=note>\n0123\n</parameter>\n</function>\n</tool_call>"
    assert score(row(Call("w", {"note": "0123"})), written).kind == "ok"
    assert score(row(Call("w", {"note": None})), written.replace("0123", "null")).kind == "ok"


def test_calls_in_the_text_of_the_reference_are_wanted() -> None:
    text = in_hermes_form(Call("w", W))
    written = {**row(), "messages": [{"role": "user", "content": "Oslo?"}, {"role": "assistant", "content": text}]}
    assert score(written, text).kind == "ok" and score(written, "It is mild today.").kind == "no_call"


@pytest.mark.parametrize("value", ['b"x"', "{1}", "...", "{(1, 2): 3}", "1j"])
def test_a_value_that_json_does_not_have_is_no_call(value: str) -> None:
    answer = f"[w(city={value})]"
    assert score(row(Call("w", W)), answer).kind == "no_call"
    assert score(row(text="It is mild today."), f"<|tool_call_start|>{answer}<|tool_call_end|>").kind == "unwanted_call"


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_a_value_that_no_file_can_hold_is_an_invalid_call(value: str) -> None:
    found = score(row(Call("w", W)), f'<tool_call>{{"name": "w", "arguments": {{"city": {value}}}}}</tool_call>')
    assert found.kind == "invalid_call" and found.reason.startswith("the arguments of 'w' are not JSON")


def test_a_row_without_tools_is_scored_as_ever() -> None:
    plain = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert score(plain, in_hermes_form(Call("w", W))).kind == "different" and score(plain, "B").kind == "ok"


def test_a_pair_of_calls_is_kept_whole() -> None:
    """The worse answer stands in the row as text, of which training makes the same message again."""
    better, worse = row(Call("w", W))["messages"], row(Call("n", W), text="I look.")["messages"]
    pair = {"tools": json.dumps(TOOLS), "prompt": better[:1], "chosen": better[1:], "rejected": worse[1:]}
    kind = ROW_KINDS["preference"]
    kept = kind.kept(pair)
    assert kind.to_messages(pair) == better and kept["tools"] == TOOLS and kept[REJECTED] == spoken(worse[1])
    assert message_of(kept[REJECTED], TOOLS) == worse[1] and CHAT.partial["wrong_arguments"] > 0
    with pytest.raises(ValueError, match="chosen and rejected are the same"):
        kind.to_messages({**pair, "rejected": better[1:]})


def test_a_pair_that_would_be_learned_as_another_is_refused_and_the_remedy_works() -> None:
    ask, good = row(Call("w", W))["messages"]
    bad = row(Call("n", W))["messages"][1]
    pair: dict[str, Any] = {"tools": TOOLS, "prompt": [ask], "chosen": [good], "rejected": [bad]}
    kind = ROW_KINDS["preference"]
    with pytest.raises(ValueError, match=r"rejected has a call in its text, .* \(write it as tool_calls\)"):
        kind.to_messages({**pair, "rejected": spoken(bad)})
    plain = {"prompt": [ask], "chosen": "Mild.", "rejected": [bad]}
    with pytest.raises(ValueError, match=r"rejected calls a tool, .* \(add the field tools\)"):
        kind.to_messages(plain)
    for mended in (pair, {**plain, "tools": TOOLS}):
        assert kind.to_messages(mended)[0] == ask and kind.kept(mended)[REJECTED] == spoken(bad)


def test_pairs_differ_in_their_last_turn_though_the_model_has_called_before() -> None:
    _, good = row(Call("w", W))["messages"]
    back = {"role": "tool", "content": "mild"}
    sides = {name: [good, back, {"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    messages = ROW_KINDS["preference"].to_messages({"tools": TOOLS, "prompt": "Oslo?", **sides})
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    with pytest.raises(ValueError, match=r"different prompts \(they may differ in their last turn alone\)"):
        ROW_KINDS["preference"].to_messages({"tools": TOOLS, "prompt": "Oslo?", **sides, "rejected": "No."})
