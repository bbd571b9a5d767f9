"""Compares the logits of MLX and PEFT with the same adapter: they must agree, and differ from the base model's."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.backends import logits
from finetune.backends.mlx.runtime import BLAS
from finetune.errors import UserError
from finetune.models.foreign import foreign

TOLERANCE = logits.SAME  # standard deviations of the logits
_MOST_NEW = 64
_VISIBLE = 10  # the adapter must change the logits this many times more than the conversion does


@dataclass(frozen=True)
class Agreement:
    """Largest differences between logits, in standard deviations of the logits.

    ``difference`` is that between the libraries with the adapter, ``base`` that without it. ``effect`` is the difference that
    the adapter makes within a library, and ``change`` how far that is another one in the other library. What the libraries
    compute differently without any adapter, such as GELU by erf and by tanh, cancels in it.
    """

    difference: float
    base: float
    effect: float
    change: float

    def demand(self, *, changes_nothing: bool) -> None:
        """UserError (exit 3) unless both sides are the same adapter, as far as the logits can tell."""
        if not self.base <= logits.CLOSE:
            raise UserError(
                f"transformers and MLX compute different logits with this base model: without any adapter they differ by"
                f" {self.base:.1e} standard deviations (allowed: {logits.CLOSE:.0e}). Nothing was written",
                exit_code=3,
            )
        if not self.change <= max(TOLERANCE, self.base):
            raise UserError(
                f"the converted adapter computes something else: what it changes in the logits differs by {self.change:.1e}"
                f" standard deviations (allowed: {max(TOLERANCE, self.base):.0e}). Nothing was written",
                exit_code=3,
            )
        if not changes_nothing and not self.effect >= _VISIBLE * self.change:
            raise UserError(
                f"the adapter changes the logits by only {self.effect:.1e} standard deviations, the conversion by"
                f" {self.change:.1e}: too little to tell whether the conversion is right. Nothing was written",
                exit_code=3,
            )


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
    with foreign(f"{folder}: transformers cannot load this model"):
        network = load(folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False)
    return as_trained(network).to("cpu").eval()


def compare(
    prompts: Sequence[Sequence[int]],
    model: Any,
    network: Any,
    switch: Callable[[Any], None],
    new: Sequence[int] = (),
) -> Agreement:
    """Compare the logits of PEFT's ``model`` and MLX's ``network``, each with and without its adapter.

    ``prompts`` are token ids; ``switch`` attaches and disables the adapter of the MLX network. ``new`` are the ids of tokens
    that only the adapter has.
    """
    import numpy as np

    with model.disable_adapter():
        torch_base = _torch_logits(model, prompts)
    torch_tuned = _torch_logits(model, prompts)
    switch("disabled")
    mlx_base = logits.mlx_logits(network, prompts)
    switch("attached")
    mlx_tuned = logits.mlx_logits(network, prompts)
    if torch_tuned.shape != mlx_tuned.shape:
        raise UserError(f"transformers gives {torch_tuned.shape[1]} logits, MLX {mlx_tuned.shape[1]}", exit_code=3)
    known = mlx_base.shape[1]  # of the others a base model knows nothing
    of_new = 0.0
    if new:
        prompt = [[*new[:_MOST_NEW]]]
        of_new = float(np.abs(_torch_logits(model, prompt) - logits.mlx_logits(network, prompt)).max())
    of_new = max(of_new, float(np.abs(torch_tuned[:, known:] - mlx_tuned[:, known:]).max(initial=0.0)))
    torch_base, torch_tuned, mlx_tuned = (array[:, :known] for array in (torch_base, torch_tuned, mlx_tuned))
    spread = float(np.std(torch_base))

    def largest(x: Any, y: Any) -> float:
        return float(np.abs(x - y).max()) / spread

    effect = min(largest(torch_tuned, torch_base), largest(mlx_tuned, mlx_base))
    change = max(largest(torch_tuned - torch_base, mlx_tuned - mlx_base), of_new / spread)
    return Agreement(largest(torch_tuned, mlx_tuned), largest(torch_base, mlx_base), effect, change)


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
