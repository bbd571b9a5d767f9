"""The command line of any script, made from its configuration dataclass. Knows nothing of this project.

A script declares one frozen dataclass and calls ``run(main, Config)``. Every field is a flag: ``lora_rank: int`` becomes
``--lora-rank N``, ``shuffle: bool`` becomes ``--shuffle`` and ``--no-shuffle``, ``str | None`` may be left out. Help, choices
and ranges stand with the field, in ``option(...)``.
"""

import argparse
import dataclasses
import errno
import io
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from finetune import signals
from finetune.errors import Stopped, UserError, shortened
from finetune.settings.fields import Choices, Layer, build, flag, flags_of, kind_of
from finetune.terminal import guard, say


def run(
    main: Callable[[Any], None],
    config_class: type,
    *,
    choices: Choices | None = None,
    layers: Callable[[Mapping[str, object]], Sequence[Layer]] = lambda explicit: [],
    begin: Callable[[], None] = lambda: None,
    prepare: Callable[[Any], None] = lambda config: None,
    version: str = "",
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Parse the command line, call ``begin()``, ``prepare(config)`` and ``main(config)``, and exit.

    ``choices`` gives a registry for each name that a field's ``choices`` mentions. ``layers`` turns the explicit flags into
    further sources of values, strongest first; they stand below the flags and above the defaults. The help begins with the
    docstring of the script.
    """
    _prepare_streams()
    about = sys.modules[main.__module__].__doc__ or ""
    try:
        with signals.interrupting():
            explicit = parse(config_class, choices or {}, sys.argv[1:] if argv is None else argv, about, version)
            begin()
            config = build(config_class, [("flag", explicit), *layers(explicit)], choices or {})
            prepare(config)
            main(config)
            if sys.stdout:
                sys.stdout.flush()
    except UserError as error:
        say(f"error: {error}", *(f"  {line}" for line in error.details))
        sys.exit(error.exit_code)
    except Stopped as stop:
        say(str(stop))
        sys.exit(stop.exit_code)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _discard_output()
    except KeyboardInterrupt as interrupt:
        say("stopped")
        sys.exit(128 + signals.number_of(interrupt))
    except OSError as error:
        if isinstance(error, PermissionError) and isinstance(
            error.filename, str
        ):  # of another user, at whatever moment
            say(f"error: {error.filename}: {error.strerror} (make it accessible for this user, or use another path)")
            sys.exit(2)
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _discard_output()
        say(f"error: standard output: {error.strerror}")
        sys.exit(4)
    finally:
        _settle_streams()
    sys.exit(0)


def _prepare_streams() -> None:
    """Open closed standard streams on the null device: else the first file that is opened would take their number.

    A character that the terminal lacks is replaced, not refused.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    guard()


def _settle_streams() -> None:
    """What a closed terminal no longer takes is dropped: at exit, Python would replace our exit code by 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _discard_output() -> None:
    """Send what is left in the buffer nowhere: Python would try to write it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_WIDEST_CHOICES = 50  # columns of a flag with its choices in braces
_METAVAR = {int: "N", float: "X", str: "NAME", Path: "PATH"}


def parse(
    config_class: type, choices: Choices, argv: Sequence[str], about: str, version: str = ""
) -> dict[str, object]:
    """The flags that were given, by field name; nothing for those that were not."""
    parser = _parser(config_class, choices, about, version)
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions
        import argcomplete

        argcomplete.autocomplete(parser)
    return vars(parser.parse_args(argv))


def _parser(config_class: type, choices: Choices, about: str, version: str) -> argparse.ArgumentParser:
    fields = flags_of(config_class)
    named = [
        _positional(field) + (" ..." if field.metadata["several"] else "")
        for field in fields
        if field.metadata["positional"]
    ]
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
        if field.metadata["positional"]:
            count = "+" if field.metadata["several"] else None
            parser.add_argument(field.name, metavar=_positional(field), help=_help(field), nargs=count)
        elif kind is bool:
            _add_switch(group, field)
        else:
            names = choices.get(field.metadata["choices"] or "")
            braces = "{" + ",".join(names or ()) + "}"
            is_wide = len(flag(field.name)) + len(braces) > _WIDEST_CHOICES
            action = group.add_argument(
                flag(field.name),
                dest=field.name,
                metavar=braces if names and not is_wide else _METAVAR[kind],
                help=_help(field, names if is_wide else None),
                required=field.metadata["required"],
                action="append" if field.metadata["several"] else _Once,
                **({"commas": True} if field.metadata["commas"] else {}),
            )
            if names:
                action.completer = lambda names=tuple(names), **_: names  # for argcomplete
    return parser


def _positional(field: dataclasses.Field[Any]) -> str:
    """How the usage names what is given without a flag: one of several files is FILE."""
    return field.name.upper().removesuffix("S") if field.metadata["several"] else field.name.upper()


def _help(field: dataclasses.Field[Any], names: Iterable[str] | None = None) -> str:
    """``names``: the choices, if they are to be listed."""
    text = str(field.metadata["help"]) + (f": {', '.join(names)}" if names else "")
    if field.default is None:
        return text
    return f"{text[:-1]}; default: {field.default})" if text.endswith(")") else f"{text} (default: {field.default})"


def _add_switch(group: Any, field: dataclasses.Field[Any]) -> None:
    """``--x`` and ``--no-x``. The help shows the second only if the default is on; it always overrides a file."""
    if field.default:
        group.add_argument(flag(field.name), dest=field.name, action=_OnOrOff, help=field.metadata["help"])
        return
    group.add_argument(
        flag(field.name), dest=field.name, action=_Once, nargs=0, const=True, help=field.metadata["help"]
    )
    off = {"nargs": 0, "const": False, "default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    group.add_argument(flag(f"no_{field.name}"), dest=field.name, action=_Once, **off)


class _Once(argparse.Action):
    """A flag that can be given once: of two values argparse would take the last one, and say nothing.

    ``commas``: several values are given as one, with commas between them."""

    def __init__(self, *names: Any, commas: bool = False, **options: Any):
        super().__init__(*names, **options)
        self.commas = commas

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, name: str | None = None
    ) -> None:
        _demand_once(parser, self, name, value)
        setattr(namespace, self.dest, self.const if self.nargs == 0 else value)


class _OnOrOff(argparse.BooleanOptionalAction):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, name: str | None = None
    ) -> None:
        _demand_once(parser, self, name, value)
        super().__call__(parser, namespace, value, name)


def _demand_once(parser: argparse.ArgumentParser, action: argparse.Action, name: str | None, value: Any) -> None:
    """UserError if the flag, or its opposite, was given before."""
    assert isinstance(parser, _Parser)
    if (before := parser.given.get(action.dest)) is None:
        parser.given[action.dest] = (name, value)
        return
    if name != before[0]:
        raise UserError(f"{before[0]} and {name} contradict each other (give one of them)")
    if action.nargs == 0:
        raise UserError(f"{name} is given twice (give it once)")
    both = f"{shortened(str(before[1]))}, then {shortened(str(value))}"
    if getattr(action, "commas", False):
        raise UserError(f"{name} is given twice: {both} (give it once: {name} {before[1]},{value})")
    raise UserError(f"{name} is given twice: {both} (give it once)")


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fitted(text, width)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)  # --lora-scale stays in one piece


def fitted(text: str, width: int) -> str:
    """Lines stay lines; if an example is too long, its explanation goes below the command."""
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
    def __init__(self, **options: Any):
        super().__init__(**options)
        self.given: dict[str, tuple[str | None, Any]] = {}  # field -> the flag, and its value

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")
