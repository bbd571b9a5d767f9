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
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

Layer = tuple[str, Mapping[str, Any]]  # where values come from ("--flag", "quick mode"), and the values


class Given(NamedTuple):
    """A value of a file, and the place that an error about it names: "run.yml:3: batch_size"."""

    value: Any
    place: str


class UserError(Exception):
    """The user can put this right: one line on stderr and an exit code, never a traceback."""

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code


class Stopped(Exception):
    """A signal ended the work after everything was saved; the process exits with 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def option(
    default: Any,
    help: str,
    *,
    choices: str | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    in_file: bool = True,
) -> Any:
    """A field of a configuration. ``choices`` names the registry whose keys are allowed; the script hands it to ``run``.

    ``in_file``: whether a file may hold it too.
    """
    limits = {"choices": choices, "at_least": at_least, "at_most": at_most, "above": above, "in_file": in_file}
    return dataclasses.field(default=default, metadata={"help": help, **limits})


def first_line(error: BaseException) -> str:
    """What a library says of an error, cut to one line."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def path_of(text: str, source: str) -> Path:
    """The path that a person wrote, with ~ as their home. UserError, which begins with ``source``, where none can be so."""
    try:
        path = Path(text).expanduser()
        path.exists()
        os.fsencode(path)
        if "\0" in text:
            raise ValueError("a NUL character in it")
    except PermissionError:
        return path
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{source}: {shortened(text)!r} is no path: {getattr(error, 'strerror', None) or error}"
        ) from None
    return path


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def run(
    main: Callable[[Any], None],
    config_class: type,
    *,
    choices: Mapping[str, Mapping[str, Any]] | None = None,
    layers: Callable[[Mapping[str, Any]], Sequence[Layer]] = lambda explicit: [],
    prepare: Callable[[Any], None] = lambda config: None,
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
        explicit = parse(config_class, choices or {}, sys.argv[1:] if argv is None else argv, about)
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


def visible(text: str) -> str:
    """Control characters, which could do things to a terminal, as the symbols that stand for them."""
    return text.translate(_SYMBOLS)


_SYMBOLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_SYMBOLS |= dict.fromkeys((0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\u2426")  # they turn lines
_SYMBOLS |= {127: "\u2421", **dict.fromkeys(range(128, 160), "\u2426")}  # Unicode has no symbols for those from 128


def parse(
    config_class: type, choices: Mapping[str, Mapping[str, Any]], argv: Sequence[str], about: str
) -> dict[str, Any]:
    """The flags that were given, by field name; nothing for those that were not."""
    parser = _Parser(
        description=about, allow_abbrev=False, argument_default=argparse.SUPPRESS, formatter_class=_Formatter
    )
    for field in flags_of(config_class):
        kind, _ = _kind(config_class, field)
        help_text = field.metadata["help"] + ("" if field.default is None else f" (default: {field.default})")
        if kind is bool:
            parser.add_argument(flag(field.name), action=argparse.BooleanOptionalAction, help=field.metadata["help"])
        else:
            names = choices.get(field.metadata["choices"] or "")
            metavar = "{" + ",".join(names) + "}" if names else _METAVAR[kind]
            parser.add_argument(flag(field.name), metavar=metavar, help=help_text)
    return vars(parser.parse_args(argv))


def build(config_class: type, layers: Sequence[Layer], choices: Mapping[str, Mapping[str, Any]]) -> Any:
    """The configuration: of each value the strongest layer that has it, else the default.

    The result's ``origins`` field, where the class has one, maps each field to the name of the layer it came from.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for field in flags_of(config_class):
        values[field.name], origins[field.name] = field.default, "default"
        for origin, layer in layers:
            if field.name in layer:
                values[field.name] = check_value(config_class, field.name, layer[field.name], choices)
                origins[field.name] = origin
                break
    if any(field.name == "origins" for field in dataclasses.fields(config_class)):
        values["origins"] = origins
    return config_class(**values)


def flags_of(config_class: type) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(config_class) if "help" in field.metadata]


_METAVAR = {int: "N", float: "X", str: "NAME", Path: "PATH"}
_WANTED = {int: "a whole number", float: "a number", str: "text", Path: "a path", bool: "true or false"}


# one way to write each number: no 1_000, no 010 (eight, to YAML), no digits of other scripts
_NUMBER = {
    int: re.compile(r"[+-]?(0|[1-9][0-9]*)"),
    float: re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"),
}
_LARGEST = {int: 2**53, float: 1e300}


def _kind(config_class: type, field: dataclasses.Field[Any]) -> tuple[type, bool]:
    """The field's plain type, and whether it may be None."""
    hint = typing.get_type_hints(config_class)[field.name]
    if isinstance(hint, types.UnionType):
        plain = [part for part in typing.get_args(hint) if part is not types.NoneType]
        return plain[0], True
    return hint, False


def check_value(config_class: type, name: str, raw: Any, choices: Mapping[str, Mapping[str, Any]] | None = None) -> Any:
    """``raw`` (text from a flag or a file, a value from a mode or a record) as the field's type, within its range and choices.

    Choices whose registry is not given are not checked.
    """
    field = next(field for field in dataclasses.fields(config_class) if field.name == name)
    (kind, optional), limits = _kind(config_class, field), field.metadata
    place = flag(name)
    if isinstance(raw, Given):
        raw, place = raw
    if raw is None and optional:
        return None
    wrong = UserError(f"{place}: {_shown(raw)} is not {_WANTED[kind]}")
    if isinstance(raw, bool) or kind is bool:
        if isinstance(raw, bool) and kind is bool:
            return raw
        raise wrong
    if raw is None or isinstance(raw, (list, dict)):
        raise wrong
    if raw == "":
        raise UserError(f"{place}: the value is empty")
    if kind in _NUMBER and isinstance(raw, str) and not _NUMBER[kind].fullmatch(raw):
        raise wrong
    read = float if kind is int and len(str(raw)) > 400 else kind  # Python reads no more than 4300 digits
    try:
        value: Any = path_of(str(raw), place) if kind is Path else read(raw)
    except (TypeError, ValueError, OverflowError):
        raise wrong from None
    if kind in _NUMBER:
        if value != value or (not isinstance(raw, str) and value != raw):
            raise wrong
        shown, least = shortened(str(raw)), limits["at_least"] if limits["above"] is None else limits["above"]
        most = _LARGEST[kind] if limits["at_most"] is None else limits["at_most"]
        if least is not None and (value < least or (value == least and limits["above"] is not None)):
            bound = "at least" if limits["above"] is None else "more than"
            raise UserError(f"{place}: {shown} is too small ({bound} {least})")
        if not abs(value) <= most:
            raise UserError(f"{place}: {shown} is too large (at most {most})")
    registry = (choices or {}).get(limits["choices"] or "")
    if registry is not None and value not in registry:
        raise UserError(f"{place}: there is no {_shown(value)} (choose from {', '.join(registry)})")
    return value


def _shown(raw: Any) -> str:
    if isinstance(raw, (list, dict)):
        return "a list" if isinstance(raw, list) else "a mapping"
    if raw is None or isinstance(raw, bool):
        return {None: "null", True: "true", False: "false"}[raw]
    return shortened(repr(raw))


def shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=34)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")
