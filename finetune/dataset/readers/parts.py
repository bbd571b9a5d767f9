"""Files as readers see them: unpacked, whether they are compressed, or members of a ZIP archive, or neither."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from finetune.dataset.readers.sourced import SPLIT_NAMES, split_of
from finetune.errors import UserError, first_line, shell_command
from finetune.records.plain_path import plain_path

_BEGIN = 4096  # bytes that tell what a file is
_LARGE, _RATIO = 1 << 26, 200  # bytes, and how many times its size, that no compressed file of rows unpacks to
_MOST_MEMBERS = 10_000  # of an archive
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, ValueError, NotImplementedError)

PACKINGS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "Zstandard"}  # by suffix
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "Zstandard"}
_COMMANDS = {"gzip": "gunzip -k", "bzip2": "bunzip2 -k", "xz": "unxz -k", "Zstandard": "unzstd"}


@dataclass(frozen=True)
class Part:
    """A file, or a member of a ZIP archive."""

    path: Path
    member: str = ""
    shown: str = ""  # the place for messages, if it is not the path
    archive: zipfile.ZipFile | None = field(default=None, repr=False, compare=False)  # of the member, opened

    @property
    def place(self) -> str:
        if self.shown:
            return self.shown
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def _name(self) -> str:
        return PurePosixPath(self.member).name if self.member else self.path.name

    @property
    def name(self) -> str:
        """The name of the file that comes out when it is unpacked."""
        for suffix in PACKINGS if self.packing or not self.member else ():
            if self._name.lower().endswith(suffix):
                return self._name[: -len(suffix)]
        return self._name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    @property
    def split(self) -> str | None:
        """The split that its name says, or the name of its folder."""
        folder = (PurePosixPath(self.member) if self.member else self.path).parent.name
        return split_of(self.name) or SPLIT_NAMES.get(folder.lower())

    @cached_property
    def packing(self) -> str:
        """How it is compressed, by its content; "" if it is not."""
        begin = self._raw_begin
        return next((packing for magic, packing in _MAGIC.items() if begin.startswith(magic)), "")

    @cached_property
    def _raw_begin(self) -> bytes:
        with self._raw() as file:
            return file.read(_BEGIN)

    @cached_property
    def begin(self) -> bytes:
        """The first bytes, unpacked."""
        if not self.packing:
            return self._raw_begin
        with self.open() as file:
            return file.read(_BEGIN)

    @property
    def unpack(self) -> str:
        """The command that makes a plain file of it."""
        if self.member:
            return shell_command("unzip", self.path)
        return f"{_COMMANDS[self.packing]} {shell_command(self.path)}"

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes, unpacked. UserError if they cannot be read, or are more than rows can be."""
        with self._raw() as raw:
            if not self.packing:
                yield raw
                return
            with _explained(self.place, self.packing):
                unpacking = _UNPACK[self.packing](raw)
            size = self._size
            yield io.BufferedReader(_Guarded(unpacking, self.place, self.packing, size, self.unpack), 1 << 20)

    @property
    def _size(self) -> int:
        return self.path.stat().st_size

    @contextmanager
    def _raw(self) -> Iterator[BinaryIO]:
        if not self.member:
            try:
                file = self.path.open("rb")
            except OSError as error:
                raise UserError(
                    f"{self.place}: cannot be read: {error.strerror} (make it readable for this user)"
                ) from None
            with file:
                yield io.BufferedReader(_Guarded(file, self.place), 1 << 16)
            return
        archive = self.archive or opened_zip(self.path)
        info = archive.getinfo(self.member)
        if info.flag_bits & 1:
            raise UserError(f"{self.place}: has a password (unpack it: {self.unpack})")
        with _explained(self.place, "ZIP"):
            member = archive.open(info)
        with member:
            yield io.BufferedReader(_Guarded(member, self.place, "ZIP", self._size, self.unpack), 1 << 20)


class _Guarded(io.RawIOBase):
    """A stream whose errors are ours, and which ends when it gives more than what was compressed can be rows."""

    def __init__(self, stream: Any, place: str, packing: str = "", size: int = 0, unpack: str = ""):
        self._stream, self._place, self._packing, self._size, self._unpack = stream, place, packing, size, unpack
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _explained(self._place, self._packing):
            data = self._stream.read(len(buffer))
        self._given += len(data)
        if self._packing and self._given > max(_LARGE, _RATIO * self._size):
            raise UserError(
                f"{self._place}: unpacks to more than {_RATIO} times its size, which no rows do"
                f" (if they are rows, unpack them: {self._unpack})"
            )
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _explained(place: str, packing: str) -> Iterator[None]:
    try:
        yield
    except EOFError:
        raise UserError(f"{place}: ends in the middle of its {packing} data (copy or download it again)") from None
    except _DAMAGED as error:
        if packing:
            raise UserError(
                f"{place}: damaged {packing} data: {first_line(error)} (copy or download it again)"
            ) from None
        if isinstance(error, OSError):
            raise UserError(f"{place}: cannot be read: {error.strerror or error}") from None
        raise


def _zstandard(raw: BinaryIO) -> Any:
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")


_UNPACK: dict[str, Callable[[BinaryIO], Any]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "Zstandard": _zstandard,
}


def opened_zip(path: Path) -> zipfile.ZipFile:
    """An archive, which closes when nothing has it any more: to open it reads the list of its files. UserError if damaged."""
    with plain_path(path) as readable, _explained(str(path), "ZIP"):
        return zipfile.ZipFile(readable)


def members(path: Path) -> dict[str, Part]:
    """The files in a ZIP archive by their names. UserError if there are too many, if two have one name, or if it is damaged."""
    archive = opened_zip(path)
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if len(names) > _MOST_MEMBERS:
        raise UserError(
            f"{path}: {len(names):,} files, more than {_MOST_MEMBERS:,} (unpack it: {shell_command('unzip', path)})"
        )
    found = {name: Part(path, name, archive=archive) for name in names}
    if len(found) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise UserError(f"{path}: has two files named {twice!r} (make the archive again with each file once)")
    return found
