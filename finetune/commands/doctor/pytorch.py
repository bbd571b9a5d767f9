"""PyTorch, which only --backend torch needs: its build, its device, and the packages on top of it."""

import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

from finetune.commands.doctor.finding import Finding
from finetune.commands.doctor.software import REQUIREMENTS, compared

TORCH_REQUIREMENTS = REQUIREMENTS.with_name("requirements-torch.txt")
_SHOWN = ("trl", "peft", "accelerate")
_AGAIN = "rm -f .venv/.setup-torch ; make setup-torch"  # that file says that all is there
# what an import of PyTorch, or of a package on top of it, may raise where half of it is there
BROKEN = (ImportError, OSError, RuntimeError, AttributeError, ValueError)


@dataclass(frozen=True)
class Build:
    """What PyTorch was built for, and what it can use on this machine."""

    version: str
    cuda: str | None  # the version of CUDA that it was built for
    device: str  # to be shown: "CUDA (NVIDIA H100, 85.0 GB)", "MPS", "CPU"
    on_cuda: bool = False
    precision: str | None = None  # of the weights; None where --backend torch is not wholly installed


def torch() -> Iterator[Finding]:
    """Imported only if it is installed: the import takes a while."""
    if not is_installed():
        found = "not installed (optional); make setup-torch installs it for --backend torch"
        yield Finding("torch", "ok", found)
        return
    try:
        built = look()
    except BROKEN as error:
        remedy = f"python -m pip uninstall torch ; {_AGAIN}"
        yield Finding("torch", "warn", f"installed, but cannot be imported: {reason(error)}", remedy)
        return
    with_it = [f"{name} {version(name)}" for name in _SHOWN if find_spec(name)]
    found = f"PyTorch {', '.join(filter(None, [built.version, built.device, built.precision, *with_it]))}"
    problem, remedy = _of_build(built)
    differs = compared(TORCH_REQUIREMENTS).said if TORCH_REQUIREMENTS.is_file() else ""
    if differs:
        found, remedy = f"{found}; differs from requirements-torch.txt: {differs}", remedy or _AGAIN
    elif with_it:
        found += ", as in requirements-torch.txt"
    yield Finding("torch", "warn" if remedy else "ok", found + problem, remedy)


def _of_build(built: Build) -> tuple[str, str]:
    """What is wrong with the build on this machine, and the remedy; both empty if nothing is."""
    if built.on_cuda:
        return "", ""
    if built.cuda:
        update = "update the NVIDIA driver, or " if sees_gpu() else ""
        problem = f"; built for CUDA {built.cuda}, but it finds no usable GPU"
        return problem, f"{update}make setup-torch TORCH=cpu"
    if sees_gpu():
        return "; this build cannot use the NVIDIA GPU of this machine", "make setup-torch TORCH=cuda"
    return "", ""


def reason(error: BaseException) -> str:
    """Why an import failed, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def is_installed() -> bool:
    return find_spec("torch") is not None


def has_cuda() -> bool:
    """Whether --backend torch can use an NVIDIA GPU; ``torch`` reports a broken installation."""
    try:
        return is_installed() and look().on_cuda and look().precision is not None
    except BROKEN:
        return False


def look() -> Build:
    """Import PyTorch. Raises one of ``BROKEN`` if that fails."""
    import torch

    with warnings.catch_warnings():  # a driver that is too old is said to be on stderr; here it has a remedy
        warnings.simplefilter("ignore")
        on_cuda, on_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    device = "MPS" if on_mps else "CPU"
    if on_cuda:
        about = torch.cuda.get_device_properties(0)
        device = f"CUDA ({about.name}, {about.total_memory / 1e9:.1f} GB)"
    precision = None
    if find_spec("transformers") and find_spec("accelerate"):
        from finetune.backends.torch import runtime

        precision = str(runtime.dtype()).removeprefix("torch.")
    return Build(torch.__version__, torch.version.cuda, device, on_cuda, precision)


def sees_gpu() -> bool:
    """Whether the NVIDIA driver finds a GPU, whether or not PyTorch can use it."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "GPU" in done.stdout
