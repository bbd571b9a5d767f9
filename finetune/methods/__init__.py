"""How a model learns: a method is a source of batches and a loss. The backend owns the loop."""

from finetune.methods.base import Method
from finetune.methods.sft import SFT

METHODS: dict[str, Method] = {method.name: method for method in (SFT,)}

__all__ = ["METHODS", "Method"]
