"""Calls of tools in forms that are no JSON between tags, turned into the form of Hermes before they are read."""

import json
import re

_DEEPSEEK = re.compile(
    r"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?(?P<name>[\w.-]+)(?:<｜tool▁sep｜>|\s*```json)\s*"
    r"(?P<arguments>\{.*?\})\s*(?:```)?\s*(?:<｜tool▁call▁end｜>|\Z)",
    re.DOTALL,
)
_GEMMA = re.compile(r"<\|tool_call>\s*call:(?P<name>[\w.-]+)(?P<arguments>\{.*?\})\s*(?:<tool_call\|>|\Z)", re.DOTALL)
_GEMMA_TEXT = re.compile(r'<\|"\|>(.*?)<\|"\|>', re.DOTALL)
_KEY = re.compile(r"([\w.-]+)\s*:")


def as_hermes(answer: str) -> str:
    """The answer with the calls of DeepSeek-V3 (``NAME```json {...}``` ``) and Gemma 4 (``call:NAME{key:<|"|>text<|"|>}``) in
    the form of Hermes."""
    answer = _DEEPSEEK.sub(lambda found: _call(found["name"], found["arguments"]), answer)
    return _GEMMA.sub(lambda found: _call(found["name"], _gemma_json(found["arguments"])), answer)


def _call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def _gemma_json(arguments: str) -> str:
    """Arguments with bare keys, and texts between marks, as JSON."""
    pieces = _GEMMA_TEXT.split(arguments)
    return "".join(json.dumps(piece) if at % 2 else _KEY.sub(r'"\1":', piece) for at, piece in enumerate(pieces))
