"""Chat templates of several kinds, as they treat tools; each of our own wording, with the marks of the builtin model."""

_TURN = "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
_ASKED = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
_TOOLS = "{% if tools %}{{ '<|im_start|>system\\nTools: ' + (tools | tojson) + '<|im_end|>\\n' }}{% endif %}"
_JSON = "'{\"name\": \"' + c.function.name + '\", \"arguments\": ' + (c.function.arguments | tojson) + '}'"


def _with_calls(call: str, *, tools: str = _TOOLS, result: str = _TURN, content: str = "{{ m.content }}") -> str:
    return (
        f"{tools}{{% for m in messages %}}{{% if m.tool_calls %}}{{{{ '<|im_start|>assistant\\n' }}}}{content}"
        f"{{% for c in m.tool_calls %}}{call}{{% endfor %}}{{{{ '<|im_end|>\\n' }}}}"
        f"{{% elif m.role == 'tool' %}}{result}{{% else %}}{_TURN}{{% endif %}}{{% endfor %}}{_ASKED}"
    )


TEMPLATES = {
    # those that show everything
    "a thought before the last turn alone": _with_calls(
        "{{ '<tool_call>\\n' + " + _JSON + " + '\\n</tool_call>' }}",
        content="{{ '<think>\\n\\n</think>\\n\\n' if loop.last }}{{ m.content }}",
    ),
    "hermes": _with_calls("{{ '<tool_call>\\n' + " + _JSON + " + '\\n</tool_call>' }}"),
    "arguments as text": _with_calls("{{ '[TOOL_CALLS]' + c.function.name + '[ARGS]' + c.function.arguments }}"),
    "an object as Python shows it": _with_calls("{{ '<tool_call>' ~ c.function.name ~ ' ' ~ c.function.arguments }}"),
    "text within JSON": _with_calls(
        "{{ '<tool_call>' }}{{ '{\"name\": ' + (c.function.name | tojson) + ', \"arguments\": ' + ("
        "c.function.arguments if c.function.arguments is string else raise_exception('text, please')) + '}' }}"
        "{{ '</tool_call>' }}"
    ),
    "tags": _with_calls(
        "{{ '<tool_call>\\n<function=' + c.function.name + '>\\n' }}{% for k, v in c.function.arguments.items() %}"
        "{{ '<parameter=' + k + '>\\n' + (v if v is string else v | tojson) + '\\n</parameter>\\n' }}{% endfor %}"
        "{{ '</function>\\n</tool_call>' }}"
    ),
    "python": _with_calls(
        "{{ '[' if loop.first }}{{ c.function.name + '(' }}{% for k, v in c.function.arguments.items() %}"
        "{{ k + '=' + (v | tojson) + ('' if loop.last else ', ') }}{% endfor %}{{ ')]' if loop.last else '), ' }}",
        content="{{ m.content ~ '<|tool_call_start|>' }}",
    ),
    "one call, no text": _with_calls(
        "{{ raise_exception('one call only') if m.tool_calls | length > 1 }}"
        "{{ '{\"name\": \"' + c.function.name + '\", \"parameters\": ' + (c.function.arguments | tojson) + '}' }}",
        content="",
    ),
    "no content": _with_calls(
        "{{ raise_exception('content beside calls') if m.content is defined }}{{ '<tool_call>' + "
        + _JSON
        + " + '</tool_call>' }}",
        content="",
    ),
    "short ids": _with_calls(
        "{{ raise_exception('nine, please') if c.id | length != 9 }}"
        '{{ \'[TOOL_CALLS][{"name": "\' + c.function.name + \'", "arguments": \' + (c.function.arguments | tojson)'
        " + ', \"id\": \"' + c.id + '\"}]' }}",
    ),
    "named ids": _with_calls(
        "{{ '<|tool_call_begin|>' + c.id + '<|tool_call_argument_begin|>' + (c.function.arguments | tojson) }}"
        "{{ '<|tool_call_end|>' }}"
    ),
    "a form of its own": _with_calls(
        "{{ 'RUN ' + c.function.name + ' WITH ' + (c.function.arguments | tojson) + ' !' }}"
    ),
}
IGNORANT = {
    "chatml": f"{{% for m in messages %}}{_TURN}{{% endfor %}}{_ASKED}",
    "system and tools alone": f"{_TOOLS}{{% for m in messages %}}{_TURN}{{% endfor %}}{_ASKED}",
    "turns by turns, no system": (
        "{% for m in messages %}{{ raise_exception('by turns') if (m.role == 'user') != (loop.index0 % 2 == 0) }}"
        f"{_TURN}{{% endfor %}}{_ASKED}"
    ),
    "refuses tools": "{{ raise_exception('no tools here') if tools }}{% for m in messages %}"
    + _TURN
    + "{% endfor %}"
    + _ASKED,
    "no results": _with_calls("{{ '<tool_call>' + " + _JSON + " + '</tool_call>' }}", result="", tools=""),
}
