"""The machine in a record: what counts when a run is resumed elsewhere."""

import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from types import ModuleType

from finetune.records import machine
from finetune.records.machine import Machine

HERE = Machine("Linux x86_64, 2 cores", "3.11.7", {"mlx": "0.32"}, chip="EPYC", memory_gb=25.3, power="AC Power")


def test_power_source_does_not_change_the_last_digits() -> None:
    assert HERE.computes_as(replace(HERE, power="Battery Power"))
    assert not HERE.computes_as(replace(HERE, versions={"mlx": "0.33"})) and not HERE.computes_as(None)


def test_package_that_is_not_installed_has_no_version(monkeypatch) -> None:
    def version(name: str) -> str:
        if name in ("accelerate", "peft", "trl"):
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    monkeypatch.setattr(machine, "version", version)
    found = machine.describe().versions
    assert found["torch"] == "1.0" and not found.keys() & {"accelerate", "peft", "trl"}


def test_mac_tells_its_memory_and_power(monkeypatch) -> None:
    import psutil

    memory = type("Memory", (), {"total": 16, "available": 9})
    battery = type("Battery", (), {"power_plugged": False})
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    assert machine.memory_bytes() == (16, 9) and machine.describe().power == "Battery Power"
