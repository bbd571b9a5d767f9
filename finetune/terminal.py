"""Output for a person: notes on stderr, results on stdout, a progress bar; counts, sizes and durations as text.

Nothing else writes to the terminal. Whatever is printed here, control characters in it are made visible, and a text that is
passed as one line is one line.
"""

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from finetune.errors import first_line, one_line, visible

_SECONDS_BETWEEN_LINES = 15
_WIDE = 72  # columns of a terminal that has room for the bar itself
_BAR, _REMAINING = 24, 7  # columns
_DURATIONS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


def say(*lines: str) -> None:
    """Print notes to stderr, each in a line of its own; results go to stdout.

    If they cannot be shown, because the terminal is closed or the disk of a log is full, the work goes on without them.
    """
    with suppress(OSError, AttributeError):  # there may be no stderr at all
        sys.stderr.write("".join(f"{one_line(line)}\n" for line in lines))
        sys.stderr.flush()


def pass_on(said: bytes) -> None:
    """Write what another process printed to stderr, as it is; as with ``say``, the work does not depend on it."""
    with suppress(OSError, AttributeError):
        sys.stderr.flush()
        os.write(2, said)


def show(*lines: str) -> None:
    """Print lines of the result to stdout."""
    show_part("".join(f"{one_line(line)}\n" for line in lines))


def show_part(text: str) -> None:
    """Print a part of a text that others wrote, such as the next words of an answer, to stdout; its newlines stay."""
    print(visible(text), end="", flush=True)


def show_json(value: object, *, indent: int | None = None) -> None:
    """Print JSON to stdout, in ASCII."""
    show_part(json.dumps(value, indent=indent) + "\n")


class Guarded:
    """A standard stream for those who do not print by this module: libraries, and tracebacks."""

    def __init__(self, stream: Any):
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard() -> None:
    """Make libraries, too, print visible characters, and each warning and message of a log in one line.

    Warnings that only programmers of the library can heed are silent, unless Python was asked for them (``-W``).
    """
    for name in ("stdout", "stderr"):
        if not isinstance(stream := getattr(sys, name), Guarded):
            setattr(sys, name, Guarded(stream))
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # below that it speaks to those who call it
    logging.setLogRecordFactory(_LogLine)
    warnings.showwarning = _show_warning
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)


class _LogLine(logging.LogRecord):
    def getMessage(self) -> str:
        return one_line(super().getMessage())


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    say(f"Warning: {message if isinstance(message, str) else first_line(message)}")


def _unguarded(stream: Any) -> Any:
    """The stream for rich, whose own colours are escape sequences; it gets no text that is not clean."""
    return stream.stream if isinstance(stream, Guarded) else stream


def download_bar() -> Any:
    """The class of the progress bars of the Hub's client, which move the cursor. Their texts are the client's own."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **{"file": _unguarded(sys.stderr), **options})

    return Bar


def counted(count: int, noun: str) -> str:
    """A number and its noun: ``"1 row"``, ``"2 rows"``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_bytes(count: float) -> str:
    """A size in decimal units, as disks and models are labelled: ``"812 MB"``, ``"1.6 GB"``."""
    for size, unit in ((1e12, "TB"), (1e9, "GB")):
        if round(count / 1e6) * 1e6 >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e6:.0f} MB" if count >= 999_500 else f"{count / 1e3:.0f} kB"


def time_left(seconds: float, done: int, total: int) -> str:
    """How long the rest takes at the pace so far, "about 40 s left"; "" if that is not known."""
    if not 0 < done < total:
        return ""
    rest = seconds / done * (total - done)
    return f"about {format_seconds(max(1, float(f'{rest:.2g}')))} left"


def format_seconds(seconds: float) -> str:
    """A duration in at most two units: ``"8.2 s"``, ``"41 s"``, ``"12 min 20 s"``, ``"3 h 5 min"``, ``"2 d 4 h"``."""
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    for size, unit, part, part_unit in _DURATIONS:
        parts = round(seconds / part)
        if parts * part >= size:
            whole, rest = divmod(parts, size // part)
            return f"{whole} {unit} {rest} {part_unit}" if rest else f"{whole} {unit}"
    return f"{seconds:.0f} s"


def results() -> Any:
    """The console for results on stdout. A closed pipe, as of ``| head``, raises BrokenPipeError for the caller to handle."""
    return _console()(file=_unguarded(sys.stdout), highlight=False, emoji=False, markup=False)


def _console() -> Any:
    """Rich's console: a ``str`` is one line in whatever it prints; several lines of text are a ``Text``."""
    from rich import console, segment

    class Visible(console.Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

        def render_str(self, text: str, *arguments: Any, **options: Any) -> Any:
            return super().render_str(one_line(text), *arguments, **options)

        def render(self, *arguments: Any, **options: Any) -> Iterator[Any]:
            for text, style, control in super().render(*arguments, **options):
                # while a bar is shown, rich reads the escapes in what libraries print; a link would be written as one
                yield segment.Segment(text if control else visible(text), style and style.update_link(None), control)

    return Visible


class _Lenient:
    """A stream for a progress bar: what cannot be shown is not worth an exception."""

    def __init__(self, stream: Any):
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None)

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class Console:
    """Notes and progress bars for a person. ``silent``: in all processes of a distributed run but one."""

    def __init__(self, *, silent: bool = False):
        self.silent = silent
        self._bar: Progress | None = None

    def say(self, *lines: str) -> None:
        """Print notes to stderr, each in a line of its own, above the progress bar if there is one."""
        if not self.silent:
            (self._bar.say if self._bar else say)(*lines)

    @contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator["Progress"]:
        """A progress bar for the work inside the ``with`` block."""
        with Progress(title, total, unit, silent=self.silent) as self._bar:
            try:
                yield self._bar
            finally:
                self._bar = None


class Progress:
    """A bar on a terminal; elsewhere a line now and then.

    ``with Progress("Training", 800, "steps") as bar: bar.advance(note="loss 0.41")``
    """

    def __init__(self, title: str, total: int, unit: str, *, silent: bool = False):
        self.title, self.total, self.unit, self.silent = one_line(title), total, one_line(unit), silent
        self.done = 0
        self._bar: Any = None
        self._last_line = time.monotonic()
        self._begun: tuple[float, int] | None = None  # when the first work was counted, and what was done then

    def __enter__(self) -> "Progress":
        if sys.stderr and sys.stderr.isatty() and not self.silent:
            from rich import progress
            from rich.table import Column

            def fixed(width: int) -> Column:
                return Column(no_wrap=True, min_width=width)

            console = _console()(file=_Lenient(_unguarded(sys.stderr)), emoji=False, markup=False)
            bar = [progress.BarColumn(bar_width=_BAR)] if console.width >= _WIDE else []
            count = len(f"{self.total}/{self.total} {self.unit}")
            widths = [len(self.title), *(_BAR for _ in bar), count, _REMAINING]
            self._taken = sum(widths) + len(widths)  # with a space behind each
            self._bar = progress.Progress(
                progress.TextColumn("{task.description}", markup=False, table_column=fixed(len(self.title))),
                *bar,
                progress.TextColumn("{task.completed}/{task.total} " + self.unit, table_column=fixed(count)),
                progress.TimeRemainingColumn(table_column=fixed(_REMAINING)),
                progress.TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task(self.title, total=self.total, note="")
            self._bar.start()
        return self

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Count work that is done. ``note`` is shown behind the bar until another replaces it; "" removes it."""
        self.done += count
        self._begun = self._begun or (time.monotonic(), self.done)
        if self._bar is not None:
            self._bar.update(self._task, advance=count, **({} if note is None else {"note": self._fitting(note)}))
        elif not self.silent and time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            parts = [f"{self.title}: {self.done}/{self.total} {self.unit}", self._left(), note or ""]
            say(", ".join(filter(None, parts)))

    def _left(self) -> str:
        """How long the rest takes at the pace so far; "" if that is not known."""
        since, before = self._begun or (0.0, self.done)
        return time_left(time.monotonic() - since, self.done - before, self.total - before)

    def _fitting(self, note: str) -> str:
        """As many parts of the note as fit: a number cut in the middle would be another number."""
        parts = one_line(note).split(", ")
        while len(parts) > 1 and len(", ".join(parts)) > self._bar.console.width - self._taken:
            parts.pop()
        return ", ".join(parts)

    def say(self, *lines: str) -> None:
        if self._bar is not None:
            for line in lines:
                self._bar.console.print(line, highlight=False, markup=False)
        else:
            say(*lines)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
