"""How large a model can be trained here: the estimate of ``train.py --dry-run``, for models of usual shapes.

Weights, adapters and optimizer state are counted. What a step takes on top is measured and extrapolated as ``--dry-run`` does
it, but on very small models: each differs from the first in one size, and memory grows linearly with these sizes.
"""

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from finetune.backends.interface import DeviceMemory, MemoryEstimate
from finetune.backends.memory_estimate import MeasuredSteps, Probe, StepEstimate, extrapolate
from finetune.commands.doctor.finding import Finding
from finetune.errors import UserError
from finetune.methods import METHODS
from finetune.models.examples import TrainingRow
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig
from finetune.training import plan as planning

ROWS, TOKENS, RANK = 4, 256, 16  # of a batch; half of the tokens are learned


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
    tied: bool = field(kw_only=True)  # the output head is the matrix of the embeddings

    @property
    def sizes(self) -> list[float]:
        """What the memory of a step is linear in."""
        return [self.hidden, self.intermediate, self.heads * self.head_size, self.heads, 1.0]

    @contextmanager
    def folder(self, bits: int | None = None) -> Iterator[Path]:
        """A folder with the config.json of such a model, without weights; ``bits``: quantised as MLX does it."""
        config: dict[str, object] = {
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
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
            yield folder


LADDER = {
    "0.4B": Shape(960, 32, 15, 5, 64, 2560, 49152, tied=True),  # SmolLM2 360M
    "1B": Shape(2048, 16, 32, 8, 64, 8192, 128256, tied=True),  # Llama 3.2 1B
    "3B": Shape(3072, 28, 24, 8, 128, 8192, 128256, tied=True),  # Llama 3.2 3B
    "8B": Shape(4096, 32, 32, 8, 128, 14336, 128256, tied=False),  # Llama 3.1 8B
    "14B": Shape(5120, 48, 40, 8, 128, 13824, 152064, tied=False),  # Qwen2.5 14B
    "32B": Shape(5120, 64, 40, 8, 128, 27648, 152064, tied=False),  # Qwen2.5 32B
}


@dataclass(frozen=True)
class Kind:
    """A way to train: ``--fine-tune-type``, and the bits per weight if the model is quantised."""

    fine_tune_type: str
    bits: int | None = None


KINDS = {"whole": Kind("full"), "LoRA": Kind("lora"), "4-bit LoRA": Kind("lora", 4)}
_WIDTH = max(len(name) for name in KINDS)
_TRAINED = 4  # bytes of a number that is trained: float32 on every device


_SMALL = Shape(128, 3, 4, 2, 32, 384, 512, tied=True)
_SMALL_SHAPES = (  # as many as there are sizes
    _SMALL,
    replace(_SMALL, hidden=256),
    replace(_SMALL, intermediate=768),
    replace(_SMALL, head_size=64),
    replace(_SMALL, heads=8, kv_heads=4, head_size=16),
)
_VOCABULARIES = (32768, 65536)  # the loss takes a piece of the tokens at a time, so a larger one takes little more
_LAYERS = (1, 3)  # of the models that are measured


@dataclass(frozen=True)
class Device:
    """What computes, with which backend, and the memory it may use."""

    name: str
    probe: Probe
    precision: str
    memory: DeviceMemory
    slow_quantised: bool = False


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a step with ``ROWS`` rows of ``TOKENS`` tokens above what is held between steps."""

    layer: Sequence[float]  # activations of a layer, for each of ``Shape.sizes``
    rest: Sequence[float]  # the same of what is beside the layers, with a small vocabulary
    head: tuple[float, float]  # output head and loss, by ``_VOCABULARIES``; in between and above, linear
    update: float  # of the optimizer's update, for each byte that is trained

    def of(self, shape: Shape, trained: float) -> StepEstimate:
        """A step on a model of this shape; ``trained``: bytes of weights that are trained, 0 for adapters alone."""
        layer, rest = (_dot(per_size, shape.sizes) for per_size in (self.layer, self.rest))
        (less, more), (small, large) = self.head, _VOCABULARIES
        head = less + (more - less) * max(0, shape.vocabulary - small) / (large - small)
        return StepEstimate(max(shape.layers * layer, self.update * trained), max(rest, head), 0.0)


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def measured(probe: Probe) -> StepMemory:
    """Run steps on very small models: a few seconds. UserError if the backend cannot."""
    import numpy as np

    steps = [_step(probe, shape, _config("lora"), _rows(ROWS, TOKENS)) for shape in _SMALL_SHAPES]
    sizes = np.array([shape.sizes for shape in _SMALL_SHAPES])
    narrow = replace(_SMALL, hidden=64, intermediate=64)
    less, more = (
        _step(probe, replace(narrow, vocabulary=size), _config("lora"), _rows(ROWS, TOKENS), whole=True).head_and_loss
        for size in _VOCABULARIES
    )
    # so few tokens that the update is all
    config = replace(_config("full"), batch_size=1)
    whole = _step(probe, _SMALL, config, _rows(1, 8))
    return StepMemory(
        layer=np.linalg.solve(sizes, [step.layers / _SMALL.layers for step in steps]).tolist(),
        rest=np.linalg.solve(sizes, [step.head_and_loss for step in steps]).tolist(),
        head=(less, more),
        update=whole.layers / _SMALL.layers / (_TRAINED * _numbers_of_a_layer(probe)),
    )


def _numbers_of_a_layer(probe: Probe) -> float:
    counts = []
    for layers in _LAYERS:
        with replace(_SMALL, layers=layers).folder() as folder:
            counts.append(probe.sizes(folder, _config("lora")).parameters)
    return (counts[1] - counts[0]) / (_LAYERS[1] - _LAYERS[0])


def _step(
    probe: Probe, shape: Shape, config: TrainingConfig, rows: Sequence[TrainingRow], *, whole: bool = False
) -> StepEstimate:
    method, runs = METHODS["sft"], []
    with shape.folder() as folder:
        for layers in _LAYERS[:1] if whole else _LAYERS:
            runs.append(probe.measured(folder, method, config, layers, MeasuredSteps(method, rows, rows, config)))
        sizes = probe.sizes(folder, config)
    return extrapolate(runs, sizes, sizes.layers, whole=whole)


def _config(fine_tune_type: str) -> TrainingConfig:
    return TrainingConfig(fine_tune_type=fine_tune_type, lora_rank=RANK, batch_size=ROWS)


def _rows(count: int, tokens: int) -> list[TrainingRow]:
    """Rows of so many tokens to predict; the second half is learned."""
    example = Example([1 + at % 500 for at in range(tokens + 1)], [at > tokens / 2 for at in range(tokens + 1)])
    return [TrainingRow(line, {}, (example,)) for line in range(1, count + 1)]


def finding(name: str, device: Device) -> Finding:
    step = measured(device.probe)
    needed = {kind: needed_gb(device, step, kind) for kind in KINDS}
    found = (
        f"approximate largest models that can be trained in {device.memory.total / 1e9:.1f} GB on {device.name}"
        f" in {device.precision};"
        f" in parentheses, what the next size would need (batch of {ROWS} rows of {TOKENS} tokens, LoRA rank {RANK}):"
    )
    largest, lines = {}, []
    for kind, sizes in needed.items():
        fitting = [size for size, gb in sizes.items() if gb * 1e9 <= device.memory.total]
        largest[kind] = fitting[-1] if fitting else None
        lines.append(f"{kind:<{_WIDTH}}  {_largest_text(device, kind, sizes, largest[kind])}")
    details = {
        "device": device.name,
        "precision": device.precision,
        "memory_gb": round(device.memory.total / 1e9, 1),
        "rows": ROWS,
        "tokens": TOKENS,
        "rank": RANK,
        "needed_gb": needed,
        "largest": largest,
        "too_slow": [kind for kind in KINDS if _too_slow(device, kind)],
    }
    if largest["LoRA"] or not needed["LoRA"]:
        return Finding(name, "ok", found, details=details, more=lines)
    remedy = "use --model builtin with --batch-size 1 --grad-checkpoint, or a machine with more memory"
    return Finding(name, "warn", found, remedy, details, more=lines)


def _too_slow(device: Device, kind: str) -> bool:
    return bool(KINDS[kind].bits and device.slow_quantised)


def _largest_text(device: Device, kind: str, sizes: dict[str, float], largest: str | None) -> str:
    if not sizes:
        return f"not supported by {device.name}"
    if _too_slow(device, kind):
        return "much too slow on a CPU"
    names = list(sizes)
    at = -1 if largest is None else names.index(largest)
    following = f"{names[at + 1]}: {sizes[names[at + 1]]:.0f} GB" if at + 1 < len(names) else "or more"
    return f"none ({following})" if largest is None else f"{largest:>4}, {sizes[largest]:.1f} GB ({following})"


def needed_gb(device: Device, step: StepMemory, kind: str) -> dict[str, float]:
    """Gigabytes that training takes, by the size of the model; empty if the backend does not train in this way."""
    try:
        estimates = {size: estimate(device, step, shape, KINDS[kind]) for size, shape in LADDER.items()}
    except UserError:
        return {}
    return {size: round(planning.needed_mb(found, device.memory) / 1e3, 1) for size, found in estimates.items()}


def estimate(device: Device, step: StepMemory, shape: Shape, kind: Kind) -> MemoryEstimate:
    """Memory for a model of this shape. UserError if the backend does not train in this way."""
    with shape.folder(kind.bits) as folder:
        sizes = device.probe.sizes(folder, _config(kind.fine_tune_type))
    found = step.of(shape, sizes.trainable * _TRAINED if kind.fine_tune_type == "full" else 0)
    return MemoryEstimate(
        parameters=sizes.parameters,
        trainable=sizes.trainable,
        layers=sizes.layers,
        thinnest=sizes.thinnest,
        measured_layers=_LAYERS,
        weights_mb=sizes.weights / 1e6,
        adapters_mb=sizes.adapters / 1e6,
        optimizer_mb=sizes.optimizer / 1e6,
        layers_mb=found.layers / 1e6,
        head_and_loss_mb=found.head_and_loss / 1e6,
        seconds=0.0,
    )


def of_mlx() -> Device:
    from finetune.backends.mlx.memory import device_memory
    from finetune.backends.mlx.memory_estimate import Probe as MlxProbe
    from finetune.backends.mlx.runtime import DTYPE, ON_CPU

    if math.isinf((memory := device_memory()).total):
        raise OSError("the system does not report its memory")
    return Device(
        name="MLX",
        probe=MlxProbe(),
        precision=str(DTYPE).removeprefix("mlx.core."),
        memory=memory,
        slow_quantised=ON_CPU,
    )


def of_cuda() -> Device:
    from finetune.backends.torch.memory import device_memory
    from finetune.backends.torch.memory_estimate import Probe as TorchProbe
    from finetune.backends.torch.runtime import dtype

    return Device(
        name="PyTorch",
        probe=TorchProbe(),
        precision=str(dtype()).removeprefix("torch."),
        memory=device_memory(),
    )
