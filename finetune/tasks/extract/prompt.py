"""The system message: which fields the model is to extract."""

from collections.abc import Iterator

from finetune.tasks.extract.fits import shown, worded
from finetune.tasks.extract.schema import Node

_FIRST = "Extract these fields from the text. Answer with one JSON object and nothing else."
_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
}
_FORMATS = {"date": "date as YYYY-MM-DD", "date-time": "time as YYYY-MM-DDThh:mm:ssZ", "time": "time as hh:mm:ss"}
_FORMATS |= {"email": "email address", "uuid": "UUID"}


def system_message(root: Node) -> str:
    """The system message for objects of a schema."""
    return "\n".join([_FIRST, *_lines(root, "")])


def _lines(node: Node, indent: str) -> Iterator[str]:
    for name, one in node.properties.items():
        absent = "" if name in node.required else "; left out if the text does not say it"
        about = f" ({one.description})" if one.description else ""
        yield f"{indent}- {name}: {kind_of(one)}{absent}{about}"
        inner = one.items if one.items and "array" in one.types else one
        if inner.properties:
            yield from _lines(inner, indent + "  ")


def kind_of(node: Node) -> str:
    """What a value may be, in words: "whole number", "one of "a", "b", or null", "list of texts"."""
    if node.enum:
        values = [shown(value) for value in node.enum if value is not None]
        kind = f"one of {', '.join(values)}" if len(values) > 1 else "".join(values)
        return f"{kind}, or null" if None in node.enum else kind
    kinds = [_one(node, kind) for kind in node.main]
    return " or ".join(kinds) + (", or null" if node.nullable else "") if kinds else "null"


def _one(node: Node, kind: str) -> str:
    if kind == "array":
        return f"list of {_plural(node.items)}" if node.items else "list"
    if kind == "string" and node.format:
        return _FORMATS[node.format]
    if kind == "string" and node.date_form:
        return f"date as {worded(node.date_form)}"
    limit = ""
    if kind in ("integer", "number"):
        bounds = [(node.limits.get("minimum"), "at least"), (node.limits.get("maximum"), "at most")]
        limit = "".join(f", {word} {value}" for value, word in bounds if value is not None)
    return _WORDS[kind] + limit


def _plural(node: Node) -> str:
    kind = kind_of(node)
    plain = {"text": "texts", "whole number": "whole numbers", "number": "numbers", "object": "objects"}
    return plain.get(kind, f"values, each {kind}")
