"""Rows from local files: each format by its reader, also compressed, and folders, globs and ZIP archives of them."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple

from finetune.dataset.readers import columns, documents, folders, json_rows, tables
from finetune.dataset.readers.content import kind_of
from finetune.dataset.readers.folders import Found
from finetune.dataset.readers.parts import PACKINGS, Part, members
from finetune.dataset.readers.sourced import SPLIT_NAMES, SourcedRow, Wanted
from finetune.errors import UserError, first_line, path_of, shell_command, shortened
from finetune.records.dataset import Source
from finetune.records.files import file_hash
from finetune.settings.config import DatasetConfig
from finetune.tasks.base import RowKind
from finetune.tasks.conversations import FORMATS, named
from finetune.terminal import counted, say

__all__ = ["SPLIT_NAMES", "SourcedRow", "Wanted"]

READERS: dict[str, Callable[[Part, Wanted], Iterator[SourcedRow]]] = {
    ".jsonl": json_rows.read,
    ".json": json_rows.read,
    ".csv": tables.read,
    ".parquet": columns.read_parquet,
    ".ndjson": json_rows.read,
    ".tsv": tables.read,
    ".arrow": columns.read_arrow,
    ".feather": columns.read_arrow,
}
DOCUMENTS = (".txt", ".md")  # rows of --type text
ARCHIVE = ".zip"
_OTHER = (
    ".xlsx",
    ".xls",
    ".ods",
    ".pdf",
    ".tar",
    ".tgz",
    ".7z",
    ".rar",
    ".db",
    ".sqlite",
    ".html",
)  # no names of the Hub
_ALL = Wanted()
MOST_TOLD = 1000  # files that are not read, in the record
_LONG = 60  # characters of a path
_TOLD_FIELDS = 20  # sets of fields that differ from the first one: each is told once


def looks_local(name: str) -> bool:
    """Whether a --dataset-name is a path; else it is the name of a Hub dataset."""
    return (
        name.startswith((".", "/", "~"))
        or Path(name).suffix.lower() in (*READERS, *DOCUMENTS, *PACKINGS, ARCHIVE, *_OTHER)
        or any(mark in name for mark in "*?[")
        or os.path.exists(name)  # noqa: PTH110  unlike Path.exists it takes any text for a name
    )


def wanted_of(config: DatasetConfig, task: RowKind) -> Wanted:
    """What the command wants of its sources."""
    columns = {part.partition("=")[2].strip() for part in (config.column or "").split(",") if "=" in part}
    known = {
        *task.required,
        *task.optional,
        *task.known,
        *(other for names in task.aliases.values() for other in names),
    }
    conversations = {name for fields in FORMATS for name in fields}
    return Wanted(
        frozenset(columns | known | conversations), task.name == "text", config.strict, task.survey is not None
    )


class Opened(NamedTuple):
    """A source whose rows can be read."""

    rows: Iterable[SourcedRow]
    source: Source  # what identifies them
    hashes: Mapping[Path, str] = {}  # of its files on this disk, before they were read


def read_local(name: str, written: Sequence[Path], wanted: Wanted = _ALL) -> Opened:
    """The rows of a file, a folder or a glob.

    UserError if there is no such file, or if one is among the files that will be ``written``; with ``wanted.strict`` also if a
    file that may hold rows is not read.
    """
    found = _found(name, wanted)
    if own := {path.resolve() for path in written} & {path.resolve() for path in found.paths}:
        raise UserError(
            f"--output-dir: {min(own)} is a source of the rows and would be overwritten (choose another folder)"
        )
    parts = [part for path in found.paths for part in _parts(path, found, wanted)]
    tell_left(name, found, wanted, "move it away, or name the files with a glob that does not match it")
    hashes = {path: file_hash(path) for path in found.paths}
    if len(hashes) == 1:
        source = Source(name, sha256=hashes[found.paths[0]])
    else:
        source = Source(name, files={str(path): sha256 for path, sha256 in hashes.items()})
    return Opened(read_parts(parts, wanted), replace(source, not_read=tuple(found.left[:MOST_TOLD]) or None), hashes)


def demand_unchanged(opened: Opened) -> None:
    """UserError if a file is no longer the one whose hash is recorded."""
    for path, sha256 in opened.hashes.items():
        try:
            is_same = file_hash(path) == sha256
        except OSError:
            is_same = False
        if not is_same:
            raise UserError(f"{path}: changed while it was read (run again when nothing writes to it)")


def read_parts(parts: Iterable[Part], wanted: Wanted) -> Iterator[SourcedRow]:
    """The rows of all parts. A part without any is told, and one whose rows have other fields than those of the first."""
    first: tuple[str, frozenset[str]] | None = None
    told, empty = set[frozenset[str]](), list[str]()
    for part in parts:
        begins = is_empty = True
        for sourced in _reader(part, wanted)(part, wanted):
            is_empty = False
            if begins and sourced.row is not None:
                begins, fields = False, frozenset(sourced.row)
                first = first or (part.place, fields)
                if fields != first[1] and fields not in told and len(told) < _TOLD_FIELDS:
                    told.add(fields)
                    say(
                        f"Note: {part.place}: its rows have other fields ({named(sorted(fields))}) than those of {first[0]}"
                        f" ({named(sorted(first[1]))})"
                    )
            yield sourced
        if is_empty:
            empty.append(part.place)
    if first and empty:
        say(f"Note: {counted(len(empty), 'file')} without rows: {_ends(empty)}")


def _found(name: str, wanted: Wanted) -> Found:
    try:
        path = path_of(name, "--dataset-name")
        found = _matching(path, wanted)
    except (OSError, ValueError) as error:
        raise UserError(f"--dataset-name: {shortened(name)!r} cannot be looked up: {first_line(error)}") from None
    if not found.paths:
        raise UserError(f"{path}: no such file")
    return found


def _matching(path: Path, wanted: Wanted) -> Found:
    def is_read(name: str) -> bool:
        return _has_reader(name, wanted)

    if path.is_dir():
        found = folders.searched(path, is_read, documents=wanted.documents)
        if not found.paths:
            raise UserError(f"{path}: no rows in this folder ({_why_none(found.left, wanted)})")
        return found
    if path.exists():
        return Found([path])
    root = Path(path.anchor)
    # as in a shell, hidden files and folders match only a pattern that begins with a dot
    visible = (p for p in root.glob(str(path.relative_to(root))) if not _hidden_parts(p) - _hidden_parts(path))
    everything = sorted(visible)
    matched = [p for p in everything if p.is_file()]
    # of a folder that matches nothing is read but what matches too
    inside = {folder for p in matched for folder in p.parents}
    left = [f"{p}/" for p in everything if p.is_dir() and p not in inside and any(p.iterdir())]
    if read := [p for p in matched if is_read(p.name)]:  # others, such as a README, matched by chance
        chosen = {*read}
        left += [str(p) for p in matched if p not in chosen and not folders.is_quiet(p.name)]
        return Found(read, sorted(left))
    return Found(matched, left)


def _hidden_parts(path: Path) -> set[str]:
    hidden = {part for part in path.parts if part.startswith(".") and part != ".."}
    return hidden if not any(mark in part for part in hidden for mark in "*?[") else {*hidden, *path.parts}


def _why_none(left: Sequence[str], wanted: Wanted) -> str:
    texts = [name for name in left if PurePath(name).suffix.lower() in DOCUMENTS]
    if texts and len(texts) == len(left):
        return f"it has texts, {named(texts)}, which --type text learns from"
    holds = f"; it has {named(left)}" if left else ""
    suffixes = (*READERS, ARCHIVE, *(DOCUMENTS if wanted.documents else ()))
    return f"no file ends with {', '.join(suffixes)}{holds}"


def _has_reader(name: str, wanted: Wanted) -> bool:
    """Whether a file in a folder is read, by its name."""
    path = PurePath(name)
    suffix = path.suffix.lower()
    if suffix in PACKINGS:
        return PurePath(path.stem).suffix.lower() in READERS or (
            wanted.documents and PurePath(path.stem).suffix.lower() in DOCUMENTS
        )
    return suffix in READERS or suffix == ARCHIVE or (wanted.documents and suffix in DOCUMENTS)


def _parts(path: Path, found: Found, wanted: Wanted) -> list[Part]:
    """The file itself, or the members of an archive with rows; what is not read of it joins ``found.left``."""
    if not path.is_file():
        raise UserError(f"{path}: not a regular file (write the rows to one)")
    part = Part(path)
    if _kind(part) != ARCHIVE:
        return [part]
    inside = members(path)
    read, left = folders.divided(
        inside,
        lambda name: inside[name].open(),
        lambda name: not name.endswith(ARCHIVE) and _has_reader(name, wanted),
        documents=wanted.documents,
    )
    found.left += [f"{path.name}/{name}" for name in left]
    if not read:
        unpack = shell_command("unzip", path)
        raise UserError(f"{path}: no rows in this archive (it has {named(left)}; unpack it: {unpack})")
    return [inside[name] for name in sorted(read)]


def _ends(paths: Sequence[str]) -> str:
    """The first of them, and of a long one its end, which tells more than its beginning."""
    return named(path if len(path) <= _LONG else f"...{path[3 - _LONG :]}" for path in paths)


def tell_left(name: str, found: Found, wanted: Wanted, remedy: str) -> None:
    """Name what is not read of a source; with --strict refuse it if it may hold rows."""
    if wanted.strict and (may := found.suspicious):
        raise UserError(
            f"--strict: {shortened(name, 200)}: {counted(len(may), 'file')} not read: {_ends(may)} ({remedy})"
        )
    if found.left:
        say(f"Note: {name}: {counted(len(found.left), 'file')} not read: {_ends(found.left)}")


def _kind(part: Part) -> str:
    """The suffix of the reader for a part: its content decides, then its name."""
    kind = kind_of(part)
    if not kind and part.suffix in (".csv", ".tsv") and part.begin.lstrip(b"\xef\xbb\xbf \t\r\n")[:2] in (b'{"', b"[{"):
        return ".json"
    return kind or part.suffix


def _reader(part: Part, wanted: Wanted) -> Callable[[Part, Wanted], Iterator[SourcedRow]]:
    """The reader of a part. What its name does not say is told."""
    kind = _kind(part)
    if part.packing and part.suffix == PurePath(part.path).suffix.lower() and not part.member:
        say(f"Note: {part.place}: compressed ({part.packing}), although its name does not say so")
    if kind != part.suffix and {kind, part.suffix} != {".arrow", ".feather"}:
        say(f"Note: {part.place}: read as {kind}, which its content is")
    if wanted.documents and kind not in READERS:
        return documents.read
    return READERS.get(kind, json_rows.read)  # a file whose name says nothing is read as JSON lines
