"""Tools and their calls in the shapes in which people keep them, made into OpenAI's fields with arguments as objects.

Read are OpenAI's ``tools`` and ``tool_calls``, the older ``functions`` and ``function_call``, the items of its Responses API,
ShareGPT's turns ``function_call`` and ``observation``, Anthropic's parts ``tool_use`` and ``tool_result``, and rows of a
``query`` with its ``tools`` and ``answers``. Lists and arguments can be JSON text. ValueError says what is wrong with a row.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from finetune.errors import shortened
from finetune.models.conversation import Message, Tool
from finetune.records.files import Row
from finetune.tasks.values import demand_shallow, json_type, parsed, role_of

FIELDS = ("tools", "functions")  # of a row
_CALLS = ("function_call", "tool_call")  # roles
_RESULTS = ("tool", "function", "observation", "ipython", "tool_response", "tool_result", "function_response")
_ITEMS = ("function_call", "function_call_output")  # of OpenAI's Responses API, which have a type and no role
_USED_OF_ITEMS = ("type", "call_id", "name", "arguments", "output", "id", "status")
_USED = {"assistant": ("tool_calls", "function_call"), "tool": ("tool_call_id", "name", "tool_name")}
_MARK = "<tool_call>"
_AS_TEXT = "calls of tools in texts, learned as text (as tool_calls, the model's template writes them)"
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}


def tools_of(row: Row) -> list[Tool]:
    """The tools of a row."""
    field = next((name for name in FIELDS if row.get(name)), None)
    if field is None or (isinstance(row[field], str) and not row[field].strip()):
        return []
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
    return {**{name: value for name, value in kept.items() if name not in FIELDS}, "tools": tools} if tools else kept


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
    if role is None and turn.get("type") == _ITEMS[0]:
        return [_calling("", [{**turn, "id": turn.get("call_id")}])]
    if role is None and turn.get("type") == _ITEMS[1]:
        return [_result(turn.get("output"), {"tool_call_id": turn.get("call_id")})]
    if role in _RESULTS:
        return [_result(content, turn)]
    if role in _CALLS:
        return [_calling("", _listed(parsed(content, "a function call")))]
    if isinstance(content, list) and any(_part(part) in ("tool_use", "tool_result") for part in content):
        return list(_of_parts(content, role_of(role)))
    calls = turn.get("tool_calls") or turn.get("function_call")
    if not calls:
        return []
    if role_of(role) != "assistant":
        raise ValueError(f"a message of the {shortened(str(role))} calls a tool (only the assistant can)")
    return [_calling(_text(content), _listed(parsed(calls, "tool_calls", python=True)))]


def _part(part: object) -> object:
    return part.get("type") if isinstance(part, Mapping) else None


def _of_parts(parts: Sequence[Any], role: object) -> Iterator[Message]:
    """Anthropic's: the assistant's message holds its calls, the user's what they returned."""
    for part in parts:
        if _part(part) not in ("text", "tool_use", "tool_result"):
            raise ValueError(f"a message has a part that is not text ({shortened(str(_part(part)))})")
    words = "\n".join(str(part.get("text") or "") for part in parts if part["type"] == "text")
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
    given = function.get("arguments", function.get("parameters"))
    arguments = parsed(given if given not in (None, "") else {}, f"the arguments of the call of {shortened(name)}")
    if not isinstance(arguments, Mapping):
        raise ValueError(f"the arguments of the call of {shortened(name)} are {json_type(arguments)}, not an object")
    demand_shallow(arguments, f"the arguments of the call of {shortened(name)}")
    identity = call.get("id")
    return {
        "id": identity if isinstance(identity, str) else "",
        "type": "function",
        "function": {"name": name, "arguments": dict(arguments)},
    }


def _result(content: Any, turn: Mapping[str, Any]) -> Message:
    message: Message = {"role": "tool", "content": _text(content)}
    name = turn.get("name") or turn.get("tool_name")
    if isinstance(name, str):
        message["name"] = name
    if isinstance(turn.get("tool_call_id"), str):
        message["tool_call_id"] = turn["tool_call_id"]
    return message


def _text(content: Any) -> str:
    """The text of a call's turn or of a result: none, text, parts of text, or another value as JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content and all(_part(part) == "text" for part in content):
        return "\n".join(str(part.get("text") or "") for part in content)
    demand_shallow(content, "the result of a tool")
    return json.dumps(content, ensure_ascii=False)


def linked(messages: Sequence[Message]) -> list[Message]:
    """The messages with an id in each call, and the id and the name of its call in each result."""
    found: list[Message] = []
    open_calls: list[tuple[str, str, bool]] = []  # id, name and whether the id was given, of the calls without a result
    count = 0
    for message in messages:
        if message["role"] == "tool":
            found.append(_answering(message, open_calls))
            continue
        if not found or found[-1]["role"] != "assistant":
            open_calls = []
        for call in message.get("tool_calls", ()):
            given = call["id"]
            call["id"] = given or f"call{count:05}"  # nine characters, which every template takes
            open_calls.append((call["id"], call["function"]["name"], bool(given)))
            count += 1
        found.append(message)
    return found


def _answering(result: Message, open_calls: list[tuple[str, str, bool]]) -> Message:
    """The result with the id and name of the call that it answers, which is then no longer open."""
    wanted, name = result.get("tool_call_id"), result.get("name")
    if not open_calls:
        raise ValueError("a result of a tool without a call before it")
    by_id = [call for call in open_calls if call[0] == wanted]
    if wanted and not by_id and all(given for _, _, given in open_calls):
        raise ValueError(f"a result of a tool answers the call {shortened(wanted, 40)!r}, which is not open")
    by_name = [call for call in open_calls if call[1] == name]
    answered = (by_id or by_name or open_calls)[0]
    if name and not by_id and not by_name:
        raise ValueError(f"a result of the tool {shortened(name)}, which was not called")
    open_calls.remove(answered)
    return {"role": "tool", "content": result["content"], "tool_call_id": answered[0], "name": answered[1]}


def checked(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """The messages linked, and each call one of a function that is among the tools, if there are any."""
    functions = {tool["function"]["name"]: tool["function"] for tool in tools}
    found = linked(messages)
    for message in found:
        for call in message.get("tool_calls", ()):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            if functions and name not in functions:
                raise ValueError(f"a call of {shortened(name)}, which is not among the tools")
            parameters = functions.get(name, {}).get("parameters", {})
            if isinstance(parameters.get("properties"), Mapping):  # Arrow fills what other calls have with null
                call["function"]["arguments"] = {
                    key: value for key, value in arguments.items() if value is not None or can_be_null(key, parameters)
                }
    return found


def can_be_null(argument: str, parameters: Mapping[str, Any]) -> bool:
    """Whether null can be the value of an argument, by the schema of all: else it says that the argument is left out."""
    properties, required = parameters["properties"], parameters.get("required")
    if argument not in properties:
        return False
    schema = properties[argument]
    kinds = schema.get("type") if isinstance(schema, Mapping) and not schema.get("nullable") else None
    is_required = isinstance(required, list) and argument in required
    return (
        is_required
        or not isinstance(kinds, str | list)
        or kinds == "null"
        or (isinstance(kinds, list) and "null" in kinds)
    )


def query(row: Row) -> list[Message]:
    """A question and the calls that answer it."""
    calls = parsed(row["answers"], "answers", python=True)
    if not isinstance(row["query"], str) or not row["query"].strip():
        raise ValueError("query is empty or not text")
    return [{"role": "user", "content": row["query"]}, _calling("", _listed(calls))]


def uses(turn: Mapping[str, Any], name: str) -> bool:
    """Whether the field ``name`` of a turn belongs to a call or to what it returned."""
    role = turn.get("role", turn.get("from"))
    if role is None and turn.get("type") in _ITEMS:
        return name in _USED_OF_ITEMS
    return name in _USED["tool" if role in _RESULTS else "assistant"]


def told(row: Row, fields: Iterable[str]) -> Iterator[str]:
    """Whether an answer holds calls in its text, where they are learned as text."""
    for value in (row.get(field) for field in fields):
        turns = value if isinstance(value, list) else []
        texts = (
            turn.get("content", turn.get("value")) for turn in turns if isinstance(turn, Mapping) and _speaks(turn)
        )
        if any(isinstance(text, str) and _MARK in text for text in ([value] if isinstance(value, str) else texts)):
            yield _AS_TEXT
            return


def _speaks(turn: Mapping[str, Any]) -> bool:
    return role_of(turn.get("role", turn.get("from"))) == "assistant"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
