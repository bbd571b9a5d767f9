"""Calls of tools in the text of an answer: the ways in which models write them, read back.

Models of different families mark a call differently: JSON between tags (Hermes, Qwen), a list after ``[TOOL_CALLS]``
(Mistral), JSON alone (Llama 3), tags for each argument (Qwen3-Coder, GLM), Python (LFM2, Llama 4). A base model that is
compared with a tuned one may use any of them, so each is read from any answer.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.errors import shortened
from finetune.models.call_forms import as_hermes
from finetune.models.conversation import Message, Tool

_MOST_STARTS = 200  # places in an answer where JSON is looked for
_NAMES = ("name", "tool_name", "function")
ARGUMENTS = ("arguments", "parameters", "args", "input")
# what opens and closes a call, or a list of calls; a call that is not closed ends with the text
_MARKS = (
    (r"<tool_call>", r"</tool_call>"),
    (r"<\|tool_call_start\|>", r"<\|tool_call_end\|>"),
    (r"<\|tool_call_begin\|>", r"<\|tool_call_end\|>"),
    (r"<\|START_ACTION\|>", r"<\|END_ACTION\|>"),
    (r"<function_?call>", r"</function_?call>"),
    (r"\[TOOL_CALLS\]", r"(?=\[TOOL_CALLS\])"),
    (r"<\|python_tag\|>", r"<\|eom_id\|>|<\|eot_id\|>"),
)
_MARKED = re.compile("|".join(rf"(?:{start}(.*?)(?:{end}|\Z))" for start, end in _MARKS), re.DOTALL)
_TAGGED = re.compile(r"<function=([^>\s]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_KEY_VALUE = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_NAMED = re.compile(
    r"([\w.-]+)(?::\d+)?\s*(?:\[ARGS\]|\[CALL_ID\]\S*\s*\[ARGS\]|<\|tool_call_argument_begin\|>|\n)?\s*(?={)"
)
_CHANNEL = re.compile(r"to=functions\.([\w.-]+)(?:<\|channel\|>commentary)?[^{}]*?<\|message\|>")
_FENCE = re.compile(r"```\w*\s*\n(.*?)(?:```|\Z)", re.DOTALL)
_LINE_OF_JSON = re.compile(r"^[ \t]*(?=[{\[])", re.MULTILINE)
_FOLLOWING = re.compile(r"[\s;,]*(?=[{\[])")
_LITERALS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Call:
    """A call of a function with its arguments by name."""

    name: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        given = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in self.arguments.items())
        return f"{self.name}({given})"


@dataclass(frozen=True)
class Reading:
    """An answer taken apart: its text outside of calls, the calls in order, and what is wrong with one ("" if nothing)."""

    text: str
    calls: tuple[Call, ...] = ()
    problem: str = ""


def calls_of(message: Message) -> tuple[Call, ...]:
    """The calls that a message makes."""
    return tuple(
        Call(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", ())
    )


def shown(message: Message) -> str:
    """A message for people to read: its text, then a line for each call, such as ``calls get_weather(city="Paris")``."""
    return "\n".join([*filter(None, [message["content"]]), *(f"calls {call}" for call in calls_of(message))])


def in_hermes_form(call: Call) -> str:
    """The call as Hermes and Qwen models write it."""
    written = {"name": call.name, "arguments": call.arguments}
    return f"<tool_call>\n{json.dumps(written, ensure_ascii=False)}\n</tool_call>"


def spoken(message: Message) -> str:
    """A message as text that ``message_of`` makes the same message of: its text, then its calls in the form of Hermes."""
    return "\n".join([*filter(None, [message["content"]]), *map(in_hermes_form, calls_of(message))])


def message_of(answer: str, tools: Sequence[Tool] = ()) -> Message:
    """An answer as a message: the calls that stand in it become its ``tool_calls``; a broken one stays text."""
    found = read_calls(answer, tools)
    if found.problem or not found.calls:
        return {"role": "assistant", "content": answer}
    calls = [
        {"id": f"call{at:05}", "type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
        for at, call in enumerate(found.calls)
    ]
    return {"role": "assistant", "content": found.text, "tool_calls": calls}


def read_calls(answer: str, tools: Sequence[Tool] = ()) -> Reading:
    """Find the calls in an answer. ``tools`` give the types of arguments where a form has none."""
    answer = as_hermes(answer)
    schemas = {function["name"]: function.get("parameters") or {} for function in map(_function, tools)}
    try:
        return _marked(answer, schemas) or _unmarked(answer, schemas) or Reading(answer.strip())
    except RecursionError:
        return Reading("", (), "its JSON is nested too deeply")


def _function(tool: Tool) -> Mapping[str, Any]:
    return tool.get("function", tool)


def _marked(answer: str, schemas: Mapping[str, Any]) -> Reading | None:
    """The calls between marks; None if the answer has no marks."""
    calls: list[Call] = []
    rest, at = [], 0
    problem = ""
    pattern = next((p for p in (_MARKED, _TAGGED, _CHANNEL) if p.search(answer)), None)
    if pattern is None:
        return None
    for found in pattern.finditer(answer):
        if found.start() < at:
            continue
        rest.append(answer[at : found.start()])
        at = found.end()
        try:
            if pattern is _CHANNEL:
                value, at = _decoded(answer, found.end())
                calls.append(_call(found[1], value))
            elif pattern is _TAGGED:
                calls.append(_tagged(found, schemas))
            else:
                calls += _body(next(filter(None, found.groups()), ""), schemas)
        except ValueError as error:
            problem = problem or str(error)
    return Reading("".join([*rest, answer[at:]]).strip(), tuple(calls), problem)


def _unmarked(answer: str, schemas: Mapping[str, Any]) -> Reading | None:
    """Calls without marks: JSON in a fence or on a line of its own that names a function, or the whole answer as Python."""
    text = answer.strip()
    if text.startswith("[") and (python := _python(text)) and all(call.name in schemas for call in python):
        return Reading("", tuple(python))
    calls: list[Call] = []
    rest, at, problem = [], 0, ""
    fences = [(found.start(), found.start(1), found.end()) for found in _FENCE.finditer(text)]
    lines = [(found.start(), found.end(), 0) for found in _LINE_OF_JSON.finditer(text)]
    for start, begin, end in sorted([*fences, *lines])[:_MOST_STARTS]:
        if start < at:
            continue
        try:
            found, after = _sequence(text, begin)
        except ValueError as error:
            begins = re.match(r"""[{\[\s]*"(?:name|tool_name)"\s*:\s*"([^"]*)""", text[begin:])
            if begins and (not schemas or begins[1] in schemas):
                problem = problem or str(error)
            continue
        if found:
            calls += found
            rest.append(text[at:start])
            at = max(after, end)
    if not calls and not problem:
        return None
    return Reading("".join([*rest, text[at:]]).strip(), tuple(calls), problem)


def _body(text: str, schemas: Mapping[str, Any]) -> list[Call]:
    """The calls between one pair of marks. ValueError says why there are none."""
    text = text.strip()
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1].strip()
    if text.startswith(("{", "[")):
        if text.startswith("[") and (python := _python(text)):
            return python
        if not (calls := _sequence(text, 0)[0]):
            raise ValueError("a call without a name or without arguments")
        return calls
    if tagged := [_tagged(found, schemas) for found in _TAGGED.finditer(text)]:
        return tagged
    if _KEY_VALUE.search(text):
        name = text.partition("<arg_key>")[0].strip()
        return [
            _call(
                name,
                {key.strip(): _typed(value, name, key.strip(), schemas) for key, value in _KEY_VALUE.findall(text)},
            )
        ]
    calls, at = [], 0
    while named := _NAMED.match(text, at):
        value, at = _decoded(text, named.end())
        calls.append(_call(named[1].removeprefix("functions."), value))
        at += len(text[at:]) - len(text[at:].lstrip())
    if calls and at == len(text):
        return calls
    if python := _python(f"[{text}]"):
        return python
    raise ValueError(f"{shortened(text, 60)!r} is not a call")


def _sequence(text: str, at: int) -> tuple[list[Call], int]:
    """The calls in JSON that begins at ``at``, one after the other, and where the last one ends."""
    value, at = _decoded(text, at)
    calls = list(_json_calls(value))
    while calls and (following := _FOLLOWING.match(text, at)):
        value, after = _decoded(text, following.end())
        if not (more := list(_json_calls(value))):
            break
        calls, at = calls + more, after
    return calls, at


def _decoded(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins at ``at``, and where it ends. ValueError if there is none."""
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text, at)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at character {error.pos - at}") from None
    except UnicodeEncodeError:  # no file could hold it
        raise ValueError("not valid JSON: half of a character") from None
    return value, end


def _json_calls(value: Any) -> Iterator[Call]:
    """The calls in a JSON value: an object with a name and arguments, or a list of them."""
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, Mapping):
            return
        if isinstance(one.get("function"), Mapping):
            one = one["function"]
        name = next((one[key] for key in _NAMES if isinstance(one.get(key), str)), None)
        given = next((one[key] for key in ARGUMENTS if key in one), None)
        if name is None or given is None:
            return
        yield _call(name, given)


def _call(name: str, arguments: Any) -> Call:
    """ValueError if the arguments are no object, nor one as text."""
    if isinstance(arguments, str):
        arguments = _decoded(arguments.strip() or "{}", 0)[0]
    if not isinstance(arguments, Mapping):
        raise ValueError(f"the arguments of {shortened(name)} are not an object")
    try:
        json.dumps({name: arguments}, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError):  # bytes and sets of Python, NaN, half of a surrogate pair
        raise ValueError(f"the arguments of {shortened(ascii(name))} are not JSON") from None
    return Call(name, arguments)


def _tagged(found: re.Match[str], schemas: Mapping[str, Any]) -> Call:
    """``<function=NAME>`` with JSON, or with a tag for each argument."""
    name, inner = found[1], found[2].strip()
    if inner.startswith("{"):
        return _call(name, _decoded(inner, 0)[0])
    return _call(name, {key: _typed(value, name, key, schemas) for key, value in _PARAMETER.findall(inner)})


def _typed(text: str, function: str, argument: str, schemas: Mapping[str, Any]) -> Any:
    """The value of an argument that was written without its type: text if the schema says so, else JSON if it is JSON."""
    properties = schemas.get(function, {}).get("properties")
    schema = properties.get(argument) if isinstance(properties, Mapping) else None
    kinds = schema.get("type") if isinstance(schema, Mapping) else None
    if kinds == "string" or (isinstance(kinds, list) and "string" in kinds and text.strip() not in ("null", "None")):
        return text
    text = {"True": "true", "False": "false", "None": "null"}.get(text.strip(), text)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _python(text: str) -> list[Call]:
    """The calls in a Python list such as ``[get_weather(city="Paris")]``; none if it is something else."""
    try:
        with warnings.catch_warnings():  # of a backslash that should be written twice
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
        if not isinstance(tree, ast.List):
            return []
        return [_python_call(node) for node in tree.elts]
    except (ValueError, SyntaxError, MemoryError):
        return []


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args or any(given.arg is None for given in node.keywords):
        raise ValueError("not a call with named arguments")

    class Literals(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.expr:
            return ast.Constant(_LITERALS[name.id]) if name.id in _LITERALS else name

    given = {str(one.arg): ast.literal_eval(Literals().visit(one.value)) for one in node.keywords}
    return _call(ast.unparse(node.func), given)
