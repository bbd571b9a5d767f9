"""Whether a chat template of somebody else comes to an end: it is a program. A child process renders it before this one does.

``python -m finetune.models.template_check`` is the child. It imports Jinja alone, since transformers would take a second.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from finetune.errors import UserError
from finetune.models import child
from finetune.records import files

MOST_CHARACTERS = 1_000_000  # of a template, and of what it makes of a short conversation; real ones have thousands
_SECONDS, _MEMORY = 10, 1_000_000_000  # real ones take milliseconds
_TEXT = "Some words. " * 16
_TURN = [{"role": "user", "content": _TEXT}, {"role": "assistant", "content": _TEXT}]
_CONVERSATIONS = ([{"role": "system", "content": _TEXT}, *_TURN], _TURN[:1], 3 * _TURN)
_CALL = {"id": "123456789", "type": "function", "function": {"name": "f", "arguments": {"a": _TEXT}}}
_WITH_TOOLS = (
    [
        _TURN[0],
        {"role": "assistant", "content": "", "tool_calls": [_CALL]},
        {"role": "tool", "content": _TEXT, "name": "f", "tool_call_id": "123456789"},
        _TURN[1],
    ],
    [{"type": "function", "function": {"name": "f", "description": _TEXT, "parameters": {"type": "object"}}}],
)
_BUILTIN = "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788"  # the builtin model's
_harmless = {_BUILTIN}  # by their SHA-256: templates that need no check, and those that this process has checked


def demand_harmless(template: str, tokens: Mapping[str, str], place: str) -> None:
    """UserError, which begins with ``place``, if the template is too long or takes too much for a short conversation.

    ``tokens`` are the tokenizer's special tokens by the names that templates know them by, such as "bos_token".
    """
    name = files.text_hash(template)
    if name not in _harmless and (problem := _problem(template, tokens)):
        raise UserError(f"{place}: {problem} (choose another with --template, such as chatml)")
    _harmless.add(name)


def _problem(template: str, tokens: Mapping[str, str]) -> str:
    if len(template) > MOST_CHARACTERS:
        return f"the chat template has {len(template):,} characters or more; at most {MOST_CHARACTERS:,} are allowed"
    try:
        made = child.run(__name__, [template, dict(tokens)], seconds=_SECONDS, memory=_MEMORY)
    except child.Ended as ended:
        return f"the chat template was stopped: with a short conversation it {ended}"
    if made > MOST_CHARACTERS:
        return f"the chat template makes {made:,} characters of a short conversation"
    return ""


def template_errors() -> tuple[type[Exception], ...]:
    """What a chat template can raise. SyntaxError: Python does not compile loops of more than 20 levels."""
    from jinja2 import TemplateError

    mistakes = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, SyntaxError)
    return TemplateError, *mistakes, RecursionError, MemoryError


def _longest(request: tuple[str, Mapping[str, str]]) -> int:
    """The most characters that the template makes of one of the conversations; 0 if it refuses all of them."""
    template, tokens = request
    most = 0
    with suppress(*set(template_errors()) - {MemoryError}):
        compiled = _environment().from_string(template)
        for messages, tools in (*((messages, None) for messages in _CONVERSATIONS), _WITH_TOOLS):
            for prompt in (False, True):
                with suppress(*set(template_errors()) - {MemoryError}):
                    known = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": prompt}
                    most = max(most, len(compiled.render(**known, **tokens)))
    return most


def _environment() -> Any:
    """The environment of transformers' ``apply_chat_template``."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}``, around an answer."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return nodes.CallBlock(self.call_method("answer"), [], [], body).set_lineno(line)

        def answer(self, caller: Any) -> Any:
            return caller()

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: Any = False, indent: Any = None, separators: Any = None, **more: Any) -> str:  # noqa: FBT002
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, **more)

    extensions = [Generation, loopcontrols]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


if __name__ == "__main__":
    child.answer(_longest)
