"""Compute backends and their speed, memory and disk space."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from finetune.backends import chosen_by_auto
from finetune.commands.doctor import pytorch
from finetune.commands.doctor.finding import Finding, Status
from finetune.errors import UserError
from finetune.models.find import cache_dir
from finetune.records import mac, machine
from finetune.settings import environment

_EMULATES = ("Apple M1", "Apple M2")
_SLOW = 15  # GFLOP/s a core in float32: reference BLAS gives about 5, OpenBLAS on a CPU with AVX2 or NEON 20 to 150
_NEED_MEMORY = 2e9  # bytes that training the builtin model takes, about
_LITTLE_DISK, _NO_DISK = 5e9, 500e6


def mlx() -> Iterator[Finding]:
    try:
        from finetune.backends.mlx.matmul_rate import matmul_rate
        from finetune.backends.mlx.runtime import BLAS, ON_CPU, SLOW_BLAS_REMEDY, cores, describe
    except (RuntimeError, ValueError) as error:  # no device that it can use, or a variable that a library cannot read
        yield Finding("mlx", "fail", str(error), "make setup")
        return
    rate = matmul_rate()
    found = describe().removesuffix(f" ({SLOW_BLAS_REMEDY})")
    if not ON_CPU:
        found = f"{found}; {rate:,.0f} GFLOP/s"
        chip = machine.describe().chip or ""
        if chip.startswith(_EMULATES) and environment.precision() is None:
            found += (
                f". An {' '.join(chip.split()[:2])} emulates bfloat16: {environment.PRECISION}=float16 makes answers faster, by"
                " a fifth to a third, and refuses a model whose numbers are too large for it; training stays in bfloat16"
            )
        yield Finding("mlx", "ok", found)
        return
    found = f"{found}; {rate:,.0f} GFLOP/s, {rate / cores():.0f} a core"
    if rate / cores() >= _SLOW:
        yield Finding("mlx", "ok", found)
    elif sys.platform == "linux" and BLAS is None:
        yield Finding("mlx", "warn", found, SLOW_BLAS_REMEDY)
    else:
        remedy = "stop other programs that use the CPU, or set FINETUNE_BLAS to another BLAS library"
        yield Finding("mlx", "warn", f"{found}: slow", remedy)


def backend() -> Iterator[Finding]:
    """What --backend auto chooses on this machine."""
    try:
        name, why = chosen_by_auto()
    except pytorch.BROKEN as error:  # PyTorch's, or MLX's: checks of their own
        remedy = "fix the problem above, or use --backend mlx"
        yield Finding("backend", "warn", f"--backend auto cannot choose: {pytorch.reason(error)}", remedy)
        return
    yield Finding("backend", "ok", f"--backend auto chooses {name}: {why}")


def memory() -> Iterator[Finding]:
    total, available = machine.memory_bytes()
    found = f"{total / 1e9:.1f} GB{_as_sold(total)}, {available / 1e9:.1f} free{_of_metal()}"
    if available < _NEED_MEMORY:
        yield Finding("memory", "warn", found, "close other programs, or use --batch-size 1 --grad-checkpoint")
    else:
        yield Finding("memory", "ok", found)


def _as_sold(total: float) -> str:
    """A Mac "with 16 GB" has 16 * 2^30 bytes."""
    return f" ({total / 2**30:.0f} GiB)" if sys.platform == "darwin" else ""


def _of_metal() -> str:
    """What a Mac's GPU may use of it, and who has set that."""
    if sys.platform != "darwin":
        return ""
    try:
        from finetune.backends.mlx.memory import device_memory
    except (ImportError, UserError, RuntimeError, ValueError):  # mlx is a check of its own
        return ""
    device = device_memory()
    if not device.owner:
        return ""
    limit = mac.wired_limit_mb()
    set_by = f"iogpu.wired_limit_mb={limit}" if limit else "for more: sudo sysctl iogpu.wired_limit_mb=MEGABYTES"
    return f"; {device.owner} {device.total / 1e9:.1f} GB ({set_by})"


def disk() -> Iterator[Finding]:
    """Free space in the folders that the scripts write to; each file system once."""
    from finetune.commands.doctor.sources import hub_cache

    places = {"this folder": Path.cwd(), "converted models": cache_dir(), "the Hub's cache": hub_cache()}
    unwritable = []
    rooms: dict[int, tuple[int, list[str]]] = {}
    for name, place in places.items():
        there = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists())
        if not (there.is_dir() and os.access(there, os.W_OK)):
            unwritable.append(name)
        free = shutil.disk_usage(there).free
        rooms.setdefault(there.stat().st_dev, (free, []))[1].append(name)
    found = "; ".join(f"{free / 1e9:.1f} GB free for {', '.join(names)}" for free, names in rooms.values())
    least = min(free for free, _ in rooms.values())
    if unwritable:
        found += f"; not writable: {', '.join(unwritable)}"
    status: Status = "fail" if unwritable or least < _NO_DISK else "warn" if least < _LITTLE_DISK else "ok"
    remedy = "free disk space (see python -m finetune models), or point HF_HOME and FINETUNE_CACHE elsewhere"
    yield Finding("disk", status, found, "" if status == "ok" else remedy)
