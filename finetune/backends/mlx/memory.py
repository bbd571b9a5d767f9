"""What MLX holds, and what its device lets it have.

On a GPU MLX keeps what is freed for arrays of about the same size, up to a limit, and counts it apart from what is held: other
programs see the sum. Metal has a limit of its own, two thirds to three quarters of a Mac's memory.
"""

from finetune.backends.estimate import DeviceMemory, of_machine
from finetune.backends.mlx.runtime import CACHE_LIMIT, ON_CPU, mx

_GIVEN_BACK = 0.95  # of Metal's limit: above, MLX gives back what it keeps (MetalAllocator)


def device_memory() -> DeviceMemory:
    """Bytes that this process may have on the device that computes, and those of them that are free."""
    machine = of_machine()
    if ON_CPU:
        return machine
    about = mx.device_info()
    held, cached = mx.get_active_memory(), mx.get_cache_memory()
    if limit := about.get("max_recommended_working_set_size"):  # Metal: part of the machine's memory
        total = min(machine.total, float(limit))
        free = min(machine.free + cached, total - held)
        return DeviceMemory(total, max(0.0, free), "Metal may use", float(CACHE_LIMIT), _GIVEN_BACK * total)
    if own := about.get("total_memory"):  # CUDA: memory of its own
        free = float(about.get("free_memory", own)) + cached
        return DeviceMemory(float(own), free, "this GPU has", float(CACHE_LIMIT), float(own))
    return machine


def memory_mb() -> dict[str, float]:
    """What MLX holds now, has held at once at most since the last reset, and keeps for reuse, in 10^6 bytes."""
    _wait()
    return {
        "active": mx.get_active_memory() / 1e6,
        "peak": mx.get_peak_memory() / 1e6,
        "cache": mx.get_cache_memory() / 1e6,
    }


def peak_memory_mb() -> float:
    """The most memory that MLX has had at once since the last reset, in 10^6 bytes: held then, or held and kept now."""
    _wait()
    return max(float(mx.get_peak_memory()), float(mx.get_active_memory() + mx.get_cache_memory())) / 1e6


def reset_peak_memory() -> None:
    """Forget the peak, and free what is kept for reuse."""
    _wait()
    mx.clear_cache()
    mx.reset_peak_memory()


def _wait() -> None:
    """A GPU frees arrays when it has finished the work that needs them: a figure taken before depends on the moment."""
    if not ON_CPU:
        mx.synchronize()
