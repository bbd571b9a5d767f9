"""Whatever others wrote, no control character of theirs reaches the terminal, by any of the ways to print."""

import io
from collections.abc import Callable

import pytest

from finetune import terminal

HOSTILE = "a\x1b]52;c;ZXZpbA==\x07b\x1b[2J\x9b31mc\rd\x7f\u202egpj\u2066e\x00f"
FORBIDDEN = {chr(code) for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))} - {
    "\n",
    "\t",
}


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def by_bar(text: str) -> None:
    with terminal.Progress(text, 3, text) as bar:
        bar.advance(note=text)
        bar.say(text)


def by_console(text: str) -> None:
    console = terminal.Console()
    console.say(text)
    with console.progress("Training", 3, "steps"):
        console.say(text)


def by_table(text: str) -> None:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table(text, title=text, caption=text)
    table.add_row(text)
    table.add_row(Text(text, style="red"))
    terminal.results().print(table, Panel(text, title=text), text)


@pytest.mark.parametrize("to", [io.StringIO, Tty])
@pytest.mark.parametrize("shown", [terminal.say, terminal.show, by_bar, by_console, by_table])
def test_what_is_shown_cannot_change_the_terminal(
    monkeypatch: pytest.MonkeyPatch, shown: Callable[[str], None], to: type[io.StringIO]
) -> None:
    out, err = to(), to()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("TERM", "dumb")  # with colours, rich writes escapes of its own
    shown(HOSTILE)
    found = out.getvalue() + err.getvalue()
    assert "a" in found and not FORBIDDEN & set(found.replace("\r", ""))
    assert "\rd" not in found


class Gone(io.StringIO):
    """A terminal that was closed, or a log on a disk that is full."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("shown", [terminal.say, by_bar, by_console])
@pytest.mark.parametrize("stderr", [Gone(), None])
def test_work_goes_on_if_a_note_cannot_be_shown(
    monkeypatch: pytest.MonkeyPatch, shown: Callable[[str], None], stderr: io.StringIO | None
) -> None:
    monkeypatch.setattr("sys.stderr", stderr)
    shown("a note")
