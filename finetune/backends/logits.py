"""Whether MLX and transformers compute the same logits with one model, both in float32 on the CPU.

Transformers computes in a process of its own (``python -m finetune.backends.logits``): PyTorch and MLX each bring a BLAS, and
two copies of a large model at once would need twice the memory.
"""

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from finetune.errors import UserError
from finetune.models import child, config_files, conversion, tokenizer
from finetune.models.foreign import foreign
from finetune.records import machine
from finetune.terminal import format_bytes

# In standard deviations of the logits. Rounding in float32 differs between the libraries by 1e-5 for models of 30 layers.
SAME = 1e-3
# What approximations of the same function make of it, such as GELU by tanh and by erf. Another function, such as another RoPE,
# makes 1 or more.
CLOSE = 3e-2
_OF_SIZE = 5e-3  # of the size of logits: how much of them is rounding at most
_ROOM = 0.8  # of the free memory that a model in float32 may take
_SECONDS, _BYTES_A_SECOND = 600, 20_000_000

TEXTS = (
    "The capital of France is Paris, and the capital of Italy is",
    "SELECT name, COUNT(*) FROM pupils WHERE age > 12 GROUP BY name;\ndef double(n):\n    return 2 * n\nGrüße, naïve, 你好",
)


@dataclass(frozen=True)
class Agreement:
    """``difference`` is the largest between logits, in standard deviations of them; None if they were not compared.

    ``said`` is a sentence for people, ``why`` the reason, as a clause, if they were not compared.
    """

    difference: float | None
    why: str = ""

    @property
    def verdict(self) -> Literal["same", "close", "different", "not compared"]:
        if self.difference is None:
            return "not compared"
        return "same" if self.difference <= SAME else "close" if self.difference <= CLOSE else "different"

    @property
    def said(self) -> str:
        if self.difference is None:
            return f"logits not compared with transformers': {self.why}"
        about = {
            "same": "MLX computes the logits that transformers computes",
            "close": "MLX computes the logits that transformers computes, but for an approximation of one of them",
            "different": "MLX and transformers compute different logits with this model",
        }
        return f"{about[self.verdict]}: the largest difference is {self.difference:.1e} standard deviations"


def prompts(folder: Path) -> list[list[int]]:
    """The token ids of texts with words, SQL, code and other alphabets, without those that the model does not know.

    UserError if the tokenizer cannot be loaded.
    """
    loaded = tokenizer.load(folder)
    known = config_files.vocabulary(folder)
    return [[token for token in loaded(text)["input_ids"] if known is None or token < known] for text in TEXTS]


def compare(folder: Path) -> Agreement:
    """Compare the logits of a model's folder in the two libraries. UserError if MLX cannot load it."""
    if find_spec("torch") is None:
        return Agreement(None, "PyTorch is not installed (make setup-torch)")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "quantization" in config:
        return Agreement(None, "the model is quantised by MLX, which transformers cannot load")
    needed, free = 4 * _numbers(folder), _free()
    if free is not None and needed > _ROOM * free:
        return Agreement(None, f"in float32 it takes {format_bytes(needed)}, and {format_bytes(free)} are free")
    ids = prompts(folder)
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "logits.npy"
        if why := _by_transformers(folder, ids, path, needed):
            return Agreement(None, why)
        return Agreement(_difference(folder, ids, path))


def _difference(folder: Path, ids: Sequence[Sequence[int]], path: Path) -> float:
    import numpy as np

    from finetune.backends.mlx.model import load_network
    from finetune.backends.mlx.runtime import mx

    network = load_network(folder, mx.float32)
    network.eval()
    ours, theirs = mlx_logits(network, ids), np.load(path, mmap_mode="r")
    if ours.shape[1] > theirs.shape[1]:  # a vocabulary that is padded in one of them
        ours = ours[:, : theirs.shape[1]]
    return largest(ours, theirs[:, : ours.shape[1]])


def largest(one: Any, other: Any) -> float:
    """The largest difference between two arrays of logits, in standard deviations of the second; infinite if one is not
    finite. Where logits are nearly all the same, their size counts: what then differs is rounding."""
    import numpy as np

    size = float(np.sqrt(np.mean(np.square(other, dtype=np.float64))))
    found = float(np.abs(one - other).max()) / max(float(np.std(other)), _OF_SIZE * size, 1e-30)
    return found if found == found else float("inf")


def mlx_logits(network: Any, ids: Sequence[Sequence[int]]) -> Any:
    """float32[tokens of all prompts, vocabulary]"""
    import numpy as np

    from finetune.backends.mlx.runtime import ON_CPU, mx

    mx.disable_compile()  # on the CPU it would start a C++ compiler
    try:
        with mx.stream(mx.cpu):
            return np.concatenate([np.array(network(mx.array([each]))[0].astype(mx.float32)) for each in ids])
    finally:
        if not ON_CPU:
            mx.enable_compile()


def _free() -> int | None:
    with suppress(OSError):  # a system that does not say it
        return machine.memory_bytes()[1]
    return None


def _numbers(folder: Path) -> int:
    """How many numbers the weights have."""
    from safetensors import safe_open

    count = 0
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count


def _by_transformers(folder: Path, ids: Sequence[Sequence[int]], path: Path, needed: int) -> str:
    """Have the process write transformers' logits to ``path``; why it cannot, or "" if it did."""
    limits = {"seconds": _SECONDS + needed // _BYTES_A_SECOND, "memory": 8 * 10**9 + 3 * needed}
    try:
        return str(child.run(__name__, {"folder": str(folder), "ids": ids, "path": str(path)}, **limits))
    except child.Ended as ended:
        return f"transformers {ended}"
    except RuntimeError:
        return "PyTorch or transformers cannot be imported (make setup-torch)"


def _answer(request: Mapping[str, Any]) -> str:
    """In the process: "" if the logits are written, else why transformers cannot compute them."""
    import numpy as np
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        with foreign("transformers cannot load this model"):
            load = transformers.AutoModelForCausalLM.from_pretrained
            network = load(request["folder"], dtype=torch.float32, local_files_only=True, trust_remote_code=False)
            network = network.eval()
            with torch.no_grad():
                found = [network(input_ids=torch.tensor([ids])).logits[0].float().numpy() for ids in request["ids"]]
    except UserError as error:
        return str(error)
    np.save(request["path"], np.concatenate(found))
    return ""


def after_conversion(folder: Path) -> Agreement | None:
    """``compare`` for a model in the cache of conversions, once: the record of the conversion keeps the result.

    None if it is not a converted model, or was compared before.
    """
    if conversion.read_record(folder) is None or conversion.was_compared(folder):
        return None
    found = compare(folder)
    if found.difference is not None:
        conversion.note_comparison(folder, found.difference)
    return found


if __name__ == "__main__":
    import torch  # noqa: F401  before the limit of memory: the libraries take much of it
    import transformers  # noqa: F401

    child.answer(_answer)
