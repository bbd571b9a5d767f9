"""Tools and their calls in the shapes in which people keep them: one form comes out, or the true reason why not."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.models.conversation import Conversation
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS
from finetune.tasks.chat import CHAT

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]
ASK, DONE = {"role": "user", "content": "Oslo?"}, {"role": "assistant", "content": "Sun."}


def call(city: str = "Oslo", identity: str = "call00000") -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": "weather", "arguments": {"city": city}}}


def calling(*calls: dict[str, Any], content: str | None = "") -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls or (call(),))}


def result(content: str = "sun", identity: str = "call00000") -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": identity, "name": "weather"}


WANTED = [ASK, calling(), result(), DONE]
TEXT = json.dumps({"city": "Oslo"})
SHARED = [
    {"from": "human", "value": "Oslo?"},
    {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": {"city": "Oslo"}})},
    {"from": "observation", "value": "sun"},
    {"from": "gpt", "value": "Sun."},
]
USE = {"type": "tool_use", "id": "call00000", "name": "weather", "input": {"city": "Oslo"}}
OPENAI = {"function": {"name": "weather", "arguments": TEXT}, "type": "function"}


def of(row: dict[str, Any]) -> tuple[list[Any], Any]:
    return CHAT.to_messages(row), CHAT.kept(row).get("tools")


@pytest.mark.parametrize(
    "row",
    [
        {"tools": TOOLS, "messages": WANTED},
        {"tools": TOOLS, "messages": [ASK, calling(content=None), {"role": "tool", "content": "sun"}, DONE]},
        {"tools": TOOLS, "messages": [ASK, {"role": "assistant", "tool_calls": [OPENAI]}, result(), DONE]},
        {"tools": json.dumps(TOOLS), "messages": json.dumps(WANTED)},  # of a CSV file
        {"tools": str(TOOLS), "messages": str(WANTED)},  # of pandas
        {"tools": [FUNCTION], "messages": WANTED},
        {
            "functions": [FUNCTION],
            "messages": [
                ASK,
                {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": TEXT}},
                {"role": "function", "name": "weather", "content": "sun"},
                DONE,
            ],
        },
        {"tools": json.dumps([FUNCTION]), "conversations": SHARED},
        {
            "tools": [{"name": "weather", "description": "Tells it.", "input_schema": SCHEMA}],
            "messages": [
                ASK,
                {"role": "assistant", "content": [USE]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call00000", "content": "sun"}]},
                DONE,
            ],
        },
        {"tools": TOOLS, "prompt": [ASK], "completion": WANTED[1:]},
        {
            "tools": [{"type": "function", **FUNCTION}],
            "messages": [
                ASK,
                {"type": "function_call", "id": "fc_1", "call_id": "call00000", "name": "weather", "arguments": TEXT},
                {"type": "function_call_output", "call_id": "call00000", "output": "sun"},
                DONE,
            ],
        },
        {
            "tools": TOOLS,
            "messages": [
                ASK,
                {"role": "gpt", "tool_calls": str([{"function": "weather", "arguments": {"city": "Oslo"}}])},
                {"role": "ipython", "content": "sun", "tool_call_id": 7},
                DONE,
            ],
        },
        {
            "tools": TOOLS,
            "messages": [
                ASK,
                {"role": "assistant", "content": [], "tool_calls": [{"name": "weather", "args": {"city": "Oslo"}}]},
                {"role": "TOOL", "content": "sun"},
                DONE,
            ],
        },
        {
            "tools": TOOLS,
            "prompt": [ASK],
            "completion": json.dumps([{"role": "assistant", "tool_calls": [OPENAI]}, *WANTED[2:]]),
        },
        {  # Arrow fills in what other tools and calls have
            "tools": [{**TOOLS[0], "function": {**FUNCTION, "strict": None, "parameters": {**SCHEMA, "items": None}}}],
            "messages": [
                {**ASK, "tool_calls": None, "tool_call_id": None},
                calling({**call(), "function": {"name": "weather", "arguments": {"city": "Oslo", "symbol": None}}}),
                {**result(), "tool_calls": None},
                {**DONE, "tool_calls": []},
            ],
        },
    ],
)
def test_one_form_comes_out_of_every_shape(row: dict[str, Any]) -> None:
    messages, tools = of(row)
    assert messages == WANTED and tools == TOOLS
    assert list(CHAT.unused(row) if CHAT.unused else ()) == []


def test_a_query_with_its_answers() -> None:
    tools = [
        {
            "name": "weather",
            "description": "Tells it.",
            "parameters": {"city": {"type": "str", "description": "Of what."}},
        }
    ]
    tools += [{"name": "add", "parameters": {"a": {"type": "int"}, "b": {"type": "List[int], optional", "default": 3}}}]
    answers = [{"name": "weather", "arguments": {"city": "Oslo"}}, {"name": "add", "arguments": {"a": 1}}]
    row = {"id": 3, "query": "Oslo?", "tools": json.dumps(tools), "answers": json.dumps(answers)}
    messages, found = of(row)
    assert [one["function"]["name"] for one in messages[1]["tool_calls"]] == ["weather", "add"]
    assert [one["id"] for one in messages[1]["tool_calls"]] == ["call00000", "call00001"]
    assert found[0]["function"]["parameters"] == {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Of what."}},
        "required": ["city"],
    }
    assert found[1]["function"]["parameters"]["properties"]["b"] == {"type": "array", "default": 3}
    assert found[1]["function"]["parameters"]["required"] == ["a"]
    assert list(CHAT.unused(row) if CHAT.unused else ()) == ["id"] and set(CHAT.kept(row)) == {"id", "tools"}


def test_text_beside_calls_and_results_is_kept() -> None:
    parts = [{"type": "text", "text": "I look."}, USE]
    back = [{"type": "tool_result", "tool_use_id": "call00000", "content": [{"type": "text", "text": "sun"}]}]
    back += [{"type": "text", "text": "And?"}]
    row = {"messages": [ASK, {"role": "assistant", "content": parts}, {"role": "user", "content": back}, DONE]}
    and_, said = {"role": "user", "content": "And?"}, calling(content="I look.")
    assert of(row)[0] == [ASK, said, result(), and_, DONE]
    returned = {"role": "tool", "content": {"degrees": 21}}
    assert of({"messages": [ASK, calling(), returned, DONE]})[0][2]["content"] == '{"degrees": 21}'


def test_null_leaves_out_an_argument_that_cannot_be_null() -> None:
    """Arrow and pandas give every call the arguments of all others, with null."""
    properties = {
        "city": {"type": "string"},
        "unit": {"type": "string"},
        "note": {"type": ["string", "null"]},
        "any": {},
    }
    schema = {"type": "object", "properties": properties, "required": ["city"]}
    arguments = dict.fromkeys([*properties, "of_another"])
    messages, _ = of(
        {
            "tools": [{"name": "weather", "parameters": schema}],
            "messages": [ASK, calling({"function": {"name": "weather", "arguments": arguments}})],
        }
    )
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == {"city": None, "note": None, "any": None}


def test_results_find_their_calls() -> None:
    two = calling(call("Oslo", "a"), call("Rome", "b"))
    other = {"id": "", "function": {"name": "news", "arguments": {}}}
    by_id, by_order = (
        [result("rain", "b"), result("sun", "a")],
        [{"role": "tool", "content": w} for w in ("sun", "rain")],
    )
    assert [m["tool_call_id"] for m in of({"messages": [ASK, two, *by_id, DONE]})[0][2:4]] == ["b", "a"]
    assert [m["tool_call_id"] for m in of({"messages": [ASK, two, *by_order, DONE]})[0][2:4]] == ["a", "b"]
    named = {"role": "tool", "name": "news", "content": "war"}
    found = of({"messages": [ASK, calling({**call(), "id": ""}, other), named, result("sun"), DONE]})[0]
    assert [(m["name"], m["tool_call_id"]) for m in found[2:4]] == [("news", "call00001"), ("weather", "call00000")]


REFUSED: list[tuple[dict[str, Any], str, dict[str, Any]]] = [  # a row, why it is refused, the same row mended
    (
        {"messages": [ASK, calling({"function": {"name": "weather", "arguments": "{'city': Oslo}"}})]},
        "the arguments of the call of weather is not valid JSON: \"{'city': Oslo}\": Expecting property name",
        {"messages": [ASK, calling({"function": {"name": "weather", "arguments": TEXT}})]},
    ),
    (
        {"messages": [ASK, calling({"function": {"name": "weather", "arguments": '{"days": NaN}'}})]},
        """the arguments of the call of weather is not valid JSON: '{"days": NaN}': NaN is no number in JSON""",
        {"messages": [ASK, calling({"function": {"name": "weather", "arguments": '{"days": null}'}})]},
    ),
    (
        {"messages": [ASK, calling({"function": {"name": "weather", "arguments": '{"days": 1, "days": 2}'}})]},
        """the arguments of the call of weather is not valid JSON: '{"days": 1, "days": 2}': it has a name twice""",
        {"messages": [ASK, calling({"function": {"name": "weather", "arguments": '{"days": 2}'}})]},
    ),
    (
        {"messages": [ASK, calling({"function": {"name": "weather", "arguments": ["Oslo"]}})]},
        "the arguments of the call of weather are a list, not an object",
        {"messages": [ASK, calling()]},
    ),
    (
        {"tools": TOOLS, "messages": [ASK, calling({"function": {"name": "news", "arguments": {}}})]},
        "a call of news, which is not among the tools",
        {
            "tools": [*TOOLS, {"name": "news"}],
            "messages": [ASK, calling({"function": {"name": "news", "arguments": {}}})],
        },
    ),
    (
        {"messages": [ASK, result(), DONE]},
        "a result of a tool without a call before it",
        {"messages": [ASK, calling(), result(), DONE]},
    ),
    (
        {"messages": [ASK, calling(), result(identity="other"), DONE]},
        "a result of a tool answers the call 'other', which is not open",
        {"messages": [ASK, calling(call(identity="other")), result(identity="other"), DONE]},
    ),
    (
        {"messages": [ASK, calling(), result(), result(), DONE]},
        "a result of a tool without a call before it",
        {"messages": [ASK, calling(), result(), DONE]},
    ),
    (
        {"messages": [ASK, calling({**call(), "id": ""}), {"role": "tool", "name": "news", "content": "x"}, DONE]},
        "a result of the tool news, which was not called",
        {"messages": [ASK, calling({**call(), "id": ""}), {"role": "tool", "name": "weather", "content": "x"}, DONE]},
    ),
    (
        {"messages": [ASK, calling({"name": "weather", "kwargs": {"city": "Oslo"}})]},
        "a call of weather has no arguments, but kwargs",
        {"messages": [ASK, calling({"name": "weather", "arguments": {"city": "Oslo"}})]},
    ),
    (
        {"messages": [ASK, calling(), {**result(), "content": [{"type": "image_url"}]}, DONE]},
        "the result of a tool has a part that is not text (image_url), and only text can be learned",
        {"messages": [ASK, calling(), {**result(), "content": [{"type": "flight"}]}, DONE]},
    ),
    (
        {"messages": [ASK, calling(content=[{"type": "image_url"}])]},
        "a message has a part that is not text (image_url), and only text can be learned",
        {"messages": [ASK, calling(content=[{"type": "text", "text": "I look."}])]},
    ),
    (
        {"tools": TOOLS, "functions": [{"name": "news"}], "messages": WANTED},
        "the fields tools and functions have different values (keep one of them)",
        {"tools": TOOLS, "messages": WANTED},
    ),
    (
        {"messages": [ASK, calling({"name": "weather", "arguments": '{"city": "\\ud83d"}'})]},
        'the arguments of the call of weather is not valid JSON: \'{"city": "\\\\ud83d"}\': half of a surrogate pair',
        {"messages": [ASK, calling({"name": "weather", "arguments": '{"city": "\\ud83d\\ude00"}'})]},
    ),
    (
        {"messages": [ASK, calling({"name": "weather", "arguments": '{"days": 1e999}'})]},
        "the arguments of the call of weather is not valid JSON: '{\"days\": 1e999}': Out of range float values",
        {"messages": [ASK, calling({"name": "weather", "arguments": '{"days": 1e9}'})]},
    ),
    (
        {"query": "Oslo?", "tools": TOOLS, "answers": "[{'name': 'weather', 'arguments': {'city': b'Oslo'}}]"},
        "answers is not valid JSON: \"[{'name': 'weather', 'arguments': {'c...\": Object of type bytes",
        {"query": "Oslo?", "tools": TOOLS, "answers": "[{'name': 'weather', 'arguments': {'city': 'Oslo'}}]"},
    ),
    (
        {"tools": '[{"name": "weather", "name": "news"}]', "messages": WANTED[:1] + WANTED[3:]},
        'the field tools is not valid JSON: \'[{"name": "weather", "name": "news"}]\': it has a name twice',
        {"tools": '[{"name": "news"}]', "messages": WANTED[:1] + WANTED[3:]},
    ),
    (
        {"messages": [ASK, calling(), DONE]},
        "a text of the assistant follows its call (remove one of them, or add the result between)",
        {"messages": WANTED},
    ),
    (
        {"tools": {"weather": FUNCTION}, "messages": WANTED},
        "the field tools is an object, not a list of tools",
        {"tools": [FUNCTION], "messages": WANTED},
    ),
    ({"tools": ["weather"], "messages": WANTED}, "a tool is text, not an object", {"tools": TOOLS, "messages": WANTED}),
    (
        {"tools": "weather, news", "messages": WANTED},
        "the field tools is not valid JSON: 'weather, news'",
        {"tools": json.dumps(TOOLS), "messages": WANTED},
    ),
    (
        {"tools": [{"type": "web_search"}], "messages": WANTED},
        "a tool has no name (its type is web_search): only functions can be learned",
        {"tools": TOOLS, "messages": WANTED},
    ),
    (
        {"tools": TOOLS * 2, "messages": WANTED},
        "the field tools has two tools with the name weather",
        {"tools": TOOLS, "messages": WANTED},
    ),
    (
        {"tools": "[" * 5000 + "]" * 5000, "messages": WANTED},
        "the field tools is nested too deeply",
        {"tools": TOOLS, "messages": WANTED},
    ),
    (
        {"messages": [{**ASK, "tool_calls": [call()]}, DONE]},
        "a message of the user calls a tool (only the assistant can)",
        {"messages": [ASK, DONE]},
    ),
    (
        {"query": "Oslo?", "tools": TOOLS, "answers": "[]"},
        "a list of calls is empty",
        {"query": "Oslo?", "tools": TOOLS, "answers": json.dumps([{"name": "weather", "arguments": {}}])},
    ),
    (
        {"messages": [ASK, {"role": "assistant", "content": [{"type": "tool_result"}, USE]}]},
        "tool_use in a message that is not the assistant's",
        {"messages": [ASK, {"role": "assistant", "content": [USE]}]},
    ),
]


@pytest.mark.parametrize(("row", "why", "mended"), REFUSED, ids=[why for _, why, _ in REFUSED])
def test_what_cannot_be_learned_says_why_and_is_learned_once_mended(
    row: dict[str, Any], why: str, mended: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        prepared(tmp_path, row)
    assert f"rows.jsonl:1: {why}" in str(refused.value) and "\n" not in str(refused.value)
    assert len(prepared(tmp_path, mended).splits["train"]) == 1


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {"properties": inner}
    return inner


def test_a_schema_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a tool is nested more than 64 levels deep"):
        prepared(tmp_path, {"tools": [{"name": "weather", "parameters": nested(70)}], "messages": WANTED})
    prepared(tmp_path, {"tools": [{"name": "weather", "parameters": nested(20)}], "messages": WANTED})


def prepared(folder: Path, *rows: dict[str, Any], **settings: Any) -> Dataset:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"type_": "chat", "dataset_name": str(path), "valid_fraction": 0, "test_fraction": 0, **settings}
    return prepare(DatasetConfig(**settings), ROW_KINDS[settings["type_"]], print)


def test_what_is_dropped_or_repaired_is_counted(tmp_path: Path) -> None:
    two = calling(call("Oslo", "a"), call("Rome", "b"))
    rows = [
        {"tools": TOOLS, "tool_choice": "auto", "messages": [ASK, two, result("rain", "b"), result("sun", "a"), DONE]},
        {"tools": TOOLS, "messages": [ASK, calling(), result()]},
        {"messages": [ASK, {"role": "assistant", "content": "<tool_call>{}</tool_call>"}]},
        {"tools": TOOLS, "messages": [ASK, calling(content="I look."), calling(call("Rome", "b")), result(), DONE]},
    ]
    dataset = prepared(tmp_path, *rows)
    record = dataset.record(DatasetConfig())
    assert record.unused == {"tool_choice": 1}
    assert record.mended == {
        "results of tools put in the order of their calls": 1,
        "results of tools after the last answer removed": 1,
        "consecutive turns of the same role joined": 1,
    }
    assert dataset.notes == [
        "calls of tools before the last turn: learned; but later the last turn alone is judged (end rows at their call)"
        " (2 rows)",
        "calls of tools in texts, learned as text (as tool_calls, the model's template writes them) (1 row)",
    ]
    learned = {json.dumps(row["messages"][1:3]) for row in dataset.splits["train"]}
    assert json.dumps([two, result("sun", "a")]) in learned
    assert json.dumps([calling(call(), call("Rome", "b"), content="I look."), result()]) in learned


def test_rows_that_differ_in_calls_or_tools_alone_are_not_duplicates(tmp_path: Path) -> None:
    rows = [
        {"tools": TOOLS, "messages": [ASK, calling(call("Oslo"))]},
        {"tools": TOOLS, "messages": [ASK, calling(call("Rome"))]},
        {"tools": [{"name": "weather"}], "messages": [ASK, calling(call("Oslo"))]},
        {"tools": TOOLS, "messages": [ASK, calling(call("Oslo", "another_id"))]},  # the only duplicate
    ]
    record = prepared(tmp_path, *rows).record(DatasetConfig())
    assert record.kept == 3 and record.dropped == {"duplicate row": 1}


@pytest.mark.parametrize("nothing", ["[]", "null", " ", [], None])
def test_a_row_that_says_that_it_has_no_tools_has_none(tmp_path: Path, nothing: object) -> None:
    (row,) = prepared(tmp_path, {"tools": nothing, "messages": [ASK, DONE]}).splits["train"]
    assert not Conversation.of(row).uses_tools


@pytest.mark.parametrize("tools", [TOOLS, "weather, news", ["hammer"]])
def test_a_field_that_is_not_the_tools_of_the_conversation_is_not_shown_to_the_model(
    tmp_path: Path, tools: object
) -> None:
    alpaca = {"instruction": "Oslo?", "output": "Sun.", "tools": tools}
    for row, settings in (
        ({"tools": tools, "messages": [ASK, DONE]}, {"ignore": "tools"}),
        (alpaca, {"type_": "alpaca"}),
    ):
        dataset = prepared(tmp_path, row, **settings)
        (kept,) = dataset.splits["train"]
        assert kept["source_tools"] == tools and not Conversation.of(kept).uses_tools
        noted = dataset.record(DatasetConfig()).noted
        assert noted == {"the field tools is kept as source_tools, and not shown to the model": 1}


def test_numbers_as_ids_find_their_calls() -> None:
    two = calling({**call("Oslo"), "id": 1}, {**call("Rome"), "id": 2})
    back = [{"role": "tool", "tool_call_id": number, "content": word} for number, word in ((2, "rain"), (1, "sun"))]
    found = of({"messages": [ASK, two, *back, DONE]})[0]
    assert [call["id"] for call in found[1]["tool_calls"]] == ["1", "2"]
    assert [(m["tool_call_id"], m["content"]) for m in found[2:4]] == [("2", "rain"), ("1", "sun")]


def test_what_stands_beside_a_query_is_in_the_conversation(tmp_path: Path) -> None:
    answers = [{"name": "weather", "arguments": {"city": "Oslo"}}]
    row = {"query": "Oslo?", "tools": TOOLS, "answers": answers, "system": "Brief.", "history": [["Hi", "Hello"]]}
    dataset = prepared(tmp_path, row, strict=True)
    roles = [message["role"] for message in dataset.splits["train"][0]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant"]


def test_earlier_turns_can_call_tools(tmp_path: Path) -> None:
    history = [ASK, calling({**call(), "id": ""}), {"role": "tool", "content": "sun"}, DONE]
    for row, kind in (
        ({"instruction": "Sure?", "output": "Yes."}, "alpaca"),
        ({"prompt": "Sure?", "chosen": "Yes.", "rejected": "No."}, "preference"),
    ):
        (made,) = prepared(tmp_path, {**row, "history": history}, type_=kind).splits["train"]
        assert made["messages"][:4] == WANTED


def test_marks_and_other_fields_of_turns_of_tools_are_used_or_told(tmp_path: Path) -> None:
    shared = [SHARED[0], {**SHARED[1], "weight": 1}, *SHARED[2:]]
    dataset = prepared(tmp_path, {"conversations": shared}, learn="marked")
    assert dataset.record(DatasetConfig()).unused == {}
    assert dataset.splits["train"][0]["messages"] == [ASK, calling()]
    item = {"type": "function_call", "call_id": "a", "name": "weather", "arguments": TEXT}
    back = {"type": "function_call_output", "call_id": "a", "output": "sun"}
    messages = [{**ASK, "stamp": 1}, item, back, {**DONE, "weight": 0.5}]
    dataset = prepared(tmp_path, {"messages": messages}, ignore="weight")
    assert dataset.record(DatasetConfig()).unused == {"stamp in messages": 1}


def test_a_question_about_calls_is_no_call_as_text(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, {"prompt": "What does <tool_call> mean?", "completion": "A mark."})
    assert dataset.notes == []


def shared(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"conversations": [{"from": speaker, "value": text} for speaker, text in turns]}


def in_tags(*cities: str) -> str:
    calls = [json.dumps({"name": "weather", "arguments": {"city": city}}) for city in cities]
    return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)


RESULT = "<tool_response>\n{}\n</tool_response>"


def test_calls_in_texts_are_calls_where_results_follow() -> None:
    row = shared(("human", "Oslo?"), ("gpt", in_tags("Oslo")), ("tool", RESULT.format("sun")), ("gpt", "Sun."))
    assert CHAT.to_messages(row) == WANTED
    row = shared(("human", "Oslo?"), ("function_call", in_tags("Oslo")), ("tool", "sun"), ("gpt", "Sun."))
    assert CHAT.to_messages(row) == WANTED
    both = [RESULT.format("sun") + "\n" + RESULT.format("rain")]
    row = shared(
        ("human", "?"), ("gpt", f"Wait.\n{in_tags('Oslo', 'Rome')}"), ("tool", *both), ("gpt", in_tags("Bern"))
    )
    found = CHAT.to_messages(row)
    assert [message.get("content") for message in found] == ["?", "Wait.", "sun", "rain", ""]
    assert [len(message.get("tool_calls", ())) for message in found] == [0, 2, 0, 0, 1]
    assert found[3]["tool_call_id"] == found[1]["tool_calls"][1]["id"] != found[4]["tool_calls"][0]["id"]


def test_calls_in_texts_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    broken = shared(("human", "?"), ("gpt", "<tool_call>\n{oops\n</tool_call>"), ("tool", "sun"), ("gpt", "Sun."))
    with pytest.raises(ValueError, match=r"in the text of an answer cannot be read: not valid JSON"):
        CHAT.to_messages(broken)
    with pytest.raises(ValueError, match="without a call before it"):
        CHAT.to_messages(shared(("human", "?"), ("gpt", "Just words."), ("tool", "sun"), ("gpt", "Sun.")))
    about = shared(("human", "?"), ("gpt", in_tags("Oslo")), ("tool", "sun"), ("gpt", "It was in <tool_call> tags."))
    assert CHAT.to_messages(about)[-1] == {"role": "assistant", "content": "It was in <tool_call> tags."}
    rows = [shared(("human", f"{i}?"), ("gpt", in_tags("Oslo")), ("tool", "sun"), ("gpt", "Sun.")) for i in range(9)]
    notes = prepared(tmp_path, *rows).notes
    assert any("calls of tools in texts, read as calls" in note for note in notes), notes
