"""YAML in a text, compared as values: keys are in any order. Scalars must be the same in type and text, so 3.10 is not 3.1."""

from typing import Any

_LONGEST = 20_000  # characters
_Value = tuple[str, Any]  # tag, and what has it


def same(expected: str, found: str) -> bool:
    """Whether two texts are YAML with the same values; False if one is not YAML, or has anchors or a key twice."""
    values = [_value(text) for text in (expected, found)]
    return values[0] is not None and values[0] == values[1]


def _value(text: str) -> _Value | None:
    """What the text holds, as nested tuples, sets and lists; None if it is not a mapping or list without anchors."""
    import yaml

    if len(text) > _LONGEST or "&" in text or "*" in text:  # an anchor can make much of little
        return None
    try:
        root = yaml.compose(text.expandtabs(4), Loader=yaml.SafeLoader)
        return None if root is None or isinstance(root, yaml.ScalarNode) else _plain(root)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _plain(node: Any) -> _Value:
    """The value of a node. ValueError if a key is there twice."""
    if node.id == "scalar":
        return node.tag, node.value
    if node.id == "sequence":
        return node.tag, [_plain(one) for one in node.value]
    found: dict[str, _Value] = {}
    for key, value in node.value:
        if (name := str(_plain(key))) in found:
            raise ValueError(name)
        found[name] = _plain(value)
    return node.tag, found
