"""What the caches hold: models from the Hub, converted models, and leftovers of interrupted conversions."""

import contextlib
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetune.errors import UserError
from finetune.models import builtin, conversion
from finetune.models.find import converted_dir
from finetune.records.lock import held_folder
from finetune.settings import environment

IN_PROGRESS = "conversion in progress"


@dataclass(frozen=True)
class CachedModel:
    """A folder in one of the caches.

    ``name`` is unique. ``revision`` is the newest commit from the Hub, or the SHA-256 of what was converted, "" if unknown.
    ``size`` is in bytes. ``last_used`` is in seconds since 1970, as far as the file system records reads. ``problem`` is one
    clause, "" if the model is usable.
    """

    name: str
    where: Literal["hub", "builtin", "converted", "leftover"]
    revision: str
    size: int
    last_used: float
    problem: str
    path: Path


def cached_models() -> list[CachedModel]:
    """Everything in the caches, largest first. UserError if a cache cannot be read."""
    try:
        models = [*_converted(), *_of_the_hub()]  # ours first: it says what to do without a home folder
    except (OSError, ValueError) as error:
        raise UserError(f"the cache cannot be read: {error}") from None
    return sorted(models, key=lambda model: (-model.size, model.name))


def remove(model: CachedModel) -> int:
    """Remove a model from its cache; returns the bytes that were freed.

    UserError (exit 2) if it is being converted or already gone, (exit 4) if it cannot be removed.
    """
    try:
        if model.where == "hub":
            return _remove_from_hub(model)
        if model.where == "leftover":
            with held_folder(model.path) as is_ours:
                if not is_ours:
                    raise UserError(f"{model.name}: a conversion is in progress (try again when it has finished)")
                shutil.rmtree(model.path)
        else:
            # One rename first: nobody can find half of it, and a kill leaves only a leftover.
            with tempfile.TemporaryDirectory(prefix=conversion.WORK_PREFIX, dir=model.path.parent) as work:
                model.path.rename(Path(work) / "removed")
    except FileNotFoundError:
        raise UserError(f"{model.name}: already removed") from None
    except OSError as error:
        raise UserError(f"{model.path}: cannot be removed: {error.strerror}", exit_code=4) from None
    return model.size


def _scan() -> Any:
    """The scan of the Hub client's cache, with its models; None if there is no cache."""
    environment.load()  # before the client is imported: it reads some variables only then
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return scan_cache_dir()
    except CacheNotFound:
        return None


def _of_the_hub() -> Iterator[CachedModel]:
    if (found := _scan()) is None:
        return
    repos = {repo.repo_path: repo for repo in found.repos}
    for path in found.cache_dir.glob("models--*"):
        name = path.name.removeprefix("models--").replace("--", "/")
        unfinished = [file for file in found.incomplete_files if path in file.file_path.parents]
        if repo := repos.get(path):
            newest = max(repo.revisions, key=lambda revision: revision.last_modified, default=None)
            size = repo.size_on_disk + sum(file.size_on_disk for file in unfinished)
            problem = "incomplete download" if unfinished else ""
            yield CachedModel(
                name, "hub", newest.commit_hash if newest else "", size, repo.last_accessed, problem, path
            )
        elif path.is_dir():
            problem = "incomplete download" if unfinished else "damaged"
            yield CachedModel(name, "hub", "", *_size_and_use(path), problem, path)


def _remove_from_hub(model: CachedModel) -> int:
    found = _scan()
    repo = next((repo for repo in found.repos if repo.repo_path == model.path), None) if found else None
    freed = model.size
    if repo and repo.revisions:
        # Only this repository: a copy of it under another name has the same commits.
        only = dataclasses.replace(found, repos=frozenset({repo}))
        only.delete_revisions(*(revision.commit_hash for revision in repo.revisions)).execute()
    else:  # the Hub's client does not remove damaged repositories
        shutil.rmtree(model.path)
    if model.path.exists():  # the client only warns
        raise UserError(f"{model.path}: cannot be removed", exit_code=4)
    return freed


def _converted() -> Iterator[CachedModel]:
    models = converted_dir()
    for path in models.iterdir() if models.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # a conversion has just ended
            if path.name.startswith(conversion.WORK_PREFIX):
                problem = IN_PROGRESS  # so it counts as long as nobody can tell: a file system without locks
                with contextlib.suppress(OSError), held_folder(path) as is_free:
                    problem = "leftover of a killed conversion" if is_free else IN_PROGRESS
                yield CachedModel(path.name, "leftover", "", *_size_and_use(path), problem, path)
            elif path == conversion.folder_of(models, builtin.FILE, builtin.SHA256):
                yield CachedModel("builtin", "builtin", *_record(path), path)
            elif path.is_dir():
                yield CachedModel(path.name, "converted", *_record(path), path)


def _record(folder: Path) -> tuple[str, int, float, str]:
    """The revision that a converted folder was made from, its bytes, its last use, and what is wrong with it."""
    size, last_used = _size_and_use(folder)
    try:
        record = json.loads((folder / conversion.RECORD).read_text(encoding="utf-8"))
        name, revision, version = record["from"], record[conversion.REVISION], record["version"]
        is_whole = conversion.converted_folder(folder.parent, name, revision) == folder
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", size, last_used, "damaged"
    of_another = "damaged" if version == conversion.VERSION else "converted by another version"
    return revision, size, last_used, "" if is_whole else of_another


def _size_and_use(folder: Path) -> tuple[int, float]:
    """The bytes of all files below the folder, and when one of them was last read."""
    files = [path.lstat() for path in folder.rglob("*") if path.is_file()] or [folder.lstat()]
    return sum(file.st_size for file in files), max(file.st_atime for file in files)
