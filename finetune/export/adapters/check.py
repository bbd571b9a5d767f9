"""The same adapter on both sides: the logits have to be the same, and not those of the base model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.backends.mlx.runtime import BLAS, ON_CPU, mx
from finetune.errors import UserError, first_line

# Of what float32 rounds in two libraries, models of 30 layers keep 1e-5 of the spread of their logits; this leaves room
# for deeper ones.
TOLERANCE = 1e-3
_VISIBLE = 10  # times more than the difference of the libraries is what an adapter has to change

_TEXTS = (
    "The capital of France is Paris, and the capital of Italy is",
    "SELECT name, COUNT(*) FROM pupils WHERE age > 12 GROUP BY name;\ndef double(n):\n    return 2 * n\nGrüße, naïve, 你好",
)


@dataclass(frozen=True)
class Agreement:
    """Largest differences of logits, as a share of their standard deviation."""

    difference: float  # of the adapted model, between the libraries
    base: float  # of the model without the adapter, between the libraries
    effect: float  # of the adapter, within a library

    def demand(self, changes_nothing: bool) -> None:
        """UserError (exit 3) where the two are not the same adapter, as far as this can be seen."""
        found = f"{self.difference:.1e} of their spread"
        if not self.base <= TOLERANCE:
            raise UserError(
                f"transformers and MLX do not compute the same with this base model: logits differ by {self.base:.1e}"
                f" of their spread without any adapter (allowed {TOLERANCE:.0e}): nothing is written",
                exit_code=3,
            )
        if not self.difference <= TOLERANCE:
            raise UserError(
                f"the converted adapter computes something else: logits differ by {found} (allowed {TOLERANCE:.0e}),"
                f" without it by {self.base:.1e}: nothing is written",
                exit_code=3,
            )
        if not changes_nothing and not self.effect >= _VISIBLE * self.difference:
            raise UserError(
                f"the adapter changes the logits by {self.effect:.1e} of their spread, the conversion by"
                f" {self.difference:.1e}: too little to tell whether it is right, nothing is written",
                exit_code=3,
            )


def prompts(folder: Path) -> list[list[int]]:
    """The token ids of some texts: words, SQL, code and other alphabets. UserError where there is no tokenizer."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: its tokenizer cannot be loaded: {first_line(error)}") from None
    return [list(tokenizer(text)["input_ids"]) for text in _TEXTS]


def load_torch(folder: Path) -> Any:
    """The network of transformers, in float32 on the CPU. UserError where it has none for this model."""
    import torch
    import transformers

    from finetune.backends.torch.model import as_trained

    if "quantization" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        raise UserError(f"{folder}: MLX has quantised this model, which transformers cannot load")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    load = transformers.AutoModelForCausalLM.from_pretrained
    try:
        network = load(folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, ImportError) as error:
        raise UserError(f"{folder}: transformers cannot load this model: {first_line(error)}") from None
    return as_trained(network).to("cpu").eval()


def compare(prompts: Sequence[Sequence[int]], model: Any, network: Any, switch: Callable[[Any], None]) -> Agreement:
    """PEFT's model against MLX's network with its ``switch``, each with the adapter and without it."""
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
    """[tokens of all prompts, vocabulary]"""
    import numpy as np
    import torch

    threads = torch.get_num_threads()
    if BLAS is not None:  # PyTorch calls it too; with its threads beside those of the BLAS it takes 8 times as long
        torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return np.concatenate([model(input_ids=torch.tensor([ids])).logits[0].numpy() for ids in prompts])
    finally:
        torch.set_num_threads(threads)


def _mlx_logits(network: Any, prompts: Sequence[Sequence[int]]) -> Any:
    import numpy as np

    mx.disable_compile()  # on the CPU it would call a compiler
    try:
        with mx.stream(mx.cpu):
            return np.concatenate([np.array(network(mx.array([ids]))[0]) for ids in prompts])
    finally:
        if not ON_CPU:
            mx.enable_compile()
