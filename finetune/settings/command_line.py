"""The command line of any script, made from its configuration dataclass. Knows nothing of this project.

A script declares one frozen dataclass and calls ``run(main, Config)``. Every field is a flag: ``lora_rank: int`` becomes
``--lora-rank N``, ``shuffle: bool`` becomes ``--shuffle`` and ``--no-shuffle``, ``str | None`` may be left out. Help, choices
and ranges stand with the field, in ``option(...)``.
"""

import argparse
import errno
import io
import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from finetune.errors import Stopped, UserError, first_line, path_of, shortened, visible
from finetune.settings.fields import Given, Layer, build, check_value, flag, flags_of, kind_of, option

__all__ = [
    "Given",
    "Layer",
    "Stopped",
    "UserError",
    "build",
    "check_value",
    "first_line",
    "fitted",
    "flag",
    "flags_of",
    "option",
    "parse",
    "path_of",
    "run",
    "shortened",
    "visible",
]


def run(
    main: Callable[[Any], None],
    config_class: type,
    *,
    choices: Mapping[str, Mapping[str, Any]] | None = None,
    layers: Callable[[Mapping[str, Any]], Sequence[Layer]] = lambda explicit: [],
    prepare: Callable[[Any], None] = lambda config: None,
    version: str = "",
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Parse the command line, call ``prepare(config)`` and ``main(config)``, and exit.

    ``choices`` gives a registry for each name that a field's ``choices`` mentions. ``layers`` turns the explicit flags into
    further sources of values, strongest first; they stand below the flags and above the defaults. The help begins with the
    docstring of the script.
    """
    _open_standard_streams()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character shows another in its place
            stream.reconfigure(errors="replace")
    about = sys.modules[main.__module__].__doc__ or ""
    try:
        explicit = parse(config_class, choices or {}, sys.argv[1:] if argv is None else argv, about, version)
        config = build(config_class, [("flag", explicit), *layers(explicit)], choices or {})
        prepare(config)
        main(config)
        if sys.stdout:
            sys.stdout.flush()
    except UserError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Stopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left unwritten would be tried again
        print(f"error: standard output: {error.strerror}", file=sys.stderr)
        sys.exit(4)
    sys.exit(0)


def _open_standard_streams() -> None:
    """Whatever is closed leads to nowhere: else the first file that is opened would take its number."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


_METAVAR = {int: "N", float: "X", str: "NAME", Path: "PATH"}


def parse(
    config_class: type, choices: Mapping[str, Mapping[str, Any]], argv: Sequence[str], about: str, version: str = ""
) -> dict[str, Any]:
    """The flags that were given, by field name; nothing for those that were not."""
    return vars(_parser(config_class, choices, about, version).parse_args(argv))


def _parser(
    config_class: type, choices: Mapping[str, Mapping[str, Any]], about: str, version: str
) -> argparse.ArgumentParser:
    fields = flags_of(config_class)
    named = [field.name.upper() for field in fields if field.metadata["positional"]]
    parser = _Parser(
        usage=" ".join(["%(prog)s", *named, "[--flag VALUE ...]"]),
        description=about,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=_Formatter,
    )
    if version:
        parser.add_argument("--version", action="version", version=version)
    group: Any = parser
    for field in fields:
        if title := field.metadata["group"]:
            group = parser.add_argument_group(title)
        kind, _ = kind_of(config_class, field)
        help_text = field.metadata["help"] + ("" if field.default is None else f" (default: {field.default})")
        if field.metadata["positional"]:
            parser.add_argument(field.name, metavar=field.name.upper(), help=help_text)
        elif kind is bool:
            group.add_argument(flag(field.name), action=argparse.BooleanOptionalAction, help=field.metadata["help"])
        else:
            names = choices.get(field.metadata["choices"] or "")
            metavar = "{" + ",".join(names) + "}" if names else _METAVAR[kind]
            required = field.metadata["required"]
            group.add_argument(flag(field.name), metavar=metavar, help=help_text, required=required)
    return parser


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fitted(text, width)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)  # --lora-scale stays in one piece


def fitted(text: str, width: int) -> str:
    """Lines stay lines; of an example that is too long, what it is for goes below the command."""
    lines = []
    for line in text.strip().splitlines():
        command, *about = re.split(" {2,}", line, maxsplit=1)
        if len(line) <= width:
            lines.append(line)
        elif about:
            lines += [command, *textwrap.wrap(about[0], width, initial_indent="    ", subsequent_indent="    ")]
        else:
            lines += textwrap.wrap(line, width)
    return "\n".join(lines)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")
