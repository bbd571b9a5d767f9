"""How large a model can be trained here, by the estimate that ``train.py --dry-run`` makes, for models of usual shapes.

Weights, adapters and the optimizer's state are counted to the byte, on models of which nothing is in memory. Running steps on
layers of eight billion parameters would take minutes, so what a step takes is a formula (``step_bytes``), checked
against such steps by ``benchmarks/doctor_sizes.py``.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.backends.interface import MemoryEstimate
from finetune.backends.memory_estimate import Probe, Sizes
from finetune.commands.doctor import pytorch
from finetune.commands.doctor.finding import Finding
from finetune.errors import UserError
from finetune.records import machine
from finetune.settings.config import TrainingConfig
from finetune.training import plan as planning

ROWS, TOKENS, RANK = 4, 256, 16  # of a batch; half of the tokens are learned
_BESIDE = 1.2  # what is under way beside what the layers keep, in layers
_UPDATE = 2.8  # bytes that an update takes for each byte it updates: gradient, new moments, new weight

# What a layer keeps for the way back, for each token: vectors of the hidden size, vectors of the intermediate size, rows of
# attention weights. In half precision MLX keeps the inputs of LoRA's matrices a second time in float32, and PyTorch what its
# norms compute in float32 and an input of its own for each of LoRA's matrices.
_MLX_KEEPS = {4: (7, 4, 1), 2: (19, 6, 1)}  # by the bytes of a number
_TORCH_KEEPS = {4: (7, 4, 0), 2: (13, 4, 0)}
_MLX_HEAD, _TORCH_HEAD = 0.16e9, 0.3e9  # bytes of the output head and the loss, which take a piece at a time


@dataclass(frozen=True)
class Shape:
    """A Llama of the sizes of a well known model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    tied: bool  # the output head is the matrix of the embeddings

    def write(self, folder: Path, bits: int | None) -> None:
        """The config.json of such a model without weights; ``bits``: quantised as MLX does it."""
        config: dict[str, Any] = {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_size,
            "intermediate_size": self.intermediate,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
            "rms_norm_eps": 1e-5,
        }
        if bits:
            config["quantization"] = {"group_size": 64, "bits": bits}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


LADDER = {
    "0.4B": Shape(960, 32, 15, 5, 64, 2560, 49152, True),  # SmolLM2 360M
    "1B": Shape(2048, 16, 32, 8, 64, 8192, 128256, True),  # Llama 3.2 1B
    "3B": Shape(3072, 28, 24, 8, 128, 8192, 128256, True),  # Llama 3.2 3B
    "8B": Shape(4096, 32, 32, 8, 128, 14336, 128256, False),  # Llama 3.1 8B
    "14B": Shape(5120, 48, 40, 8, 128, 13824, 152064, False),  # Qwen2.5 14B
    "32B": Shape(5120, 64, 40, 8, 128, 27648, 152064, False),  # Qwen2.5 32B
}


@dataclass(frozen=True)
class Kind:
    """A way to train: ``--fine-tune-type``, and the bits of a weight where it is quantised."""

    fine_tune_type: str
    bits: int | None = None


KINDS = {"whole": Kind("full"), "LoRA": Kind("lora"), "4-bit LoRA": Kind("lora", 4)}
_WIDTH = max(len(name) for name in KINDS)


@dataclass(frozen=True)
class Device:
    """What computes, with which backend, and the bytes it may use."""

    name: str
    probe: Probe
    precision: str
    itemsize: int  # bytes of a number in that precision
    memory: float
    keeps: tuple[int, int, int]
    head_bytes: float
    slow_quantised: bool = False


def fits() -> Iterator[Finding]:
    """For the device of MLX, and for PyTorch's where that is a GPU with memory of its own."""
    try:
        device = of_mlx()
    except (ImportError, UserError, RuntimeError, ValueError):  # mlx is a check of its own
        device = None
    if device:
        yield finding("fits", device)
    if pytorch.has_cuda():
        yield finding("fits on CUDA", of_cuda())


def finding(name: str, device: Device) -> Finding:
    needed = {kind: needed_gb(device, kind) for kind in KINDS}
    lines = [
        f"the largest models to train in {device.memory / 1e9:.1f} GB on {device.name} in {device.precision}, and what"
        f" the next would take; estimated for {ROWS} rows of {TOKENS} tokens, LoRA rank {RANK}:"
    ]
    largest = {}
    for kind, sizes in needed.items():
        fitting = [size for size, gb in sizes.items() if gb * 1e9 <= device.memory]
        largest[kind] = fitting[-1] if fitting else None
        lines.append(f"{kind:<{_WIDTH}}  {_said(device, kind, sizes, largest[kind])}")
    details = {
        "device": device.name,
        "precision": device.precision,
        "memory_gb": round(device.memory / 1e9, 1),
        "rows": ROWS,
        "tokens": TOKENS,
        "rank": RANK,
        "needed_gb": needed,
        "largest": largest,
        "too_slow": [kind for kind in KINDS if _too_slow(device, kind)],
    }
    if largest["LoRA"] or not needed["LoRA"]:
        return Finding(name, "ok", "\n".join(lines), details=details)
    remedy = "--model builtin with --batch-size 1 --grad-checkpoint, or a machine with more memory"
    return Finding(name, "warn", "\n".join(lines), remedy, details)


def _too_slow(device: Device, kind: str) -> bool:
    return bool(KINDS[kind].bits and device.slow_quantised)


def _said(device: Device, kind: str, sizes: dict[str, float], largest: str | None) -> str:
    if not sizes:
        return f"not with {device.name}"
    if _too_slow(device, kind):
        return "much too slow on a CPU"
    names = list(sizes)
    at = -1 if largest is None else names.index(largest)
    following = f"{names[at + 1]}: {sizes[names[at + 1]]:.0f} GB" if at + 1 < len(names) else "or more"
    return f"none ({following})" if largest is None else f"{largest:>4}, {sizes[largest]:.1f} GB ({following})"


def needed_gb(device: Device, kind: str) -> dict[str, float]:
    """Gigabytes that training takes, by the size of the model; empty where the backend does not train like this."""
    try:
        return {
            size: round(planning.needed_mb(footprint(device, shape, kind)) / 1e3, 1) for size, shape in LADDER.items()
        }
    except UserError:
        return {}


def footprint(device: Device, shape: Shape, kind: str) -> MemoryEstimate:
    """What ``backends.memory_estimate`` gives for a model of this shape. UserError if the backend does not train like this."""
    how = KINDS[kind]
    config = TrainingConfig(fine_tune_type=how.fine_tune_type, lora_rank=RANK, batch_size=ROWS)
    with tempfile.TemporaryDirectory() as folder:
        shape.write(Path(folder), how.bits)
        sizes = device.probe.sizes(Path(folder), config)
    layers, others = step_bytes(device, shape, sizes, trains_weights=how.fine_tune_type == "full")
    return MemoryEstimate(
        parameters=sizes.parameters,
        trainable=sizes.trainable,
        layers=sizes.layers,
        thinnest=sizes.thinnest,
        measured_layers=(),
        weights_mb=sizes.weights / 1e6,
        adapters_mb=sizes.adapters / 1e6,
        optimizer_mb=sizes.optimizer / 1e6,
        layers_mb=layers / 1e6,
        head_and_loss_mb=others / 1e6,
        seconds=0.0,
    )


def step_bytes(device: Device, shape: Shape, sizes: Sizes, trains_weights: bool) -> tuple[float, float]:
    """What a step with ``ROWS`` rows of ``TOKENS`` tokens takes above what is held: in the layers, and beside them.

    In float32 a layer keeps for each token about seven vectors of the hidden size (the inputs of its halves before and after
    the norm, queries, keys and values, what attention found), four of the intermediate size (gate, its activation, up, their
    product) and, on MLX, the weights of attention. Where the weights are trained, the update may take more than that.
    """
    hidden, intermediate, attention = device.keeps
    numbers = hidden * shape.hidden + intermediate * shape.intermediate + attention * shape.heads * TOKENS
    layer = float(ROWS * TOKENS * numbers * device.itemsize)
    layers = shape.layers * layer
    if trains_weights:
        layers = max(layers, _UPDATE * sizes.trainable * device.itemsize)
    return layers, _BESIDE * layer + device.head_bytes


def of_mlx() -> Device:
    from finetune.backends.mlx.memory_estimate import Probe as MlxProbe
    from finetune.backends.mlx.runtime import DTYPE, ON_CPU, mx

    memory = float(machine.memory_bytes()[0])
    if not ON_CPU:  # macOS keeps some of it for itself; a GPU of its own says what it has
        about = mx.device_info()
        known = (about.get(name) for name in ("max_recommended_working_set_size", "memory_size", "total_memory"))
        memory = min([memory, *(float(size) for size in known if size)])
    return Device(
        name="MLX",
        probe=MlxProbe(),
        precision=str(DTYPE).removeprefix("mlx.core."),
        itemsize=DTYPE.size,
        memory=memory,
        keeps=_MLX_KEEPS[DTYPE.size],
        head_bytes=_MLX_HEAD,
        slow_quantised=ON_CPU,
    )


def of_cuda() -> Device:
    from finetune.backends.torch.memory_estimate import Probe as TorchProbe
    from finetune.backends.torch.runtime import dtype, torch

    return Device(
        name="PyTorch",
        probe=TorchProbe(),
        precision=str(dtype()).removeprefix("torch."),
        itemsize=dtype().itemsize,
        memory=float(torch.cuda.get_device_properties(0).total_memory),
        keeps=_TORCH_KEEPS[dtype().itemsize],
        head_bytes=_TORCH_HEAD,
    )
