"""Whether the files of a cached model still hold what was written: one flipped bit of a disk is found.

A conversion's record has the SHA-256 of each file. In the Hub's cache a file is a link to one that is named after its content:
after the SHA-256 of a large file, and after git's SHA-1 of a small one.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from finetune.models import conversion
from finetune.models.cached import DAMAGED, CachedModel
from finetune.terminal import Progress, counted

_SHA1, _SHA256 = 40, 64  # hexadecimal digits


@dataclass(frozen=True)
class Verdict:
    """``verified`` means that every file of the model was read and is right. ``why`` is one clause if it is not so."""

    result: Literal["verified", "damaged", "not verifiable"]
    why: str = ""


class _File(NamedTuple):
    path: Path
    digest: str  # "" if nothing says what it should be


def verify(models: Sequence[CachedModel]) -> list[Verdict]:
    """Read every file of the models and compare it with its hash; shows the progress, as it takes seconds a gigabyte."""
    with Progress("Verifying", round(sum(model.size for model in models) / 1e6), "MB") as bar:
        return [_verdict(model, bar) for model in models]


def _verdict(model: CachedModel, bar: Progress) -> Verdict:
    bar.advance(0, model.name)
    if model.problem:
        return Verdict("damaged" if model.problem == DAMAGED else "not verifiable", model.problem)
    known = list(_of_the_hub(model.path) if model.where == "hub" else _of_a_conversion(model.path))
    damaged, unread = [], []
    for path, digest in known:
        try:
            if digest and _digest(path, digest) != digest:
                damaged.append(path.name)
            bar.advance(round(path.stat().st_size / 1e6))
        except PermissionError:
            unread.append(path.name)
        except OSError:  # gone, or the disk does not give it back
            damaged.append(path.name)
    if damaged:
        return Verdict("damaged", ", ".join(damaged))
    if unread:
        return Verdict("not verifiable", f"not readable for this user: {', '.join(unread)}")
    if unknown := sum(not digest for _, digest in known):
        older = " (converted by an older version)" if model.where != "hub" else ""
        return Verdict("not verifiable", f"no hash of {unknown} of {counted(len(known), 'file')}{older}")
    return Verdict("verified") if known else Verdict("not verifiable", "no files")


def _of_a_conversion(folder: Path) -> Iterator[_File]:
    if record := conversion.read_record(folder):
        for name in record.sizes:
            yield _File(folder / name, record.hashes.get(name, ""))


def _of_the_hub(repository: Path) -> Iterator[_File]:
    """Each file once, though several revisions of a model can have it."""
    files = (path for path in sorted((repository / "snapshots").rglob("*")) if path.is_symlink() or path.is_file())
    seen = set()
    for path in files:
        name = path.readlink().name if path.is_symlink() else ""
        if name not in seen or not name:
            seen.add(name)
            yield _File(path, name if re.fullmatch(rf"[0-9a-f]{{{_SHA1}}}|[0-9a-f]{{{_SHA256}}}", name) else "")


def _digest(path: Path, known: str) -> str:
    """The digest of the kind that ``known`` is."""
    with path.open("rb") as file:
        if len(known) == _SHA256:
            return hashlib.file_digest(file, "sha256").hexdigest()
        header = f"blob {os.fstat(file.fileno()).st_size}\0".encode()  # as git hashes a file
        return hashlib.file_digest(file, lambda: hashlib.sha1(header)).hexdigest()
