"""The schema as a grammar takes it: what only the score or the prompt knows is said in other words, or left out."""

from finetune.tasks.extract.schema import Node

_DIGITS = {"%d": r"\d{1,2}", "%m": r"\d{1,2}", "%Y": r"\d{4}"}
_MONTHS = "January February March April May June July August September October November December".split()


def grammar_schema(node: Node) -> dict[str, object]:
    """The JSON schema for the grammar: the form of dates becomes a pattern."""
    found = node.as_schema()
    found.pop("x-date-form", None)
    if node.date_form:
        found["pattern"] = _pattern(node.date_form)
    if "object" in node.types:
        found["properties"] = {name: grammar_schema(one) for name, one in node.properties.items()}
    if node.items is not None:
        found["items"] = grammar_schema(node.items)
    return found


def _pattern(form: str) -> str:
    words = {"%B": f"({'|'.join(_MONTHS)})", "%b": f"({'|'.join(month[:3] for month in _MONTHS)})"}
    text = form.replace(".", r"\.")
    for mark, pattern in (_DIGITS | words).items():
        text = text.replace(mark, pattern)
    return f"^{text}$"
