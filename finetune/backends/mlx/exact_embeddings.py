"""Embeddings that are trained whole, of a model in half precision: the matrix is float32, and all around it stays as it is.

A step of a usual learning rate is smaller than the distance of two neighbours in bfloat16: most weights would never move.
If what is looked up were float32 too, all layers after it would compute in float32.
"""

from typing import Any

from finetune.backends.mlx.head import products
from finetune.backends.mlx.runtime import mx

import mlx.nn as nn  # isort: skip  after the runtime


def kept_exact(module: Any) -> Any:
    """A table or a linear head that computes in the precision which its matrix has now, whatever that becomes."""
    if module.weight.dtype != mx.float32:
        module.__class__ = ExactEmbedding if isinstance(module, nn.Embedding) else ExactLinear
        module.computes_in = module.weight.dtype
    return module


class ExactEmbedding(nn.Embedding):
    computes_in: Any

    def __call__(self, x: Any) -> Any:
        return self.weight[x].astype(self.computes_in)

    def as_linear(self, x: Any) -> Any:
        return self.logits(x)

    def logits(self, x: Any) -> Any:
        """x [..., size] -> [..., vocabulary]"""
        return x @ self.weight.astype(self.computes_in).T


class ExactLinear(nn.Linear):
    computes_in: Any

    def __call__(self, x: Any) -> Any:
        return self.logits(x)

    def logits(self, x: Any) -> Any:
        """x [..., size] -> [..., vocabulary]"""
        logits = x @ self.weight.astype(self.computes_in).T
        return logits + self.bias.astype(self.computes_in) if "bias" in self else logits


EXACT = (ExactEmbedding, ExactLinear)


def exact_logits(module: Any, hidden: Any) -> Any:
    """hidden [..., size] -> logits [..., vocabulary] of such a module, not rounded."""
    logits = products(hidden, module.weight.astype(module.computes_in))
    return logits + module.bias.astype(mx.float32) if "bias" in module else logits
