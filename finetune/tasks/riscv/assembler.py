"""The RISC-V assembler of this machine, if one is installed: it decides whether lines are valid instructions."""

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache

_COMMANDS = (
    ("riscv64-linux-gnu-as", "-march=rv64imafdc", "-o", "/dev/null", "-"),
    ("riscv64-unknown-elf-as", "-march=rv64imafdc", "-o", "/dev/null", "-"),
    ("riscv64-elf-as", "-march=rv64imafdc", "-o", "/dev/null", "-"),  # Homebrew's riscv64-elf-binutils
    ("llvm-mc", "--triple=riscv64", "--mattr=+m,+a,+f,+d,+c", "--filetype=null", "-"),
    (
        "/opt/homebrew/opt/llvm/bin/llvm-mc",
        "--triple=riscv64",
        "--mattr=+m,+a,+f,+d,+c",
        "--filetype=null",
        "-",
    ),  # Homebrew leaves it out of PATH
)
_SECONDS = 5


@cache
def find() -> tuple[str, ...] | None:
    return next((command for command in _COMMANDS if shutil.which(command[0])), None)


@cache
def assembles(lines: tuple[str, ...]) -> bool | None:
    """Whether the lines assemble; None without an assembler. They must be instructions: directives could read files."""
    if (command := find()) is None:
        return None
    try:
        text = "\n".join([*lines, ""]).encode(errors="replace")
        done = subprocess.run(command, input=text, capture_output=True, timeout=_SECONDS, start_new_session=True)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode == 0


def share_that_assembles(reference: Sequence[str], lines: Sequence[str]) -> float | None:
    """1 if the lines assemble, else 0; None if the reference itself does not, such as "add rd, rs1, rs2"."""
    if not assembles(tuple(reference)):
        return None
    return float(bool(lines) and assembles(tuple(lines)) is True)
