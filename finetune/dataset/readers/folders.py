"""Which files of a folder or an archive hold rows, and which are not read."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from finetune.errors import UserError
from finetune.records.files import DATASET_RECORD, REJECTED

# what is about the rows, such as README.md, readme_de.md and LICENSE-MIT.txt; notices.txt and license.jsonl are not
_ABOUT = re.compile(
    r"(readme([-_.][a-z]{2}([-_][a-z]{2,4})?)?|licen[sc]e(-[\w+-]+(\.\d+)*)?|copying|notice|citation|changelog)"
    r"(\.(txt|md|rst|cff|bib|html?))?|thumbs\.db|desktop\.ini|_success",
    re.IGNORECASE,
)
_TEXTS = (".txt", ".md")
# files that are written beside rows, and keys that they have; of that name others can have rows
_WRITTEN = {
    DATASET_RECORD: {"format", "type", "files"},
    REJECTED: {"place", "reason", "row"},
    "state.json": {"_data_files", "_fingerprint"},  # these by datasets
    "dataset_dict.json": {"splits"},
    "dataset_info.json": {"features"},
    "dataset_infos.json": set[str](),
}
_MOST_WRITTEN = 1 << 24  # bytes
# files that hold no rows, whatever else is in the folder; any other may
_NO_ROWS = frozenset(
    ".png .jpg .jpeg .gif .webp .svg .bmp .ico .wav .mp3 .flac .ogg .mp4 .avi .mov .mkv .py .ipynb .sh .js .css .c .h .md .rst"
    " .log .lock .toml .cfg .ini .safetensors .gguf .bin .pt .pth .md5 .sha256 .sum .crc".split()
)


@dataclass
class Found:
    """Files in a folder: those to read, and the others that are not hidden or about the rows."""

    paths: list[Path] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def suspicious(self) -> list[str]:
        """Those not read that may hold rows."""
        return [name for name in self.left if PurePosixPath(name).suffix.lower() not in _NO_ROWS]


def is_quiet(name: str) -> bool:
    """Whether a file, by its path, is hidden, about the rows, or made by an operating system: it is not told of."""
    return _is_hidden(name) or _ABOUT.fullmatch(PurePosixPath(name).name) is not None


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part in ("__MACOSX", "__pycache__") for part in PurePosixPath(name).parts)


def _is_for(
    name: str, opened: Callable[[], AbstractContextManager[BinaryIO]], *, is_read: bool, documents: bool
) -> str:
    """What becomes of a file by its path: "rows" to read, "told" of, or "" for neither. ``is_read``: its suffix is of rows.

    With ``documents``, what a project says about itself in README and CHANGELOG is text to learn from; a licence is not.
    """
    path = PurePosixPath(name)
    if _is_hidden(name):
        return ""
    if _ABOUT.fullmatch(path.name):
        is_table = path.suffix.lower() not in _TEXTS
        is_text = documents and path.name.lower().startswith(("readme", "changelog"))
        return "rows" if is_read and (is_table or is_text) else ""
    if is_read and path.name in _WRITTEN:
        return _written(path.name, opened)
    return "rows" if is_read else "told"


def _written(name: str, opened: Callable[[], AbstractContextManager[BinaryIO]]) -> str:
    """What becomes of a file with the name of one that we or datasets write: it may have rows of somebody else."""
    with opened() as file:
        begin = file.readline(_MOST_WRITTEN) if name == REJECTED else file.read(_MOST_WRITTEN)
    try:
        value = json.loads(begin)
    except (ValueError, RecursionError):
        return "rows"
    if not isinstance(value, dict):
        return "rows"
    if value.keys() >= _WRITTEN[name]:
        return ""
    return "rows" if name in (DATASET_RECORD, REJECTED) else "told"


def searched(folder: Path, is_read: Callable[[str], bool], *, documents: bool) -> Found:
    """The files of a folder and of those in it. UserError if one of them cannot be looked into."""
    found = Found()
    for path in sorted(_files(folder)):
        name = path.relative_to(folder).as_posix()
        saved = _saved_by_datasets(path.parent)
        if saved is not None and path.suffix == ".arrow":  # another one, such as an index or a cache, has the same rows
            if path.name in saved:
                found.paths.append(path)
            elif not _is_cache(path):
                found.left.append(name)
            continue
        reads = path.is_file() and is_read(path.name) and not _is_cache(path)
        kind = _is_for(name, partial(_opened, path), is_read=reads, documents=documents)
        if kind == "rows":
            found.paths.append(path)
        elif kind:
            found.left.append(name)
    return found


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror} (make it readable for this user)") from None


def _is_cache(path: Path) -> bool:
    """Whether it is what datasets computed from other files of the folder."""
    return path.suffix == ".arrow" and path.name.startswith("cache-")


def _files(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be looked into: {error.strerror} (make it readable for this user)")

    for here, folders, names in os.walk(folder, onerror=refuse):
        linked = [name for name in folders if (Path(here) / name).is_symlink()]
        yield from (Path(here) / name for name in [*names, *linked])


def _saved_by_datasets(folder: Path) -> frozenset[str] | None:
    """The names of the files with the rows, if datasets saved them to the folder (save_to_disk)."""
    state = folder / "state.json"
    if not (state.is_file() and (folder / "dataset_info.json").is_file()):
        return None
    try:
        value = json.loads(state.read_text(encoding="utf-8"))
        names = frozenset(str(file["filename"]) for file in value["_data_files"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    if value.get("_indices_data_files"):
        raise UserError(
            f"{folder}: rows chosen from a larger dataset by an index, which is not read"
            " (write them with datasets: to_parquet)"
        )
    if lost := sorted(name for name in names if not (folder / name).is_file()):
        raise UserError(f"{folder}: saved by datasets, but without {lost[0]} (copy or save it again)")
    return names


def divided(
    names: Iterable[str],
    opened: Callable[[str], AbstractContextManager[BinaryIO]],
    is_read: Callable[[str], bool],
    *,
    documents: bool,
) -> tuple[list[str], list[str]]:
    """The members of an archive that are read, and those that are not but may be told of."""
    kinds = {name: _is_for(name, partial(opened, name), is_read=is_read(name), documents=documents) for name in names}
    return [name for name in kinds if kinds[name] == "rows"], [name for name in kinds if kinds[name] == "told"]
