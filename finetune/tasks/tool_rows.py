"""Tools and their calls in the shapes in which people keep them, made into OpenAI's fields with arguments as objects.

Read are OpenAI's ``tools`` and ``tool_calls``, the older ``functions`` and ``function_call``, the items of its Responses API,
ShareGPT's turns ``function_call`` and ``observation``, Anthropic's parts ``tool_use`` and ``tool_result``, and rows of a
``query`` with its ``tools`` and ``answers``. Lists and arguments can be JSON text. ValueError says what is wrong with a row.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetune.errors import shortened
from finetune.models.call_text import ARGUMENTS
from finetune.models.conversation import Message, Tool
from finetune.records.files import Row
from finetune.tasks.media import PARTS
from finetune.tasks.values import (
    ITEMS,
    demand_shallow,
    is_empty,
    is_listed,
    is_parts,
    joined,
    json_type,
    listed,
    parsed,
    role_of,
    text_of,
)

FIELDS = ("tools", "functions")  # of a row
_CALLS = ("function_call", "tool_call")  # roles
_RESULTS = ("tool", "function", "observation", "ipython", "tool_response", "tool_result", "function_response")
_USED_OF_ITEMS = ("type", "call_id", "name", "arguments", "output", "id", "status")
_OF_CALLS = ("name", "function", "id", "type", "index", "call_id", "status")  # known beside the arguments
_USED = {"assistant": ("tool_calls", "function_call"), "tool": ("tool_call_id", "name", "tool_name")}
_MARK, _END = "<tool_call>", "</tool_call>"  # as Hermes' rows have them
_AS_TEXT = "calls of tools in texts, learned as text (as tool_calls, the model's template writes them)"
_AS_CALLS = "calls of tools in texts, read as calls, since results follow them (the model's template writes them)"
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}


def tools_of(row: Row) -> list[Tool]:
    """The tools of a row."""
    given = [name for name in FIELDS if not is_empty(row.get(name))]
    if len(given) > 1 and row[given[0]] != row[given[1]]:
        raise ValueError(f"the fields {' and '.join(given)} have different values (keep one of them)")
    if not given:
        return []
    field = given[0]
    tools = parsed(row[field], f"the field {field}", python=True)
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise ValueError(f"the field {field} is {json_type(tools)}, not a list of tools (write [ ] around it)")
    found = [_tool(tool) for tool in tools]
    names = [tool["function"]["name"] for tool in found]
    if twice := next((name for at, name in enumerate(names) if name in names[:at]), None):
        raise ValueError(f"the field {field} has two tools with the name {shortened(twice)} (remove one)")
    return found


def with_tools(kept: Row, row: Row) -> Row:
    """The fields that are kept of a row, its tools among them in the form that the messages need."""
    tools = tools_of(row)
    others = {name: value for name, value in kept.items() if name not in FIELDS or not value}
    return {**others, "tools": tools} if tools else others


def _tool(tool: Any) -> Tool:
    """A tool in OpenAI's form, its parameters as a JSON schema."""
    if not isinstance(tool, Mapping):
        raise ValueError(f"a tool is {json_type(tool)}, not an object with a name and parameters")
    demand_shallow(tool, "a tool")
    function = _function(tool)
    name = function.get("name")
    if not isinstance(name, str) or not name.strip():
        kind = f" (its type is {shortened(str(tool['type']))})" if tool.get("type") not in (None, "function") else ""
        raise ValueError(f"a tool has no name{kind}: only functions can be learned")
    known = ("parameters", "input_schema", "parameter_definitions")
    parameters = next((function[field] for field in known if function.get(field)), None)
    parameters = parsed(parameters or {}, f"the parameters of the tool {shortened(name)}")
    if not isinstance(parameters, Mapping):
        raise ValueError(f"the parameters of the tool {shortened(name)} are {json_type(parameters)}, not an object")
    others = {field: value for field, value in function.items() if field not in known and field != "type"}
    return {"type": "function", "function": _without_nulls({**others, "parameters": _schema(parameters)})}


def _function(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The function of a tool or a call, which some write without OpenAI's object around it."""
    inner = value.get("function")
    return inner if isinstance(inner, Mapping) else value


def _schema(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters as a JSON schema; some rows have its properties alone, with types as Python has them."""
    if not parameters:
        return {"type": "object", "properties": {}}
    if isinstance(parameters.get("properties"), Mapping) or not all(
        isinstance(v, Mapping) for v in parameters.values()
    ):
        return parameters
    properties, required = {}, []
    for name, given in parameters.items():
        words = [word.strip() for word in str(given.get("type", "")).split(",")]
        kind = _TYPES.get(words[0].split("[")[0].lower())
        properties[name] = {k: v for k, v in given.items() if k != "required"} | ({"type": kind} if kind else {})
        if given.get("required", "optional" not in words and "default" not in given):
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _without_nulls(value: Any) -> Any:
    """Arrow and pandas fill what another tool has with null, which says nothing in a schema except in a list."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def turns_of(turn: Mapping[str, Any], role: object, content: Any) -> list[Message]:
    """The messages of a turn that calls tools or holds what they returned; none if it is a turn of another kind."""
    if role is None and turn.get("type") == ITEMS[0]:
        return [_calling("", [{**turn, "id": turn.get("call_id")}])]
    if role is None and turn.get("type") == ITEMS[1]:
        return [_result(turn.get("output"), {"tool_call_id": turn.get("call_id")})]
    if _plain(role) in _RESULTS:
        return [_result(content, turn)]
    if _plain(role) in _CALLS:
        bare = content.strip().removeprefix(_MARK).removesuffix(_END) if isinstance(content, str) else content
        return [_calling("", _listed(parsed(bare, "a function call")))]
    if isinstance(content, list) and any(_part(part) in ("tool_use", "tool_result") for part in content):
        return list(_of_parts(content, role_of(role)))
    calls = turn.get("tool_calls") or turn.get("function_call")
    if not calls:
        return []
    if role_of(role) != "assistant":
        raise ValueError(f"a message of the {shortened(str(role))} calls a tool (only the assistant can)")
    return [_calling(_said(content), _listed(parsed(calls, "tool_calls", python=True)))]


def speaker(turn: Mapping[str, Any]) -> object:
    """The role that the messages of a turn have: assistant if it calls tools, tool if it holds what one returned."""
    name = turn.get("role", turn.get("from"))
    if name is None and turn.get("type") in ITEMS:
        return ("assistant", "tool")[ITEMS.index(turn["type"])]
    return "tool" if _plain(name) in _RESULTS else "assistant" if _plain(name) in _CALLS else role_of(name)


def _plain(role: object) -> object:
    return role.strip().lower() if isinstance(role, str) else role


def _part(part: object) -> object:
    return part.get("type") if isinstance(part, Mapping) else None


def _is_texts(content: object) -> bool:
    return isinstance(content, list) and all(_part(part) == "text" for part in content)


def _texts(parts: Sequence[Any]) -> str:
    return "\n".join(str(part.get("text") or "") for part in parts)


def _of_parts(parts: Sequence[Any], role: object) -> Iterator[Message]:
    """Anthropic's: the assistant's message holds its calls, the user's what they returned."""
    for part in parts:
        if _part(part) not in ("text", "tool_use", "tool_result"):
            raise ValueError(f"a message has a part that is not text ({shortened(str(_part(part)))})")
    words = _texts([part for part in parts if part["type"] == "text"])
    uses = [part for part in parts if part["type"] == "tool_use"]
    if uses:
        if role != "assistant" or any(part["type"] == "tool_result" for part in parts):
            raise ValueError("tool_use in a message that is not the assistant's")
        yield _calling(words, [{"id": p.get("id"), "name": p.get("name"), "arguments": p.get("input")} for p in uses])
        return
    if role != "user":
        raise ValueError("tool_result in a message that is not the user's")
    for part in parts:
        if part["type"] == "tool_result":
            yield _result(part.get("content"), {"tool_call_id": part.get("tool_use_id")})
    if words.strip():
        yield {"role": "user", "content": words}


def _calling(text: str, calls: Sequence[Any]) -> Message:
    if not calls:
        raise ValueError("a list of calls is empty")
    return {"role": "assistant", "content": text, "tool_calls": [_call(call) for call in calls]}


def _call(call: Any) -> dict[str, Any]:
    """A call in OpenAI's form; its id is "" if it has none."""
    call = parsed(call, "a call")
    if not isinstance(call, Mapping):
        raise ValueError(f"a call is {json_type(call)}, not an object with name and arguments")
    function = _function(call)
    name = function.get("name", function.get("function"))
    if not isinstance(name, str) or not name.strip():
        raise ValueError("a call has no name of a function")
    given = next((function[field] for field in ARGUMENTS if function.get(field) is not None), None)
    others = [field for field in function if field not in _OF_CALLS and not is_empty(function[field])]
    if given is None and others:
        raise ValueError(f"a call of {shortened(name)} has no arguments, but {shortened(', '.join(others))}")
    arguments = parsed(given if given not in (None, "") else {}, f"the arguments of the call of {shortened(name)}")
    if not isinstance(arguments, Mapping):
        raise ValueError(f"the arguments of the call of {shortened(name)} are {json_type(arguments)}, not an object")
    demand_shallow(arguments, f"the arguments of the call of {shortened(name)}")
    return {
        "id": _identity(call.get("id")),
        "type": "function",
        "function": {"name": name, "arguments": dict(arguments)},
    }


def _identity(value: object) -> str:
    """The id of a call, which some write as a number; "" if it has none."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number or isinstance(value, str) else ""


def _result(content: Any, turn: Mapping[str, Any]) -> Message:
    message: Message = {"role": "tool", "content": _returned(content)}
    name = turn.get("name") or turn.get("tool_name")
    if isinstance(name, str):
        message["name"] = name
    if identity := _identity(turn.get("tool_call_id")):
        message["tool_call_id"] = identity
    return message


def _said(content: Any) -> str:
    """The text of a turn that calls: none, text, or parts of text."""
    if _is_texts(content):
        return _texts(content)
    if is_empty(content):
        return content if isinstance(content, str) else ""
    return text_of(joined(content) if is_parts(content) else content, "the content of a message of the assistant")


def _returned(content: Any) -> str:
    """The text of a result: none, text, parts of text, or another value as JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if content and _is_texts(content):
        return _texts(content)
    if isinstance(content, list) and (kind := next((_part(p) for p in content if _part(p) in PARTS), None)):
        raise ValueError(f"the result of a tool has a part that is not text ({kind}), and only text can be learned")
    demand_shallow(content, "the result of a tool")
    return json.dumps(content, ensure_ascii=False)


def query(row: Row) -> list[Message]:
    """A question and the calls that answer it."""
    calls = parsed(row["answers"], "answers", python=True)
    if not isinstance(row["query"], str) or not row["query"].strip():
        raise ValueError("query is empty or not text")
    return [{"role": "user", "content": row["query"]}, _calling("", _listed(calls))]


def uses(turn: Mapping[str, Any], name: str) -> bool:
    """Whether the field ``name`` of a turn belongs to a call or to what it returned."""
    if turn.get("role", turn.get("from")) is None and turn.get("type") in ITEMS:
        return name in _USED_OF_ITEMS
    return name in _USED["tool" if speaker(turn) == "tool" else "assistant"]


def told(row: Row, fields: Sequence[str]) -> Iterator[str]:
    """Whether an answer holds calls in its text, and whether they are learned as text or as calls. Of ``fields`` the last one
    is the answer, or all are lists of messages."""
    for field in fields:
        value, has_results = row.get(field), False
        if is_listed(value):
            texts = [turn.get("content", turn.get("value")) for turn in listed(value) if speaker(turn) == "assistant"]
            has_results = any(speaker(turn) == "tool" for turn in listed(value))
        else:
            texts = [value] if field == fields[-1] else []
        if any(isinstance(text, str) and _MARK in text for text in texts):
            yield _AS_CALLS if has_results else _AS_TEXT
            return


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
