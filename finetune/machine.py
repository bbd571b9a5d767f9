"""What this machine is, for records that are compared later."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("mlx", "mlx-lm", "transformers", "tokenizers")


def describe() -> dict[str, Any]:
    """Chip, cores, memory, versions and, on a Mac, where the power comes from: on a battery it may run slower."""
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "chip": _chip(),
        "memory_gb": _memory_gb(),
        "power": _power(),
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in _PACKAGES},
    }


def _chip() -> str | None:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        return next((value.strip() for name, _, value in lines if name.strip() in ("model name", "Model")), None)
    return _said("sysctl", "-n", "machdep.cpu.brand_string")


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (ValueError, OSError):
        return None


def _power() -> str | None:
    said = _said("pmset", "-g", "batt") if sys.platform == "darwin" else None
    return said.splitlines()[0].partition("'")[2].rstrip("'") if said else None


def _said(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
