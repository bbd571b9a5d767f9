"""The bar as somebody sees it at a terminal."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios

import pytest

SCRIPT = """
from finetune.progress import Progress
with Progress("Training", 100, "steps") as bar:
    bar.advance(50, "loss 0.123, 220 tokens/s, 1.2 GB")
"""


@pytest.mark.parametrize(
    "columns, seen", [(48, "loss 0.123"), (60, "loss 0.123, 220 tokens/s"), (100, "loss 0.123, 220 tokens/s, 1.2 GB")]
)
def test_what_stands_behind_the_bar_is_never_half_a_number(columns: int, seen: str) -> None:
    child, screen = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        os.execve(sys.executable, [sys.executable, "-c", SCRIPT], variables | {"TERM": "xterm"})
    written = b""
    while True:
        try:
            read = os.read(screen, 4096)
        except OSError:  # Linux: the other side is closed
            break
        if not read:
            break
        written += read
    os.waitpid(child, 0)
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", written).decode()
    assert [line.partition("-:--:-- ")[2].strip() for line in plain.split("\r") if "50/100" in line] == [seen]
