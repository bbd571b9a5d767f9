"""What a Mac says of itself, by its own commands; None for what it does not say, and on every other system."""

import ctypes
import platform
import re
import subprocess
import sys

_FOOTPRINT = 9  # of the 64-bit words of rusage_info_v0 (sys/resource.h)
_MODES = {"0": "automatic", "1": "low power", "2": "high power"}


def system() -> str | None:
    """Name and version of the system."""
    version = platform.mac_ver()[0] if sys.platform == "darwin" else ""
    return f"macOS {version}" if version else None


def chip() -> str | None:
    """Name of the processor."""
    return said("sysctl", "-n", "machdep.cpu.brand_string").strip() or None


def gpu_cores() -> int | None:
    found = re.search(r'"gpu-core-count" = (\d+)', _of_mac("ioreg", "-r", "-d", "1", "-c", "IOAccelerator"))
    return int(found[1]) if found else None


def power_mode() -> str | None:
    """automatic, low power or high power."""
    settings = _of_mac("pmset", "-g")
    found = re.search(r"^\s*powermode\s+(\d)", settings, re.M) or re.search(r"^\s*lowpowermode\s+(\d)", settings, re.M)
    return _MODES.get(found[1]) if found else None


def thermal_state() -> str | None:
    """Whether the machine is slowed down because it is hot: "nominal", or the limit of the processor's speed."""
    told = _of_mac("pmset", "-g", "therm")
    if found := re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", told):
        return "nominal" if int(found[1]) >= 100 else f"processor at {found[1]} %"
    if found := re.search(r"thermal warning level\D*(\d+)", told, re.I):
        return f"warning level {found[1]}"
    return "nominal" if "No thermal warning level" in told else None


def wired_limit_mb() -> int | None:
    """Megabytes that a GPU's work may keep in memory, if somebody has set them (sysctl iogpu.wired_limit_mb); 0 if not."""
    text = _of_mac("sysctl", "-n", "iogpu.wired_limit_mb").strip()
    return int(text) if text.isdigit() else None


def footprint(process: int) -> int | None:
    """Bytes that a process takes as the Activity Monitor counts them: with what is compressed and what the GPU has."""
    if sys.platform != "darwin":
        return None
    try:
        call = ctypes.CDLL(None).proc_pid_rusage
    except (OSError, AttributeError):
        return None
    words = (ctypes.c_uint64 * 12)()
    return int(words[_FOOTPRINT]) if call(process, 0, ctypes.byref(words)) == 0 else None


def _of_mac(*command: str) -> str:
    return said(*command) if sys.platform == "darwin" else ""


def said(*command: str) -> str:
    """What a command prints; empty if there is none, or it does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=5).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
