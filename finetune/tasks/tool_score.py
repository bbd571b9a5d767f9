"""The score of an answer to a row with tools: whether it calls the right functions with the right arguments, or none.

The order of calls and of arguments does not matter, nor whether a number is written as 3 or 3.0. An argument that is left out
counts as its default, if the schema gives one; null leaves out what cannot be null.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetune.models.call_text import Call, calls_of, read_calls
from finetune.models.conversation import Tool
from finetune.records.files import Row
from finetune.tasks.base import Score
from finetune.tasks.tool_links import can_be_null

CALLS = "the right calls"  # what is right in rows with tools
VALID, FUNCTION, ARGUMENTS, NONE = "valid call", "right function", "right arguments", "no unwanted call"
PARTIAL = {"wrong_function": 0.1, "missing_call": 0.3, "extra_call": 0.3, "wrong_arguments": 0.3}  # kind -> reward
KIND_WORDS = {
    "unwanted_call": "a call where none is wanted",
    "invalid_call": "a call that cannot be read",
    "no_call": "no call",
    "wrong_function": "a call of another function",
    "missing_call": "a call is missing",
    "extra_call": "a call more than wanted",
    "wrong_arguments": "the right function with other arguments",
}


def score(row: Row, answer: str) -> Score | None:
    """The score of the calls in an answer; None if none is wanted and none is made, so that the text is what counts."""
    tools = row.get("tools") or ()
    reference = row["messages"][-1]
    wanted = calls_of(reference) or read_calls(reference["content"], tools).calls  # some rows have them in the text
    found = read_calls(answer, tools)
    if not wanted:
        made = ", ".join(map(str, found.calls)) or found.problem
        return Score(0.0, "unwanted_call", f"no call is wanted, but: {made}", {NONE: 0.0}) if made else None
    expected = f"expected: {', '.join(map(str, wanted))}"
    if found.problem or not found.calls:
        kind, reason = ("invalid_call", f"{found.problem}; {expected}") if found.problem else ("no_call", expected)
        return Score(0.0, kind, reason, {VALID: 0.0, FUNCTION: 0.0, ARGUMENTS: 0.0})
    kind, reasons = _compared(wanted, found.calls, tools)
    parts = {VALID: 1.0, FUNCTION: float(kind in ("ok", "wrong_arguments")), ARGUMENTS: float(kind == "ok")}
    return Score(parts[ARGUMENTS], kind, "; ".join(reasons), parts)


def _compared(wanted: Sequence[Call], found: Sequence[Call], tools: Sequence[Tool]) -> tuple[str, list[str]]:
    """The kind of the calls, and what is wrong with them."""
    names, made = Counter(call.name for call in wanted), Counter(call.name for call in found)
    missing, extra = list((names - made).elements()), list((made - names).elements())
    if missing and extra:
        return "wrong_function", [f"calls {', '.join(extra)}, not {', '.join(missing)}"]
    if missing or extra:
        return ("missing_call", [f"no call of {name}" for name in missing]) if missing else (
            "extra_call", [f"a call of {name} more than wanted" for name in extra]
        )  # fmt: skip
    left = list(found)
    wrong: list[str] = []
    for call in wanted:
        same = [other for other in left if other.name == call.name]
        problems = {id(other): list(_wrong(call, other, _parameters(call.name, tools))) for other in same}
        closest = min(same, key=lambda other: len(problems[id(other)]))
        left = [other for other in left if other is not closest]
        wrong += problems[id(closest)]
    return ("wrong_arguments", wrong) if wrong else ("ok", [])


def _parameters(name: str, tools: Sequence[Tool]) -> Mapping[str, Any]:
    """The schema of the arguments of a function; empty if there is none."""
    for tool in tools:
        function = tool.get("function", tool)
        parameters = function.get("parameters")
        if function.get("name") == name and isinstance(parameters, Mapping):
            return parameters if isinstance(parameters.get("properties"), Mapping) else {}
    return {}


def _wrong(wanted: Call, found: Call, parameters: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the arguments of a call."""
    properties = parameters.get("properties") or {}
    defaults = {
        n: schema["default"] for n, schema in properties.items() if isinstance(schema, Mapping) and "default" in schema
    }
    expected, given = ({**defaults, **_without_nulls(one, parameters)} for one in (wanted, found))
    for name in dict.fromkeys([*expected, *given]):
        if name not in given:
            yield f"{name} is missing: {_shown(expected[name])}"
        elif name not in expected:
            yield f"{name} is not wanted: {_shown(given[name])}"
        elif not _equal(expected[name], given[name]):
            yield f"{name} is {_shown(given[name])}, not {_shown(expected[name])}"


def _without_nulls(call: Call, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    known = parameters.get("properties") or {}
    return {
        name: value
        for name, value in call.arguments.items()
        if value is not None or name not in known or can_be_null(name, parameters)
    }


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return unicodedata.normalize("NFC", a).strip() == unicodedata.normalize("NFC", b).strip()
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)
