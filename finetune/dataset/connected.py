"""Values that are connected: through a row that has both, or through a chain of such rows."""

from array import array
from collections.abc import Iterable
from itertools import groupby


def tops(count: int, links: Iterable[tuple[bytes, int]]) -> Iterable[int]:
    """Of each number from 0 to ``count`` one that stands for all that it is connected with.

    A link is a key and a number; those with one key stand together, and are connected.
    """
    above = array("q", range(count + 1))

    def top(value: int) -> int:
        while (higher := above[value]) != value:
            above[value] = above[higher]
            value = higher
        return value

    for _, together in groupby(links, key=lambda link: link[0]):
        first, *others = (top(number) for _, number in together)
        for other in others:
            above[top(other)] = top(first)
    return map(top, range(count + 1))
