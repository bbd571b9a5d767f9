"""Answers on the terminal while they grow: in two columns if there is room, else one below the other.

A display is entered for one question; for each model in turn ``begin(name)``, ``grow(text)`` with all the text so far, and
``end(remark, result)``.
"""

import time
from collections.abc import Mapping

from rich import box
from rich.console import Console, Group, RenderableType
from rich.containers import Lines
from rich.live import Live
from rich.table import Table
from rich.text import Text

from finetune.terminal import show_part

_WIDE = 100  # columns of a terminal with room for two answers
_COLOURS = {"base": "bold cyan", "tuned": "bold green"}
_SECONDS_BETWEEN = 0.08  # two drawings
_AROUND = 4  # lines of the screen that are not an answer's: heading, rule, the message above, the cursor


def open_display(console: Console, names: tuple[str, ...]) -> "Below | Beside":
    wide = console.is_terminal and not console.is_dumb_terminal and console.width >= _WIDE
    return Beside(console, names) if wide and len(names) == 2 else Below(console)


class Below:
    """Each answer under its label, written as it grows. In a pipe, text without colours."""

    def __init__(self, console: Console):
        self._console = console
        self._written = ""

    def __enter__(self) -> "Below":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, name: str) -> None:
        self._console.print(Text(f"{name}> ", style=_COLOURS.get(name, "bold")), end="")
        self._written = ""
        show_part("")

    def grow(self, text: str) -> None:
        if text.startswith(self._written):  # else the next tokens will make a character whole
            show_part(text[len(self._written) :])
            self._written = text

    def end(self, remark: str, result: RenderableType | None) -> None:
        space = " " if self._written and remark else ""
        self._console.print(Text(space + remark, style="dim"), soft_wrap=True)
        if result is not None:
            self._console.print(result)


class Beside:
    """Two answers in two columns: while they grow, the last lines that fit on the screen; at the end, all lines."""

    def __init__(self, console: Console, names: tuple[str, ...]):
        self._console = console
        self._width = (console.width - 8) // 2
        self._answers = {name: Text() for name in names}
        self._results: dict[str, RenderableType] = {}
        self._name = ""
        self._drawn = 0.0
        self._live = Live(
            console=console, auto_refresh=False, transient=True, vertical_overflow="crop", get_renderable=self._latest
        )

    def __enter__(self) -> "Beside":
        self._live.start(refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._live.stop()
        if kind is None:
            self._console.print(self._table({name: self._whole(name) for name in self._answers}))

    def begin(self, name: str) -> None:
        self._name = name
        self._live.refresh()

    def grow(self, text: str) -> None:
        self._answers[self._name] = Text(text)
        if time.monotonic() - self._drawn >= _SECONDS_BETWEEN:
            self._live.refresh()
            self._drawn = time.monotonic()

    def end(self, remark: str, result: RenderableType | None) -> None:
        answer = self._answers[self._name]
        space = " " if answer and remark else ""
        self._answers[self._name] = Text.assemble(answer, (space + remark, "dim"))
        if result is not None:
            self._results[self._name] = result
        self._live.refresh()

    def _latest(self) -> RenderableType:
        most = max(1, self._console.height - _AROUND)
        lines = {name: text.wrap(self._console, self._width) for name, text in self._answers.items()}
        if self._name and not self._answers[self._name]:
            lines[self._name] = Lines([Text("...", style="dim")])
        return self._table({name: Text("\n").join(found[-most:]) for name, found in lines.items()})

    def _whole(self, name: str) -> RenderableType:
        result = self._results.get(name)
        return self._answers[name] if result is None else Group(self._answers[name], result)

    def _table(self, cells: Mapping[str, RenderableType]) -> Table:
        table = Table(box=box.MINIMAL, show_edge=False)
        for name in cells:
            table.add_column(Text(name, style=_COLOURS.get(name, "bold")), width=self._width, overflow="fold")
        table.add_row(*cells.values())
        return table
