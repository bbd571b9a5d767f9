"""How the Makefile finds a Python: with fake ones, which run its check as if they were others."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAKE = """#!/bin/sh
case "$2" in *"import platform"*) ;; *) exit 0;; esac
exec {real} -c "import platform, sys
sys.version_info, sys.platform = {version}, '{system}'
platform.machine, platform.mac_ver = lambda: '{machine}', lambda: ('{mac}', ('', '', ''), '')
exec(sys.argv[1])" "$2"
"""
SHOW = 'found: ; @$(FIND_PYTHON); echo "$$python $$version"\n'


@pytest.fixture
def found(tmp_path: Path):
    """found(python3=(3, 15), ...): what make prints and says, if these are the Pythons of the machine."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8") + SHOW)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("make", "sh", "tail", "uname", "cat", "cksum", "nvidia-smi"):
        if path := shutil.which(name):
            (programs / name).symlink_to(path)

    def found(system: str = "linux", machine: str = "arm64", mac: str = "", **pythons: tuple[int, int]) -> str:
        for name, version in pythons.items():
            path = programs / name.replace("_", ".")
            path.write_text(FAKE.format(real=sys.executable, version=version, system=system, machine=machine, mac=mac))
            path.chmod(0o755)
        command = [str(programs / "make"), "--no-print-directory", "found"]
        done = subprocess.run(
            command, cwd=tmp_path, env={"PATH": str(programs)}, capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    return found


def test_pythons_by_name_and_within_bounds(found) -> None:
    assert found(python3_14=(3, 14)) == "python3.14 3.14\n"
    assert found(python3=(3, 13), python3_14=(3, 15)) == "python3 3.13\n"
    assert found(system="darwin", mac="15.3", python3=(3, 12), python3_14=(3, 15)) == "python3 3.12\n"


@pytest.mark.parametrize(
    "machine, said",
    [
        ({"python3": (3, 15)}, "python3: Python 3.15 is too new: the pinned packages have no wheels for it\n"),
        ({"python3": (3, 9)}, "python3: Python 3.9 is too old\n"),
        (
            {"system": "darwin", "machine": "x86_64", "mac": "15.3", "python3": (3, 12)},
            "python3: an Intel Python, and MLX needs a native one for Apple Silicon (arm64)\n",
        ),
        (
            {"system": "darwin", "mac": "13.6", "python3": (3, 12), "python3_11": (3, 11)},
            "python3: macOS 13.6 is too old: MLX needs macOS 14 or later\n",
        ),
        ({}, "error: no Python from 3.11 to 3.14 among: "),
    ],
    ids=["too new", "too old", "Rosetta", "macOS 13", "none"],
)
def test_a_python_that_cannot_be_used_is_named_with_its_reason(found, machine: dict, said: str) -> None:
    text = found(**machine)
    assert said in text and "make PYTHON=..." in text
