"""Which call each result of a tool answers, and whether each call is one of a function that the row has."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.errors import shortened
from finetune.models.conversation import Message, Tool
from finetune.tasks import tool_texts


def linked(messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[Message]:
    """The messages with an id in each call, and the id and the name of its call in each result. Calls that are written in the
    text of a row with results become calls."""
    found: list[Message] = []
    open_calls: list[tuple[str, str, bool]] = []  # id, name and whether the id was given, of the calls without a result
    count = 0
    for message in tool_texts.read(messages, tools):
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
    found = linked(messages, tools)
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
