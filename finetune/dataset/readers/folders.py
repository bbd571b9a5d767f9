"""Which files of a folder or an archive hold rows, and which are not read."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from finetune.errors import UserError
from finetune.records.files import DATASET_RECORD, REJECTED

_ABOUT = ("readme", "license", "licence", "copying", "notice", "citation", "changelog", "thumbs.db", "desktop.ini")
_OURS = (DATASET_RECORD, REJECTED)
_OF_DATASETS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # written by datasets
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
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") or part in ("__MACOSX", "__pycache__") for part in parts) or (
        parts[-1].lower().startswith(_ABOUT) or parts[-1] == "_SUCCESS"
    )


def searched(folder: Path, is_read: Callable[[str], bool], *, documents: bool) -> Found:
    """The files of a folder and of those in it. UserError if one of them cannot be looked into."""
    found = Found()
    for path in sorted(_files(folder)):
        name = path.relative_to(folder).as_posix()
        saved = _saved_by_datasets(path.parent)
        if saved is not None:  # what else is there, such as an index or a cache, are the same rows
            if path.name in saved:
                found.paths.append(path)
            continue
        is_about = documents and PurePosixPath(name).suffix.lower() in (".md", ".txt") and _is_readme(name)
        if path.name in (*_OURS, *_OF_DATASETS) or (is_quiet(name) and not is_about):
            continue
        if path.is_file() and is_read(path.name) and not _is_cache(path):
            found.paths.append(path)
        else:
            found.left.append(name)
    return found


def _is_readme(name: str) -> bool:
    return not any(part.startswith(".") for part in PurePosixPath(name).parts) and PurePosixPath(
        name
    ).name.lower().startswith(("readme", "changelog"))


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


def divided(names: Iterable[str], is_read: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """The members of an archive that are read, and those that are not but may be told of."""
    told = [name for name in names if not is_quiet(name)]
    return [name for name in told if is_read(name)], [name for name in told if not is_read(name)]
