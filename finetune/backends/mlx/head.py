"""The output head as a matrix: its logits, and those of single labels, in float32 whatever precision the model has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from finetune.backends.mlx.runtime import mx


def products(hidden: Any, rows: Any) -> Any:
    """hidden [tokens, size] @ rows [n, size].T in float32.

    In bfloat16 two logits between 16 and 32 are at least 0.125 apart. A label's own logit is not rounded, so its
    log-probability could be above 0.
    """
    return hidden.astype(mx.float32) @ rows.astype(mx.float32).T


def at_most_0(logprobs: Any, *operands: Any) -> Any:
    """Log-probabilities of a model in half precision: the label's own product, summed in another order, can differ in the
    last digit. In float32 they are as they are."""
    return logprobs if all(array.dtype == mx.float32 for array in operands) else mx.minimum(logprobs, 0.0)


@dataclass(frozen=True)
class Head:
    """An output head whose logits are ``bent(hidden @ rows(slice(None)).T, slice(None))``."""

    trunk: Any  # makes hidden [rows, length, size] of token ids [rows, length]
    vocabulary: int
    rows: Callable[[Any], Any]  # [n, size] float rows of the matrix, for a slice or an array of indices
    bias: Any | None = None  # [vocabulary]
    cap: float | None = None  # of cap * tanh(logits / cap)
    temperature: float = 1.0  # by which the logits are divided

    def logits(self, hidden: Any, piece: Any, index: slice) -> tuple[Any, Any]:
        """Of hidden [tokens, size], the logits [tokens, n] of the rows ``piece`` at ``index``, float32, and their slopes: how
        much they follow their products, None if wholly."""
        found = products(hidden, piece)
        return self.bent(found, index) if self.is_bent else (found, None)

    def of_labels(self, hidden: Any, labels: Any) -> tuple[Any, Any]:
        """For each of hidden [tokens, size] the logit [tokens] of its label, and the logit's gradient [tokens, size]."""
        rows = self.rows(labels).astype(mx.float32)
        products = (hidden.astype(mx.float32) * rows).sum(axis=-1)
        if not self.is_bent:
            return products, rows
        logits, slopes = self.bent(products, labels)
        return logits, rows * slopes[:, None]

    @property
    def is_bent(self) -> bool:
        """Whether the logits are more than the products; if not, their temperature is that of the hidden states."""
        return self.bias is not None or self.cap is not None

    def bent(self, products: Any, index: Any) -> tuple[Any, Any]:
        if self.bias is not None:
            products = products + self.bias[index].astype(mx.float32)
        if self.cap is None:
            return products / self.temperature, mx.full(products.shape, 1 / self.temperature)
        part = mx.tanh(products / self.cap)
        return part * (self.cap / self.temperature), (1.0 - part * part) / self.temperature
