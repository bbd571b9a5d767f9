"""How a record is written and read: a frozen dataclass is the contract, its fields are the keys of the JSON file.

A record is a subclass of ``Record``; what stands in it is a plain frozen dataclass. A comment on each field says what it holds:
docs/records.md is made of these comments. A key with a default may be missing from a file. To change what a record holds, raise
``FORMAT`` and let ``upgrade`` fill or rename what files of the earlier formats have.
"""

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, Union, cast, get_args, get_origin, get_type_hints

from finetune.errors import UserError, shell_command, shortened
from finetune.records import files


class Record:
    """A JSON file with a format number; a record can also stand inside another one, with its own number."""

    FORMAT: ClassVar[int]
    MADE_BY: ClassVar[str]  # the command that writes such a file
    FOLDER_FLAG: ClassVar[str] = "--results-dir"  # its flag for the folder

    @classmethod
    def made_by(cls, folder: Path) -> str:
        """The command that writes such a file into ``folder``, for error messages."""
        return f"{cls.MADE_BY} {shell_command(cls.FOLDER_FLAG, folder)}"

    @classmethod
    def upgrade(cls, value: files.Row, written: int) -> None:
        """Change, in place, the keys of a file of format ``written``, lower than ``FORMAT``, to those of today."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """The record in ``path``; keys that this version does not know are ignored.

        UserError, one line with path and key, if the file is missing, damaged, lacks a key, or was written by a newer version.
        """
        value = files.read_json(path, cls.made_by(path.parent))
        try:
            return cast(Self, _parsed(cls, value, ""))
        except _Newer as newer:
            raise UserError(
                f"{path}: {newer} was written by a newer version (this one reads up to {newer.known};"
                f" upgrade, or run again: {cls.made_by(path.parent)})"
            ) from None
        except _Unfit as problem:
            raise UserError(f"{path}: {problem} (run again: {cls.made_by(path.parent)})") from None

    @classmethod
    def demand_replaceable(cls, path: Path, flag: str) -> None:
        """UserError if ``path`` exists and is no record that can be read: it may be somebody else's, or of a newer version.

        ``flag`` is the one that chooses the folder.
        """
        if not path.exists():
            return
        try:
            _parsed(cls, files.read_json(path, cls.made_by(path.parent)), "")
            return
        except _Newer:
            why = "written by a newer version"
        except _Unfit as problem:
            why = f"not written by this program ({problem})"
        except UserError:
            why = "cannot be read"
        raise UserError(f"{path}: {why}, so it will not be replaced (move it away, or use another {flag})")

    def write(self, path: Path) -> None:
        """UserError (exit 4) if the file cannot be written; the file that was there before is then still whole."""
        files.write_json(path, as_json(self))


def as_json(value: object) -> Any:
    """``value`` as dicts, lists and plain values; a ``Record`` begins with its format number."""
    if is_dataclass(value):
        start: files.Row = {"format": value.FORMAT} if isinstance(value, Record) else {}
        return start | {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    return str(value) if isinstance(value, Path) else value


class _Unfit(Exception):
    """A value that does not fit its field; the message names the key."""


class _Newer(_Unfit):
    def __init__(self, message: str, known: int):
        super().__init__(message)
        self.known = known


@cache
def _hints(kind: type) -> files.Row:
    return get_type_hints(kind)


def _parsed(kind: Any, value: object, key: str) -> object:
    """``value`` of the JSON file as what the annotation ``kind`` says; ``key`` is its place in the file."""
    if kind in (Any, object):
        return value
    if is_dataclass(kind):
        return _dataclass(cast(type, kind), value, key)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _union(inner, value, key)
    if origin is Literal:
        if value in inner:
            return value
        raise _unfit(key, value, " or ".join(map(repr, inner)))
    if origin in (list, Sequence):
        items = _demand(list, value, key)
        return [_parsed(inner[0], one, f"{key}[{at}]") for at, one in enumerate(items)]
    if origin is tuple:
        return _tuple(inner, _demand(list, value, key), key)
    if origin in (dict, Mapping):
        return {name: _parsed(inner[1], one, f"{key}.{name}") for name, one in _demand(dict, value, key).items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise _unfit(key, value, "a number that a float can hold") from None
    return Path(_demand(str, value, key)) if kind is Path else _demand(kind, value, key)


def _dataclass(kind: type, value: object, key: str) -> object:
    found = dict(_demand(dict, value, key))
    if issubclass(kind, Record):
        written = found.get("format", 1)
        written = _demand(int, written, _below(key, "format"))
        if written > kind.FORMAT:
            raise _Newer(f"{key + ': ' if key else ''}format {written}", kind.FORMAT)
        if written < kind.FORMAT:
            try:
                kind.upgrade(found, written)
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise _Unfit(f"{key + ': ' if key else ''}not a record of format {written}: {error!r}") from None
    hints = _hints(kind)
    given: dict[str, object] = {}
    for field in cast(tuple[Field[object], ...], fields(cast(Any, kind))):
        place = _below(key, field.name)
        if field.name in found:
            given[field.name] = _parsed(hints[field.name], found[field.name], place)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise _Unfit(f"no {place!r} in it")
    return kind(**given)


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _union(kinds: Sequence[Any], value: object, key: str) -> object:
    """The first of the kinds that fits; the complaint is that of the last one, which is the fullest."""
    if value is None and type(None) in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not type(None))
    for kind in others:
        try:
            return _parsed(kind, value, key)
        except _Newer:
            raise
        except _Unfit:
            pass
    return _parsed(last, value, key)


def _tuple(inner: Sequence[Any], items: Sequence[object], key: str) -> object:
    kinds = [inner[0]] * len(items) if inner[-1] is Ellipsis else inner
    if len(kinds) != len(items):
        raise _unfit(key, items, f"{len(kinds)} values")
    return tuple(_parsed(kind, one, f"{key}[{at}]") for at, (kind, one) in enumerate(zip(kinds, items, strict=True)))


_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


def _demand(kind: type[Any], value: object, key: str) -> Any:
    if isinstance(value, kind) and not (isinstance(value, bool) and kind in (int, float)):
        return value
    raise _unfit(key, value, _WORDS[kind])


def _unfit(key: str, value: object, wanted: str) -> _Unfit:
    found = "null" if value is None else shortened(json.dumps(value, ensure_ascii=False))
    return _Unfit(f"{key or 'the file'} is {found}, not {wanted}")
