"""The machine and its software, for records that are compared later; and its memory."""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from finetune.records import mac

_PACKAGES = {
    "mlx.core": ("mlx", "mlx-lm"),
    "torch": ("torch", "accelerate", "peft", "trl"),
    "": ("transformers", "tokenizers"),
}

# not compared
_PASSING: dict[str, Any] = dict.fromkeys(("power", "power_mode", "thermal", "system", "gpu_cores"))


@dataclass(frozen=True)
class Machine:
    """The machine that computed, and the software that decides the last digits."""

    machine: str  # system, processor and cores
    python: str  # version of Python
    versions: Mapping[str, str]  # package -> version, of those that computed
    chip: str | None = None  # name of the processor
    memory_gb: float | None = None  # memory of the machine, in 10^9 bytes
    power: str | None = None  # a Mac's power source, "AC Power" or "Battery Power": on battery it can be slower
    system: str | None = None  # a Mac's version of macOS
    gpu_cores: int | None = None  # of a Mac
    power_mode: str | None = None  # of a Mac: automatic, low power or high power
    thermal: str | None = None  # of a Mac at that moment: nominal, or how far heat slows it down

    def computes_as(self, other: "Machine | None") -> bool:
        """Whether both give the same last digits, whatever the power and the heat. Older records have no version of macOS."""
        if other is None or (self.system and other.system and self.system != other.system):
            return False
        return replace(self, **_PASSING) == replace(other, **_PASSING)


def describe() -> Machine:
    """This machine, with the versions of those packages that are loaded."""
    return Machine(
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        python=sys.version.split()[0],
        versions=_versions(),
        chip=_chip(),
        memory_gb=_memory_gb(),
        power=_power(),
        system=mac.system(),
        gpu_cores=mac.gpu_cores(),
        power_mode=mac.power_mode(),
        thermal=mac.thermal_state(),
    )


def _versions() -> dict[str, str]:
    found = {}
    for module, names in _PACKAGES.items():
        if not module or module in sys.modules:  # only a backend that is loaded computes
            for name in names:
                with suppress(PackageNotFoundError):  # PyTorch alone converts pickled weights, without trl and peft
                    found[name] = version(name)
    return found


def _chip() -> str | None:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        return next((value.strip() for name, _, value in lines if name.strip() in ("model name", "Model")), None)
    return mac.chip()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (ValueError, OSError):
        return None


def _power() -> str | None:
    if sys.platform != "darwin":
        return None
    import psutil

    battery = psutil.sensors_battery()
    return "AC Power" if battery is None or battery.power_plugged else "Battery Power"


def memory_bytes(root: Path = Path("/")) -> tuple[int, int]:
    """Bytes that this process can use in all, and bytes of them that are free: of the machine, or of its control group if less.

    OSError if the system does not report them. ``root`` is the folder of proc/ and sys/.
    """
    if sys.platform == "darwin":
        import psutil

        memory = psutil.virtual_memory()
        return memory.total, memory.available
    try:
        lines = (line.split() for line in (root / "proc/meminfo").read_text().splitlines())
        kilobytes = {words[0]: int(words[1]) for words in lines}
        total, available = kilobytes["MemTotal:"] * 1024, kilobytes["MemAvailable:"] * 1024
        for limit, used in _control_groups(root):
            total, available = min(total, limit), min(available, max(0, limit - used))
    except (LookupError, ValueError) as error:
        raise OSError(f"the system does not report its memory: {error}") from None
    return total, available


def _control_groups(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use, in bytes, of each control group that this process is in: cgroup v2 and v1."""
    group_list = root / "proc/self/cgroup"
    for line in group_list.read_text().splitlines() if group_list.exists() else ():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            base, limit_file, use_file, cache = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit_file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
            use_file, cache = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        parts = Path(group.lstrip("/")).parts
        for depth in range(len(parts) + 1):
            folder = root.joinpath(base, *parts[:depth])
            limit, used = _read(folder / limit_file), _read(folder / use_file)
            if limit.isdigit() and used.isdigit():
                stat = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
                yield int(limit), int(used) - int(stat.get(cache, 0))  # cached files can be dropped


def _read(path: Path) -> str:
    """The file's text; empty if it cannot be read: inside a container the outer groups cannot be seen."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
