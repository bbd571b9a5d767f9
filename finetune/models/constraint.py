"""What may come next in an answer that cannot be any text: the interface between a grammar and the backends."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np


class Constraint(Protocol):
    """One answer under way."""

    def allowed(self) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """Which tokens [vocabulary] can come next; those that end the answer among them if it can end here."""

    def accept(self, token: int) -> None:
        """The next token, one of those that can come, was chosen; it does not end the answer."""


Restrict = Callable[[int], Constraint]  # index of a conversation -> what its answer may be, from the beginning


def allowed_rows(
    constraints: Sequence[Constraint | None], vocabulary: int, stops: frozenset[int]
) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which tokens can come next in each of several answers: [answers, vocabulary]. None: the answer has ended, anything.

    ``vocabulary`` is that of the logits, which can be larger than the tokenizer's. An answer that nothing can follow ends.
    """
    import numpy as np

    found = np.ones((len(constraints), vocabulary), np.bool_)
    for row, constraint in zip(found, constraints, strict=True):
        if constraint is None:
            continue
        mask = constraint.allowed()[:vocabulary]
        row[len(mask) :] = False
        row[: len(mask)] = mask
        if not row.any():
            row[[token for token in stops if token < vocabulary]] = True
    return found
