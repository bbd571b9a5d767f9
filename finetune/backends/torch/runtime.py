"""The device and the precision that PyTorch computes with, chosen once."""

import atexit
import os
import warnings
from functools import cache
from importlib.metadata import version
from typing import Any

os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import accelerate
import torch
import transformers

from finetune.errors import UserError
from finetune.settings import environment

Tensors = dict[str, Any]  # PyTorch tensors by name

__all__ = ["Tensors", "describe", "device", "dtype", "is_leader", "processes", "quiet", "torch"]


def quiet() -> None:
    """Silence the libraries' progress bars and advice, which would stand between our own lines; errors are still raised."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module=r"(transformers|trl|peft|accelerate|torch)\b")


@cache
def device() -> Any:
    """CUDA before MPS before the CPU; of several processes that ``accelerate launch`` started, each has its own.

    UserError if FINETUNE_DEVICE asks for a GPU and there is none.
    """
    wanted = environment.device()
    state = accelerate.PartialState(cpu=wanted == "cpu")
    if wanted == "gpu" and state.device.type == "cpu":
        raise UserError(f"{environment.DEVICE}=gpu: PyTorch has no GPU here (unset it, or set it to cpu)")
    if state.num_processes > 1:  # else the threads of their connection, still at work, abort a process that ends first
        atexit.register(_leave)
    return state.device if state.num_processes > 1 or state.device.type != "cuda" else torch.device("cuda", 0)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_leader() -> bool:
    """Whether this process is the one, of several, that writes files and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def processes() -> int:
    """How many processes train this model together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@cache
def dtype() -> Any:
    """What the weights are held in: float32 on the CPU; else the first of bfloat16, float16, float32 that works."""
    if device().type == "cpu":  # half precision is emulated there, on most chips
        return torch.float32
    wanted = [torch.bfloat16, *([torch.float16] if device().type == "cuda" else [])]  # MPS has no loss scaling
    return next((kind for kind in wanted if _multiplies(kind)), torch.float32)


def _multiplies(kind: Any) -> bool:
    """Whether the device multiplies matrices of this type natively and with the right result."""
    if (
        kind is torch.bfloat16
        and device().type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        return False
    a = torch.linspace(-1, 1, 64 * 64, device="cpu").reshape(64, 64)  # also where others make theirs on the meta device
    try:
        found = (a.to(device(), kind) @ a.to(device(), kind)).float().cpu()
    except (RuntimeError, TypeError):  # how PyTorch says that a device has no such operation
        return False
    return bool(torch.allclose(found, a @ a, rtol=0.02, atol=0.2))


def describe() -> str:
    """One line for the terminal: versions, device and precision."""
    names = {"cuda": "CUDA", "mps": "Metal (MPS)", "cpu": f"the CPU ({torch.get_num_threads()} threads)"}
    where = names.get(device().type, device().type)
    if device().type == "cuda":
        where += f" ({torch.cuda.get_device_name(device())})"
    several = f", {processes()} processes" if processes() > 1 else ""
    packages = ", ".join(f"{name} {version(package)}" for name, package in (("TRL", "trl"), ("PEFT", "peft")))
    return f"PyTorch {version('torch')} on {where}{several}, {str(dtype()).removeprefix('torch.')}; {packages}"
