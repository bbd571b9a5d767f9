"""What a device lets a run have: of Metal, of CUDA and of the CPU; and what decides by it."""

import math
import os
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.backends import load_backend
from finetune.backends.interface import DeviceMemory, MemoryEstimate
from finetune.errors import UserError
from finetune.records import machine
from finetune.training import plan, run

mlx = load_backend("mlx")

from finetune.backends.mlx import memory, runtime  # noqa: E402

GB = 10**9
# a Mac with 16 GiB
METAL = {"device_name": "Apple M4", "memory_size": 16 << 30, "max_recommended_working_set_size": 11 * GB}
CUDA = {"device_name": "NVIDIA H200", "total_memory": 150 * GB, "free_memory": 100 * GB}
ESTIMATE = MemoryEstimate(100, 10, 2, 8, (2,), 4000.0, 10.0, 20.0, 3000.0, 1000.0, 1.0)


def fake_mx(about: dict[str, Any], *, active: int = GB, cache: int = 0, peak: int = 0) -> Any:
    return SimpleNamespace(
        device_info=lambda: about,
        get_active_memory=lambda: active,
        get_cache_memory=lambda: cache,
        get_peak_memory=lambda: peak,
        synchronize=lambda: None,
    )


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    def on_gpu(about: dict[str, Any], free: float = 13 * GB, **held: int) -> None:
        monkeypatch.setattr(memory, "ON_CPU", False)
        monkeypatch.setattr(memory, "CACHE_LIMIT", 2 * GB)
        monkeypatch.setattr(memory, "mx", fake_mx(about, **held))
        monkeypatch.setattr(machine, "memory_bytes", lambda: (16 << 30, free))

    return on_gpu


@pytest.mark.parametrize(
    "about, free, total, left, owner",
    [
        (METAL, 13 * GB, 11 * GB, 10 * GB, "Metal may use"),  # of which this process has 1 GB
        (METAL, 5 * GB, 11 * GB, 5 * GB, "Metal may use"),  # other programs have the rest
        (CUDA, 5 * GB, 150 * GB, 100 * GB, "this GPU has"),  # the memory of the host is another one
        ({}, 5 * GB, 16 << 30, 5 * GB, ""),
    ],
    ids=["Metal", "Metal beside others", "CUDA", "says nothing"],
)
def test_a_gpu_has_its_own_limit(on_gpu: Any, about: Any, free: float, total: float, left: float, owner: str) -> None:
    on_gpu(about, free)
    found = mlx.device_memory()
    assert (found.total, found.free, found.owner) == (total, left, owner)


def test_the_cpu_has_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_bytes", lambda: (8 * GB, 3 * GB))
    assert mlx.device_memory() == DeviceMemory(8 * GB, 3 * GB)

    def silent() -> tuple[int, int]:
        raise OSError("says nothing")

    monkeypatch.setattr(machine, "memory_bytes", silent)
    assert mlx.device_memory() == DeviceMemory(math.inf, math.inf)


def test_what_mlx_keeps_for_reuse_is_part_of_the_plan(on_gpu: Any) -> None:
    on_gpu(METAL)
    device = mlx.device_memory()
    assert device.kept(ESTIMATE) == 2 * GB  # its limit; a step frees 4 GB
    small = replace(ESTIMATE, layers_mb=300.0, head_and_loss_mb=200.0)
    assert device.kept(small) == 0.5 * GB
    large = replace(ESTIMATE, weights_mb=5920.0)
    assert device.kept(large) == pytest.approx(0.5 * GB)  # above 95 % of Metal's limit MLX gives it back
    assert plan.needed_mb(ESTIMATE, device) == plan.needed_mb(ESTIMATE, DeviceMemory(GB, GB)) + 2000


def test_a_run_that_metal_has_no_room_for_is_refused_before_it_begins(on_gpu: Any) -> None:
    on_gpu(METAL)
    with pytest.raises(UserError, match=r"12\.0 GB before the first step, and Metal may use 11\.0 GB"):
        run._check_memory(12_000.0, mlx.device_memory())
    run._check_memory(10_000.0, mlx.device_memory())


def test_the_peak_of_a_gpu_counts_what_is_kept(on_gpu: Any) -> None:
    on_gpu(METAL, active=3 * GB, cache=2 * GB, peak=4 * GB)
    assert mlx.peak_memory_mb() == 5000.0 and mlx.memory_mb()["peak"] == 4000.0
    on_gpu(METAL, active=GB, cache=2 * GB, peak=4 * GB)
    assert mlx.peak_memory_mb() == 4000.0


def test_only_the_cpu_looks_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "MLX_BFS_MAX_WIDTH"
    monkeypatch.delenv(name, raising=False)
    runtime._look_ahead(on_cpu=False)
    assert name not in os.environ
    runtime._look_ahead(on_cpu=True)
    assert os.environ[name] == "400"
    monkeypatch.setenv(name, "30")
    runtime._look_ahead(on_cpu=True)
    assert os.environ[name] == "30"


@pytest.mark.parametrize(
    "system, about, said", [("darwin", METAL, "on Metal (Apple M4), "), ("linux", CUDA, "on CUDA (NVIDIA H200), ")]
)
def test_the_device_has_a_plain_name(monkeypatch: pytest.MonkeyPatch, system: str, about: Any, said: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(runtime, "ON_CPU", False)
    monkeypatch.setattr(runtime, "mx", fake_mx(about))
    assert said in runtime.describe()


def test_processes_that_mpi_starts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLX_RANK", raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    assert mlx.is_leader()
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"--backend mpi: not supported \(use --backend ring"):
        mlx.is_leader()
    monkeypatch.setenv("MLX_RANK", "1")
    assert not mlx.is_leader()
