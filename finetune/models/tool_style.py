"""How a chat template treats tools, found by rendering a small conversation, and what is written where it ignores them.

A template can show the tools, the calls and what they return, each or none; it can want arguments as text, or no content
beside a call. What it does not show is added to it: ``preamble`` is Jinja that turns it into plain messages in the form of
the Hermes models. The template with its preamble is a template like any other, so training, evaluation, chat and every
program that gets the template write the same.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal, Protocol

from finetune.errors import shortened
from finetune.models.call_text import Call, calls_of, in_hermes_form, read_calls
from finetune.models.conversation import Message, Tool
from finetune.models.template_check import template_errors


class Render(Protocol):
    """Applies a chat template, with or without the beginning of the next answer; raises what templates raise."""

    def __call__(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool] | None, *, prompt: bool) -> str: ...


_NAME, _OTHER, _KEY, _VALUE, _RESULT, _BEFORE, _SYSTEM = (
    "look_up_zq", "send_note_zq", "place_zq", "Oslozq", "Rainyzq", "Wellzq", "Briefzq"
)  # fmt: skip


def _tool(name: str) -> Tool:
    place = {"type": "string", "description": "A place."}
    parameters = {"type": "object", "properties": {_KEY: place}, "required": [_KEY]}
    return {"type": "function", "function": {"name": name, "description": "Does it.", "parameters": parameters}}


def _calling(*names: str, content: str = "") -> Message:
    calls = [
        {"id": f"call_number_{at}", "type": "function", "function": {"name": name, "arguments": {_KEY: _VALUE}}}
        for at, name in enumerate(names)
    ]
    return {"role": "assistant", "content": content, "tool_calls": calls}


TOOLS = [_tool(_NAME), _tool(_OTHER)]
_ASK: Message = {"role": "user", "content": "Hi"}
_RETURNED: Message = {"role": "tool", "content": _RESULT, "tool_call_id": "call_number_0", "name": _NAME}
_DONE: Message = {"role": "assistant", "content": "Donezq"}
ROUND = [_ASK, _calling(_NAME), _RETURNED, _DONE]  # every kind of turn


@dataclass(frozen=True)
class ToolStyle:
    """What a template shows by itself, and how it wants it."""

    tools: bool = True
    calls: bool = True
    results: bool = True
    text_arguments: bool = False  # as JSON text, not an object
    no_content: bool = False  # a turn that calls must not have the field
    ids: Literal["own", "short", "named"] = "own"  # nine letters and digits (Mistral), functions.NAME:INDEX (Kimi)
    several: bool = True  # shows every call of a turn
    text_before: bool = True  # shows the text before a call
    form: re.Pattern[str] | None = None  # of its calls, if ``read_calls`` cannot read them

    @property
    def complete(self) -> bool:
        return self.tools and self.calls and self.results

    @property
    def missing(self) -> str:
        """What the template does not show, in words."""
        shown = {"tools": self.tools, "calls": self.calls, "results of calls": self.results}
        missing = [what for what, is_shown in shown.items() if not is_shown]
        return " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))

    def adapted(self, messages: Sequence[Message]) -> list[Mapping[str, Any]]:
        """The messages as the template wants them. ValueError if it would leave out a part of them."""
        ids: dict[str, str] = {}  # of the last turn that calls: later turns can use the same ones again
        count = 0
        found = []
        for message in messages:
            if calls := message.get("tool_calls", ()):
                ids = self._ids(calls, count)
                count += len(calls)
            found.append(self._adapted(message, ids))
        return found

    def _ids(self, calls: Sequence[Mapping[str, Any]], first: int) -> dict[str, str]:
        """The ids that the template needs, by a call's own; ``first`` is the number of the first call."""
        if self.ids == "own":
            return {}
        if self.ids == "named":
            return {call["id"]: f"functions.{call['function']['name']}:{at}" for at, call in enumerate(calls, first)}
        of_calls = enumerate((call["id"] for call in calls), first)
        return {own: f"call{at:05}" for at, own in of_calls if not re.fullmatch("[A-Za-z0-9]{9}", own)}

    def _adapted(self, message: Message, ids: Mapping[str, str]) -> Mapping[str, Any]:
        found: Any = dict(message)
        if "tool_call_id" in message:
            found["tool_call_id"] = ids.get(message["tool_call_id"], message["tool_call_id"])
        if not message.get("tool_calls") or not self.calls:
            return found
        if len(message["tool_calls"]) > 1 and not self.several:
            raise ValueError("it shows only one of several calls in a turn (--template chatml shows all)")
        if message["content"].strip() and not self.text_before:
            raise ValueError("it leaves out the text before a call (--template chatml shows it)")
        found["tool_calls"] = [self._call(call, ids) for call in message["tool_calls"]]
        if self.no_content and not message["content"]:
            del found["content"]
        return found

    def _call(self, call: Mapping[str, Any], ids: Mapping[str, str]) -> Mapping[str, Any]:
        function = call["function"]
        if self.text_arguments:
            function = {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}
        return {**call, "id": ids.get(call["id"], call["id"]), "function": function}

    def rewritten(self, answer: str) -> str:
        """The answer with calls of the template's own ``form`` in one that ``read_calls`` reads."""
        found, at = "", 0
        while self.form and (begin := self.form.search(answer, at)):
            found, at = found + answer[at : begin.start()], begin.end()
            try:
                arguments, at = json.JSONDecoder(strict=False).raw_decode(answer, at)
                found += in_hermes_form(Call(begin["name"], arguments))
            except ValueError:
                return f'{found}<tool_call>\n{{"name": "{begin["name"]}", "arguments": {answer[at:]}}}\n</tool_call>'
        return found + answer[at:]


def find_style(render: Render) -> ToolStyle:
    """The style of the template that ``render`` applies; it raises what templates raise."""
    shown = (_NAME, _OTHER, _KEY)
    tools = _shows(render, [{"role": "system", "content": _SYSTEM}, _ASK], (*shown, _SYSTEM), prompt=True)
    tools = tools and _shows(render, [_ASK], shown, prompt=True)
    kinds: tuple[Literal["own", "short", "named"], ...] = ("own", "short", "named")
    for ids, text, absent in product(kinds, (False, True), (False, True)):
        style = ToolStyle(tools=tools, text_arguments=text, no_content=absent, ids=ids)
        if not _shows_call(render, style):
            continue
        # before the answer to them, and after
        results = all(_shows(render, style.adapted(ROUND[:end]), (_RESULT,), prompt=end == 3) for end in (3, 4))
        several = _shows_call(render, style, _NAME, _OTHER)
        text_before = _shows_call(render, style, content=_BEFORE)
        return replace(style, results=results, several=several, text_before=text_before, form=_form(render, style))
    # a template that knows no calls shows a result as somebody's turn, if at all
    return ToolStyle(tools=tools, calls=False, results=False)


def _rendered(render: Render, messages: Sequence[Mapping[str, Any]], *, prompt: bool) -> str:
    """ "" if the template refuses the conversation."""
    try:
        return render(messages, TOOLS, prompt=prompt)
    except template_errors():
        return ""


def _shows(render: Render, messages: Sequence[Mapping[str, Any]], words: Sequence[str], *, prompt: bool) -> bool:
    text = _rendered(render, messages, prompt=prompt)
    return all(word in text for word in words)


def _shows_call(render: Render, style: ToolStyle, *names: str, content: str = "") -> bool:
    """Whether the calls of a turn are rendered, with their arguments, and the text before them."""
    names = names or (_NAME,)
    before = _rendered(render, [_ASK], prompt=True)
    after = _rendered(render, style.adapted([_ASK, _calling(*names, content=content)]), prompt=False)
    arguments: Mapping[str, str] = {_KEY: _VALUE}
    return (
        all(after.count(name) > before.count(name) for name in names)
        and after.count(_VALUE) == len(names)
        and content in after
        and str(arguments) not in after  # an object as Python shows it
        and json.dumps(json.dumps(arguments)) not in after  # a text within JSON
    )


def demand_shown(messages: Sequence[Message], text: str) -> None:
    """ValueError if the ``text`` that a template makes of the messages lacks a call, or the thinking before the last one."""
    for call in (call for message in messages for call in calls_of(message)):
        if call.name not in text:
            raise ValueError(f"it does not show the call of {shortened(call.name)} (--template chatml shows it)")
    last = messages[-1]
    if last.get("tool_calls") and last.get("reasoning_content", "").strip() not in text:
        raise ValueError("it leaves out the thinking before a call (--thinking drop, or --template chatml)")


def call_tail(render: Render, style: ToolStyle) -> str:
    """What the template writes for a turn with one call, its end included."""
    before = _rendered(render, [_ASK], prompt=True)
    after = _rendered(render, style.adapted([_ASK, _calling(_NAME)]), prompt=False)
    same = next((at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
    return after[min(same, max(0, after.rfind(_NAME))) :]


def _form(render: Render, style: ToolStyle) -> re.Pattern[str] | None:
    """The form of the template's calls, if they are of none that is known and have their arguments in JSON."""
    tail = call_tail(render, style)
    wanted = Call(_NAME, {_KEY: _VALUE})
    if wanted in read_calls(tail, TOOLS).calls:
        return None
    head, _, rest = tail.partition(_NAME)
    between, found, _ = rest.partition(json.dumps(wanted.arguments))
    if not found:
        return None
    return re.compile(rf"{re.escape(head.strip())}\s*(?P<name>[\w.-]+){re.escape(between)}(?=\{{)")


_TEXT_OF_TOOLS = """\
You can call these functions:
<tools>
{tools}
</tools>"""
_HOW_TO_CALL = """\
To call one, write its name and its arguments as JSON:
<tool_call>
{"name": "NAME", "arguments": {"ARGUMENT": "VALUE"}}
</tool_call>"""


def preamble(style: ToolStyle, *, system: bool) -> str:
    """Jinja to put before a template: what the template does not show becomes text of plain messages.

    With ``system`` False the tools stand at the beginning of the first message, for a template without a system message.
    """
    parts = ["{%- set ft = namespace(messages=[], results='', text='') -%}"]
    if not style.tools:
        parts.append(_jinja_of_tools(calls=not style.calls, system=system))
    if not style.calls or not style.results:
        parts.append(_JINJA_OF_TURNS)
        parts.append(_JINJA_OF_RESULT if not style.results else "{%- if false -%}")
        parts.append(_JINJA_OF_OTHERS)
        parts.append(_JINJA_OF_CALLS if not style.calls else "{%- if false -%}")
        parts.append(_JINJA_OF_END)
    return "".join(parts).rstrip("-%}") + " %}\n"  # transformers removes the line feed after a block


def _jinja_of_tools(*, calls: bool, system: bool) -> str:
    before, _, after = _TEXT_OF_TOOLS.partition("{tools}")
    after += f"\n{_HOW_TO_CALL}" if calls else ""
    text = (
        f"{{%- if tools -%}}{{%- set ft.text = {json.dumps(before)} -%}}"
        "{%- for tool in tools -%}{%- set ft.text = ft.text ~ (tool | tojson) ~ ('' if loop.last else '\\n') -%}{%- endfor -%}"
        f"{{%- set ft.text = ft.text ~ {json.dumps(after)} -%}}"
    )
    first = "messages[0].content ~ '\\n\\n' ~ ft.text" if system else "ft.text ~ '\\n\\n' ~ messages[0].content"
    joined = f"[{{'role': messages[0].role, 'content': {first}}}] + messages[1:]"
    if not system:
        return f"{text}{{%- set messages = {joined} -%}}{{%- set tools = none -%}}{{%- endif -%}}"
    return (
        f"{text}{{%- if messages[0].role == 'system' -%}}{{%- set messages = {joined} -%}}{{%- else -%}}"
        "{%- set messages = [{'role': 'system', 'content': ft.text}] + messages -%}"
        "{%- endif -%}{%- set tools = none -%}{%- endif -%}"
    )


_RESULTS = "{'role': 'user', 'content': ft.results}"
_JINJA_OF_TURNS = "{%- for message in messages -%}"
_JINJA_OF_RESULT = (
    "{%- if message.role == 'tool' -%}"
    "{%- set ft.results = ft.results ~ ('\\n' if ft.results else '')"
    " ~ '<tool_response>\\n' ~ message.content ~ '\\n</tool_response>' -%}"
)
_JINJA_OF_OTHERS = (
    "{%- elif ft.results and message.role == 'user' -%}"
    "{%- set ft.messages = ft.messages + [{'role': 'user', 'content': ft.results ~ '\\n' ~ message.content}] -%}"
    "{%- set ft.results = '' -%}"
    "{%- else -%}"
    f"{{%- if ft.results -%}}{{%- set ft.messages = ft.messages + [{_RESULTS}] -%}}{{%- set ft.results = '' -%}}{{%- endif -%}}"
)
_JINJA_OF_CALLS = (
    "{%- if message.tool_calls -%}{%- set ft.text = message.content or '' -%}"
    "{%- for call in message.tool_calls -%}"
    "{%- set arguments = call.function.arguments -%}"
    "{%- set ft.text = ft.text ~ ('\\n' if ft.text else '') ~ '<tool_call>\\n{\"name\": ' ~ (call.function.name | tojson)"
    " ~ ', \"arguments\": ' ~ (arguments if arguments is string else arguments | tojson) ~ '}\\n</tool_call>' -%}"
    "{%- endfor -%}"
    "{%- set thought = message.reasoning_content or message.thinking or message.reasoning -%}"
    "{%- if thought -%}{%- set ft.messages = ft.messages + [{'role': 'assistant', 'content': ft.text,"
    " 'reasoning_content': thought, 'thinking': thought, 'reasoning': thought}] -%}"
    "{%- else -%}{%- set ft.messages = ft.messages + [{'role': 'assistant', 'content': ft.text}] -%}{%- endif -%}"
)
_JINJA_OF_END = (
    "{%- else -%}{%- set ft.messages = ft.messages + [message] -%}{%- endif -%}"
    "{%- endif -%}{%- endfor -%}"
    f"{{%- if ft.results -%}}{{%- set ft.messages = ft.messages + [{_RESULTS}] -%}}{{%- endif -%}}"
    "{%- set messages = ft.messages -%}"
)
