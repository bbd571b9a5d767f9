"""The check "fits": which models this machine can train, for each device that it has."""

from collections.abc import Iterator

from finetune.commands.doctor import capacity, pytorch
from finetune.commands.doctor.finding import Finding
from finetune.errors import UserError, first_line


def fits() -> Iterator[Finding]:
    """For MLX's device, and for PyTorch's if that is a GPU with memory of its own."""
    try:
        device = capacity.of_mlx()
    except (ImportError, UserError, RuntimeError, ValueError):  # mlx is a check of its own
        device = None
    if device:
        yield _measured("fits", device)
    if pytorch.has_cuda():
        yield _measured("fits on CUDA", capacity.of_cuda())


def _measured(name: str, device: capacity.Device) -> Finding:
    """The finding; a device whose memory another program holds cannot be measured, which is not a fault of the setup."""
    try:
        return capacity.finding(name, device)
    except RuntimeError as error:
        return Finding(name, "warn", f"cannot be measured: {first_line(error)}", "close other programs that use it")
