"""Memory as PyTorch counts it on CUDA and MPS; on the CPU, which PyTorch does not count, the growth of the process."""

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path

from finetune.backends.estimate import DeviceMemory, of_machine
from finetune.backends.torch.runtime import device, torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def device_memory() -> DeviceMemory:
    """Bytes that this process may have on the device that computes, and those of them that are free."""
    kind, machine = device().type, of_machine()
    if kind == "cuda":
        free, total = torch.cuda.mem_get_info(device())
        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return DeviceMemory(float(total), float(free + kept), "this GPU has")
    if kind == "mps":
        total = min(machine.total, float(torch.mps.recommended_max_memory()))
        free = min(machine.free, total - torch.mps.current_allocated_memory())
        return DeviceMemory(total, max(0.0, free), "Metal may use")
    return machine


def memory_mb() -> dict[str, float]:
    """What is held now, has been held at once at most since the last reset, and is kept for reuse, in 10^6 bytes."""
    kind = device().type
    if kind == "cuda":
        active, peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
        return {"active": active / 1e6, "peak": peak / 1e6, "cache": (torch.cuda.memory_reserved() - active) / 1e6}
    if kind == "mps":  # keeps no record of its peak
        active, reserved = torch.mps.current_allocated_memory(), torch.mps.driver_allocated_memory()
        return {"active": active / 1e6, "peak": max(active, reserved) / 1e6, "cache": max(0, reserved - active) / 1e6}
    active_mb, peak_mb = _resident_mb()
    return {"active": max(0.0, active_mb - _BASE_MB), "peak": max(0.0, peak_mb - _BASE_MB), "cache": 0.0}


def peak_memory_mb() -> float:
    """Most memory that was held at once since the last reset, in 10^6 bytes."""
    return memory_mb()["peak"]


def reset_peak_memory() -> None:
    """Forget the peak, and free what is kept for reuse."""
    gc.collect()
    if device().type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif device().type == "mps":
        torch.mps.empty_cache()
    elif sys.platform == "linux":
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)
        with suppress(OSError):  # if this is forbidden, the peak is that of the whole process so far
            _CLEAR.write_text("5")  # proc(5): sets the peak to what is resident now


def _resident_mb() -> tuple[float, float]:
    """Resident memory of this process, now and at its peak."""
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        return tuple(int(lines[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
    import resource

    import psutil

    return psutil.Process().memory_info().rss / 1e6, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


_BASE_MB = _resident_mb()[0]  # Python and its packages, before any model
