"""Text that somebody typed and that looks like a special token of the model."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class Controls:
    """Finds in a message what must not become a control token.

    That is special tokens, added tokens that the template writes, and private-use characters.
    """

    def __init__(self, added: Iterable[Any], template: str):
        found: dict[str, list[str]] = defaultdict(list)
        for token in added:
            if (token.special or token.content in template) and token.content.strip():
                found[token.content[:1]].append(token.content)
        self._by_first = {first: tuple(contents) for first, contents in found.items()}
        # one pattern of all tokens would try each of Gemma's 6,242 at every "<"
        self._first = re.compile("[\ue000-\uf8ff" + re.escape("".join(self._by_first)) + "]")

    def occur_in(self, text: str) -> bool:
        return any(
            text.startswith(self._by_first.get(found[0], found[0]), found.start())
            for found in self._first.finditer(text)
        )


def texts_in(value: object) -> Iterator[str]:
    """The texts in messages or tools, however deeply nested; not the names of fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(inner)


def names_in(value: object) -> Iterator[str]:
    """The names of fields in messages or tools."""
    if isinstance(value, Mapping):
        yield from map(str, value)
    if isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from names_in(inner)
