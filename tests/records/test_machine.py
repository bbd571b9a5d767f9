"""The machine in a record: what counts when a run is resumed elsewhere."""

import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from types import ModuleType, SimpleNamespace

from finetune.records import mac, machine
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


SAID = {
    ("sysctl", "-n", "machdep.cpu.brand_string"): "Apple M4 Pro\n",
    ("ioreg", "-r", "-d", "1", "-c", "IOAccelerator"): '+-o AGXAcceleratorG16X\n  {\n    "gpu-core-count" = 20\n  }\n',
    ("pmset", "-g"): "Currently in use:\n standby              1\n lowpowermode         1\n",
    ("pmset", "-g", "therm"): "Note: No thermal warning level has been recorded\n",
    ("sysctl", "-n", "iogpu.wired_limit_mb"): "12000\n",
}


def test_what_a_mac_says_of_itself(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(mac.platform, "mac_ver", lambda: ("15.3", ("", "", ""), "arm64"))
    monkeypatch.setattr(mac, "said", lambda *command: SAID.get(command, ""))
    found = (mac.system(), mac.chip(), mac.gpu_cores(), mac.power_mode(), mac.thermal_state(), mac.wired_limit_mb())
    assert found == ("macOS 15.3", "Apple M4 Pro", 20, "low power", "nominal", 12000)
    monkeypatch.setitem(SAID, ("pmset", "-g"), " powermode            2\n")
    monkeypatch.setitem(SAID, ("pmset", "-g", "therm"), "CPU_Scheduler_Limit \t= 100\nCPU_Speed_Limit \t= 68\n")
    assert (mac.power_mode(), mac.thermal_state()) == ("high power", "processor at 68 %")
    monkeypatch.setattr(mac, "said", lambda *command: "")
    found = (mac.chip(), mac.gpu_cores(), mac.power_mode(), mac.thermal_state(), mac.wired_limit_mb())
    assert found == (None,) * 5
    monkeypatch.setattr(sys, "platform", "linux")
    assert mac.system() is None and mac.footprint(1) is None


def test_heat_and_mode_do_not_change_the_last_digits_but_macos_may() -> None:
    here = replace(HERE, system="macOS 15.3", gpu_cores=20, power_mode="automatic", thermal="nominal")
    assert here.computes_as(replace(here, power_mode="low power", thermal="warning level 1"))
    assert here.computes_as(HERE) and HERE.computes_as(here)  # of an older version, which kept neither
    assert not here.computes_as(replace(here, system="macOS 26.0"))


def test_the_footprint_of_a_process_on_a_mac(monkeypatch) -> None:
    def proc_pid_rusage(process: int, kind: int, words: object) -> int:
        words._obj[9] = 5 * 10**9  # type: ignore[attr-defined]
        return 0 if process else -1

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(mac.ctypes, "CDLL", lambda name: SimpleNamespace(proc_pid_rusage=proc_pid_rusage))
    assert mac.footprint(7) == 5 * 10**9 and mac.footprint(0) is None
    monkeypatch.setattr(mac.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert mac.footprint(7) is None


def test_a_command_that_is_not_there_says_nothing() -> None:
    assert mac.said("no-such-command-of-any-system") == "" and mac.said("echo", "hello") == "hello\n"
