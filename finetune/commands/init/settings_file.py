"""The file of settings that init writes: a section for each of the four scripts, with a comment beside each value."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from finetune.errors import one_line
from finetune.settings.save import scalar

_WIDTH = 100
_COLUMN = 40  # at which a comment beside a value begins


@dataclass(frozen=True)
class Line:
    """A setting with why it has this value."""

    value: object
    why: str = ""


Section = Mapping[str, Line]


def written(head: Sequence[str], sections: Mapping[str, Section], hints: Mapping[str, Sequence[str]]) -> str:
    """The text of the file. ``head`` stands above all, ``hints`` of a section, as comments, below its values."""
    lines = [line for part in head for line in _comment(part)]
    for name, section in sections.items():
        lines += ["", f"{name}:"]
        lines += [line for key, setting in section.items() for line in _setting(key, setting)]
        lines += [f"  # {one_line(hint)}" for hint in hints.get(name, ())]
    return "\n".join(lines) + "\n"


def _setting(key: str, setting: Line) -> Iterator[str]:
    line = f"  {key}: {scalar(setting.value)}"
    why = one_line(setting.why)
    if not why:
        yield line
    elif max(len(line) + 2, _COLUMN) + len(why) + 2 <= _WIDTH:
        yield f"{line:<{_COLUMN - 2}}  # {why}"
    else:
        yield from (f"  {part}" for part in _comment(why))
        yield line


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(one_line(text), _WIDTH - 4, break_long_words=False)] or ["#"]
