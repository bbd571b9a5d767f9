"""What a person sees at a terminal: the bar, sizes, durations, suggestions."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios

import pytest

from finetune.errors import closest, shortened
from finetune.terminal import Progress, format_bytes, format_seconds

SCRIPT = """
from finetune.terminal import Progress
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


@pytest.mark.parametrize(
    "count, text",
    [(0, "0 kB"), (1500, "2 kB"), (999_499, "999 kB"), (999_500, "1 MB"), (812e6, "812 MB"), (999.6e6, "1.0 GB"),
     (1.62e9, "1.6 GB"), (1.5e12, "1.5 TB")],
)  # fmt: skip
def test_sizes(count: float, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0.0 s"), (8.16, "8.2 s"), (9.97, "10 s"), (59.4, "59 s"), (59.6, "1 min"), (740, "12 min 20 s"),
     (3599.7, "1 h"), (11100, "3 h 5 min"), (86399, "1 d"), (187200, "2 d 4 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_closest_ignores_case_and_returns_the_choice_itself() -> None:
    assert closest("SFT", ["Sft", "dpo"]) == "Sft"
    assert closest("qwen", ["dpo", "sft"]) is None
    assert closest("x", []) is None


def test_shortened_is_one_line_of_bounded_length() -> None:
    assert shortened("a\nb") == "a b"
    assert shortened("x" * 500) == "x" * 57 + "..."
    assert shortened("x" * 50, most=40) == "x" * 37 + "..."


def test_a_log_says_how_long_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("finetune.terminal.time.monotonic", lambda: now[0])
    with Progress("Training", 100, "steps") as bar:
        bar.advance(40)  # done before, by a run that is resumed
        for _ in range(20):
            now[0] += 4
            bar.advance(1, "loss 0.123")
        now[0] += 20
        bar.advance(0, "validation 8/34")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Training: 44/100 steps, about 3 min 40 s left, loss 0.123"
    assert lines[-1] == "Training: 60/100 steps, about 3 min 20 s left, validation 8/34"
