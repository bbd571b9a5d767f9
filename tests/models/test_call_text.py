"""Calls of tools in the text of an answer, in the forms of many families of models."""

import json
from typing import Any

import pytest

from finetune.models.call_text import Call, message_of, read_calls, shown

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("weather", "news")]
OSLO, NEWS = Call("weather", {"city": "Oslo", "days": 2}), Call("news", {"city": "42"})
GIVEN, CITY = json.dumps(OSLO.arguments), json.dumps(NEWS.arguments)


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        (f'<tool_call>\n{{"name": "weather", "arguments": {GIVEN}}}\n</tool_call>', [OSLO]),
        (f'<tool_call>{{"name": "weather", "arguments": {GIVEN}}}', [OSLO]),  # not closed
        (f'<tool_call>{{"name": "weather", "arguments": {json.dumps(GIVEN)}}}</tool_call>', [OSLO]),  # as text
        (
            f'Well. <tool_call>{{"name": "weather", "arguments": {GIVEN}}}</tool_call>\n<tool_call>{{"name": "news",'
            f' "arguments": {CITY}}}</tool_call>',
            [OSLO, NEWS],
        ),
        (f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{GIVEN}\n```<｜tool▁call▁end｜>", [OSLO]),
        (f"<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{GIVEN}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", [OSLO]),
        ('<|tool_call>call:weather{city:<|"|>Oslo<|"|>,days:2}<tool_call|>', [OSLO]),
        (f'[TOOL_CALLS] [{{"name": "weather", "arguments": {GIVEN}, "id": "abcdefghi"}}]', [OSLO]),
        (f"[TOOL_CALLS]weather[ARGS]{GIVEN}[TOOL_CALLS]news[ARGS]{CITY}", [OSLO, NEWS]),
        (f"[TOOL_CALLS]weather[CALL_ID]abcdefghi[ARGS]{GIVEN}", [OSLO]),
        (f'{{"name": "weather", "parameters": {GIVEN}}}', [OSLO]),
        (f'{{"name": "weather", "parameters": {GIVEN}}}; {{"name": "news", "parameters": {CITY}}}', [OSLO, NEWS]),
        (f'<|python_tag|>{{"name": "weather", "parameters": {GIVEN}}}', [OSLO]),
        (f"<function=weather>{GIVEN}</function>", [OSLO]),
        (
            "<tool_call>\n<function=news>\n<parameter=city>\n42\n</parameter>\n</function>\n</tool_call>",
            [NEWS],  # text, as the schema says
        ),
        ("<function=weather><parameter=city>Oslo</parameter><parameter=days>2</parameter></function>", [OSLO]),
        (
            "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>days</arg_key>\n"
            "<arg_value>2</arg_value>\n</tool_call>",
            [OSLO],
        ),
        ('[weather(city="Oslo", days=2), news(city="42")]', [OSLO, NEWS]),
        ("<|tool_call_start|>[weather(city='Oslo', days=2)]<|tool_call_end|>", [OSLO]),
        ('<|tool_call_start|>\n```python\nweather(city="Oslo", days=2)\n```\n<|tool_call_end|>', [OSLO]),
        (f"<|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{GIVEN}<|tool_call_end|>", [OSLO]),
        (f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{GIVEN}<|call|>", [OSLO]),
        (f" to=functions.weather<|channel|>commentary json<|message|>{GIVEN}", [OSLO]),
        (f'Action: ```json\n[{{"tool_name": "weather", "parameters": {GIVEN}}}]\n```', [OSLO]),
        (
            f'<|START_ACTION|>[{{"tool_call_id": "0", "tool_name": "weather", "parameters": {GIVEN}}}]<|END_ACTION|>',
            [OSLO],
        ),
        (f'Sure:\n```\n{{"name": "weather", "arguments": {GIVEN}}}\n```', [OSLO]),
        (f'I do it.\n{{"type": "function", "function": {{"name": "weather", "arguments": {GIVEN}}}}}', [OSLO]),
        ('<tool_call>{"name": "weather", "arguments": {}}</tool_call>', [Call("weather", {})]),
        ("It is mild, 21 degrees.", []),
        ('{"degrees": 21}', []),
        ('```json\n{"name": "Ann", "age": 3}\n```', []),
        ("[1, 2, 3]", []),
        ("[weather] in Oslo (see news)", []),
        ("", []),
    ],
)
def test_calls_are_found(answer: str, calls: list[Call]) -> None:
    found = read_calls(answer, TOOLS)
    assert (list(found.calls), found.problem) == (calls, "")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ('<tool_call>{"name": "weather", "arguments": {"city": "Oslo"</tool_call>', "not valid JSON: Expecting"),
        ("<tool_call>weather in Oslo</tool_call>", "'weather in Oslo' is not a call"),
        ('<tool_call>{"name": "weather"}</tool_call>', "without a name or without arguments"),
        ('<tool_call>{"name": "weather", "arguments": [1]}</tool_call>', "arguments of weather are not an object"),
        ('{"name": "weather", "parameters": {"city": Oslo}}', "not valid JSON"),
        ("[TOOL_CALLS]weather[ARGS]{", "not valid JSON"),
        ("<tool_call></tool_call>", "is not a call"),
        ("<tool_call>" + "[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_call_says_why(answer: str, problem: str) -> None:
    found = read_calls(answer, TOOLS)
    assert problem in found.problem and not found.calls


def test_an_answer_becomes_a_message_and_back() -> None:
    message = message_of(f'I look.\n<tool_call>{{"name": "weather", "arguments": {GIVEN}}}</tool_call>')
    assert shown(message) == 'I look.\ncalls weather(city="Oslo", days=2)'
    broken: Any = message_of("<tool_call>no</tool_call>")
    assert broken == {"role": "assistant", "content": "<tool_call>no</tool_call>"}


def test_a_long_answer_without_calls_is_read_in_no_time() -> None:
    for answer in ("{\n" * 20_000, "[" * 20_000, "<tool_call" * 20_000, '{"name": "weather"\n' * 5_000):
        assert not read_calls(answer, TOOLS).calls
