"""Compares the logits of MLX and PEFT with the same adapter: they must agree, and differ from the base model's."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.backends.mlx.runtime import BLAS, ON_CPU, mx
from finetune.errors import UserError, first_line
from finetune.records.plain_path import plain_path

# In standard deviations of the logits. Rounding in float32 differs between the libraries by 1e-5 for models of 30 layers;
# this leaves room for deeper ones.
TOLERANCE = 1e-3
_VISIBLE = 10  # the adapter must change the logits this many times more than the libraries differ

_TEXTS = (
    "The capital of France is Paris, and the capital of Italy is",
    "SELECT name, COUNT(*) FROM pupils WHERE age > 12 GROUP BY name;\ndef double(n):\n    return 2 * n\nGrüße, naïve, 你好",
)


@dataclass(frozen=True)
class Agreement:
    """Largest differences between logits, in standard deviations of the logits.

    ``difference`` is that between the libraries with the adapter, ``base`` that without it, and ``effect`` is the difference
    that the adapter makes within a library.
    """

    difference: float
    base: float
    effect: float

    def demand(self, *, changes_nothing: bool) -> None:
        """UserError (exit 3) unless both sides are the same adapter, as far as the logits can tell."""
        if not self.base <= TOLERANCE:
            raise UserError(
                f"transformers and MLX compute different logits with this base model: without any adapter they differ by"
                f" {self.base:.1e} standard deviations (allowed: {TOLERANCE:.0e}). Nothing was written",
                exit_code=3,
            )
        if not self.difference <= TOLERANCE:
            raise UserError(
                f"the converted adapter computes something else: logits differ by {self.difference:.1e} standard deviations"
                f" (allowed: {TOLERANCE:.0e}; without the adapter: {self.base:.1e}). Nothing was written",
                exit_code=3,
            )
        if not changes_nothing and not self.effect >= _VISIBLE * self.difference:
            raise UserError(
                f"the adapter changes the logits by only {self.effect:.1e} standard deviations, the conversion by"
                f" {self.difference:.1e}: too little to tell whether the conversion is right. Nothing was written",
                exit_code=3,
            )


def prompts(folder: Path) -> list[list[int]]:
    """The token ids of texts with words, SQL, code and other alphabets. UserError if the tokenizer cannot be loaded."""
    from transformers import AutoTokenizer

    try:
        with plain_path(folder) as plain:
            tokenizer = AutoTokenizer.from_pretrained(plain, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: its tokenizer cannot be loaded: {first_line(error)}") from None
    return [list(tokenizer(text)["input_ids"]) for text in _TEXTS]


def load_torch(folder: Path) -> Any:
    """The model in transformers, in float32 on the CPU. UserError if transformers cannot load it."""
    import torch
    import transformers

    from finetune.backends.torch.model import as_trained

    if "quantization" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        raise UserError(f"{folder}: a model quantised by MLX, which transformers cannot load (use the original model)")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    load = transformers.AutoModelForCausalLM.from_pretrained
    try:
        network = load(folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, ImportError) as error:
        raise UserError(f"{folder}: transformers cannot load this model: {first_line(error)}") from None
    return as_trained(network).to("cpu").eval()


def compare(prompts: Sequence[Sequence[int]], model: Any, network: Any, switch: Callable[[Any], None]) -> Agreement:
    """Compare the logits of PEFT's ``model`` and MLX's ``network``, each with and without its adapter.

    ``prompts`` are token ids; ``switch`` attaches and disables the adapter of the MLX network.
    """
    import numpy as np

    with model.disable_adapter():
        torch_base = _torch_logits(model, prompts)
    torch_tuned = _torch_logits(model, prompts)
    switch("disabled")
    mlx_base = _mlx_logits(network, prompts)
    switch("attached")
    mlx_tuned = _mlx_logits(network, prompts)
    if torch_tuned.shape != mlx_tuned.shape:
        raise UserError(f"transformers gives {torch_tuned.shape[1]} logits, MLX {mlx_tuned.shape[1]}", exit_code=3)
    spread = float(np.std(torch_base))

    def largest(x: Any, y: Any) -> float:
        return float(np.abs(x - y).max()) / spread

    effect = min(largest(torch_tuned, torch_base), largest(mlx_tuned, mlx_base))
    return Agreement(largest(torch_tuned, mlx_tuned), largest(torch_base, mlx_base), effect)


def _torch_logits(model: Any, prompts: Sequence[Sequence[int]]) -> Any:
    """float32[tokens of all prompts, vocabulary]"""
    import numpy as np
    import torch

    threads = torch.get_num_threads()
    if BLAS is not None:  # PyTorch calls it too, and its own threads beside those of the BLAS make it 8 times slower
        torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return np.concatenate([model(input_ids=torch.tensor([ids])).logits[0].numpy() for ids in prompts])
    finally:
        torch.set_num_threads(threads)


def _mlx_logits(network: Any, prompts: Sequence[Sequence[int]]) -> Any:
    import numpy as np

    mx.disable_compile()  # on the CPU it would start a C++ compiler
    try:
        with mx.stream(mx.cpu):
            return np.concatenate([np.array(network(mx.array([ids]))[0]) for ids in prompts])
    finally:
        if not ON_CPU:
            mx.enable_compile()
