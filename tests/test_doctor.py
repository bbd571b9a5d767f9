"""python -m finetune doctor: as a process, with the real Hub client and a Hub on loopback; single checks on real folders."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import machine
from finetune.doctor import hardware, software, sources
from finetune.doctor.command import CHECKS
from finetune.models import DEFAULT_MODEL, builtin
from loopback_hub import EXPIRED_TOKEN, GOOD_TOKEN, LoopbackHub

ROOT = Path(__file__).parents[1]
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """doctor(*flags, **environment): the process when it has ended. It sees no token of ours."""

    def run(*flags: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        variables |= {"HF_HOME": str(tmp_path / "hf"), "FINETUNE_CACHE": str(tmp_path / "cache")}
        path = os.pathsep.join(filter(None, [environment.pop("PYTHONPATH", ""), str(ROOT)]))
        done = subprocess.run(
            [sys.executable, "-m", "finetune", "doctor", *flags],
            cwd=tmp_path,
            env={**variables, "HF_ENDPOINT": NOWHERE, **environment, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def by_name(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    return {finding["name"]: finding for finding in json.loads(done.stdout)}


def test_every_check_is_there_and_each_problem_has_a_remedy(doctor: Any) -> None:
    done = doctor("--json", HF_HUB_OFFLINE="1")
    found = by_name(done)
    assert found.keys() >= CHECKS.keys() - {"terminal", "variables"}
    assert all(bool(finding["remedy"]) == (finding["status"] != "ok") for finding in found.values())
    assert done.returncode == any(finding["status"] == "fail" for finding in found.values())
    assert found["hub"]["status"] == "warn" and "HF_HUB_OFFLINE" in found["hub"]["found"]
    assert "GFLOP/s" in found["mlx"]["found"] and "billion parameters" in found["memory"]["found"]


def test_a_token_is_never_printed_and_decides_on_the_default_model(tmp_path: Path, doctor: Any) -> None:
    (tmp_path / "hub" / DEFAULT_MODEL).mkdir(parents=True)
    (tmp_path / "hub" / DEFAULT_MODEL / "config.json").write_text("{}")
    with LoopbackHub(tmp_path / "hub", gated=(DEFAULT_MODEL,)) as hub:
        said = {}
        for token in (GOOD_TOKEN, EXPIRED_TOKEN, "hf_s\u00e9cret", ""):
            done = doctor("--json", HF_ENDPOINT=hub.url, HF_TOKEN=token)
            assert not token or token.removeprefix("hf_") not in done.stdout + done.stderr
            said[token] = by_name(done)
    assert all(found["hub"]["found"] == f"{hub.url} answers" for token, found in said.items() if token.isascii())
    assert (
        said[GOOD_TOKEN]["default model"]["status"] == "ok" and said[GOOD_TOKEN]["token"]["found"] == "HF_TOKEN is set"
    )
    assert "does not accept HF_TOKEN" in said[EXPIRED_TOKEN]["default model"]["found"]
    assert "characters that no token has" in said["hf_s\u00e9cret"]["default model"]["found"]
    closed = said[""]["default model"]
    assert closed["status"] == "warn" and f"{hub.url}/{DEFAULT_MODEL}" in closed["remedy"]
    assert said[""]["token"]["found"].startswith("none")


def test_a_hub_that_does_not_answer_is_a_warning_within_its_time(doctor: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        endpoint = f"http://somebody:secret@127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        done = doctor(HF_ENDPOINT=endpoint, COLUMNS="60")
        assert time.monotonic() - start < 25  # 5 of them for the Hub; the rest is for a busy machine
    printed = done.stdout
    assert "secret" not in printed + done.stderr and "\033" not in printed
    assert done.returncode == 0 or "\nfail" in printed
    line = next(line for line in printed.splitlines() if " hub " in line)
    assert line.startswith("warn  hub ")
    assert "no answer in 5" in " ".join(printed.split())
    too_long = [line for line in printed.splitlines() if len(line) > 60]
    assert all(len(line.split()) == 1 for line in too_long), too_long  # a path, which is not broken


def test_a_broken_package_fails_without_a_traceback(tmp_path: Path, doctor: Any) -> None:
    (tmp_path / "broken" / "mlx").mkdir(parents=True)
    (tmp_path / "broken" / "mlx" / "__init__.py").write_text("raise ImportError('libmlx.so: not found')")
    (tmp_path / "broken" / "packaging.py").write_text("raise ImportError('gone')")
    done = doctor("--json", PYTHONPATH=str(tmp_path / "broken"), HF_HUB_OFFLINE="1")
    found = by_name(done)
    assert done.returncode == 1
    assert found["mlx"]["status"] == found["packages"]["status"] == "fail"
    assert "libmlx.so" in found["mlx"]["found"] and found["mlx"]["remedy"] == "make setup"
    assert found["memory"]["found"].endswith("free") and found["builtin model"]


@pytest.mark.parametrize("variable, name", [("HF_ENDPOINT=http://[", "variables"), ("FINETUNE_BLAS=/nothing", "mlx")])
def test_a_wrong_variable_is_named(doctor: Any, variable: str, name: str) -> None:
    key, _, value = variable.partition("=")
    done = doctor("--json", **{key: value})
    finding = by_name(done)[name]
    assert (done.returncode, finding["status"]) == (1, "fail") and key in finding["found"] and finding["remedy"]


@pytest.mark.parametrize(
    "line, status, words",
    [
        ("numpy=={numpy} \\", "ok", "all 1"),
        ("numpy==0.1 \\", "warn", "numpy {numpy} instead of 0.1"),
        ("no-such-package==1.0 \\", "fail", "no-such-package is missing"),
        ("no-such-package==1.0 ; sys_platform == 'plan9' \\", "ok", "all 0"),
    ],
)
def test_packages_are_compared_with_their_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, status: str, words: str
) -> None:
    from importlib.metadata import version

    installed = {"numpy": version("numpy")}
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"# by hand\n{line.format(**installed)}\n    --hash=sha256:00\n")
    monkeypatch.setattr(software, "REQUIREMENTS", requirements)
    [finding] = software.packages()
    assert finding.status == status and words.format(**installed) in finding.found

    requirements.unlink()
    [finding] = software.packages()
    assert finding.status == "warn" and "no requirements.txt" in finding.found


@pytest.mark.parametrize(
    "groups, files, wanted",
    [
        ("", {}, (8_000, 6_000)),
        (
            "0::/user/job",
            {"user/memory.max": "3072000", "user/memory.current": "1024000", "user/job/memory.max": "max"},
            (3_000, 2_000),
        ),
        (
            "4:cpu:/\n3:memory:/docker/1",  # the group's own name is not seen inside its container
            {
                "memory/memory.limit_in_bytes": "4096000",
                "memory/memory.usage_in_bytes": "4096000",
                "memory/memory.stat": "total_cache 9\ntotal_inactive_file 1024000",
            },
            (4_000, 1_000),
        ),
        (
            "3:memory:/",
            {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "1"},
            (8_000, 6_000),
        ),
    ],
    ids=["none", "v2", "v1 in a container", "v1 without a limit"],
)
def test_memory_is_that_of_the_control_group_where_it_has_less(
    tmp_path: Path, groups: str, files: dict[str, str], wanted: tuple[int, int]
) -> None:
    texts = {"proc/meminfo": "MemTotal: 8000 kB\nMemFree: 1 kB\nMemAvailable: 6000 kB\nHugePages_Total: 0\n"}
    texts |= {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.memory_bytes(tmp_path) == (wanted[0] * 1024, wanted[1] * 1024)


def test_little_room_and_a_cache_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "not" / "there"))
    for least, status in ((0, "ok"), (1e18, "warn")):
        monkeypatch.setattr(hardware, "_LITTLE_DISK", least)
        monkeypatch.setattr(hardware, "_NO_DISK", 0)
        [finding] = hardware.disk()
        assert finding.status == status and "this folder" in finding.found
    (tmp_path / "not").write_text("")
    [finding] = hardware.disk()
    assert finding.status == "fail" and finding.found.endswith("cannot be written: converted models")


def test_damaged_entries_of_the_caches_are_named_with_how_to_remove_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    (tmp_path / "models" / "mine-000000000000").mkdir(parents=True)
    [finding] = sources.caches()
    assert finding.status == "warn" and "mine-000000000000: damaged" in finding.found
    assert "models --remove mine-000000000000" in finding.remedy


def test_the_builtin_model_is_missing_until_it_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(builtin, "PACKAGE", "no_such_package")
    [finding] = sources.builtin_model()
    assert (finding.status, finding.remedy) == ("fail", "make setup")
