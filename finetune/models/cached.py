"""What lies in the caches: models of the Hub, converted models, and what interrupted conversions have left."""

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
from finetune.models.hub import read_dotenv
from finetune.records.lock import held


@dataclass(frozen=True)
class CachedModel:
    name: str  # no other in the caches has it
    where: Literal["hub", "builtin", "converted", "leftover"]
    revision: str  # commit on the Hub, the newest of several, or SHA-256 of what was converted; "" where nothing says
    size: int  # bytes
    last_used: float  # seconds since 1970, as well as the file system knows
    problem: str  # "" where nothing is wrong, else one clause
    path: Path


def cached_models() -> list[CachedModel]:
    """All that is there, largest first. UserError (exit 2) where a cache cannot be read."""
    try:
        models = [*_of_the_hub(), *_converted()]
    except (OSError, ValueError) as error:
        raise UserError(f"the cache cannot be read: {error}") from None
    return sorted(models, key=lambda model: (-model.size, model.name))


def remove(model: CachedModel) -> int:
    """Remove it, and give the bytes that were freed.

    UserError: exit 2 where it is just being converted or already gone, 4 where it cannot be removed.
    """
    try:
        if model.where == "hub":
            return _remove_from_hub(model)
        if model.where == "leftover":
            with held(model.path) as is_ours:
                if not is_ours:
                    raise UserError(f"{model.name}: it is being converted (try again when that is done)")
                shutil.rmtree(model.path)
        else:
            # First out of the way by one rename, as it came: nobody finds half of it, and a kill leaves a leftover.
            with tempfile.TemporaryDirectory(prefix=conversion.WORK_PREFIX, dir=model.path.parent) as work:
                model.path.rename(Path(work) / "removed")
    except FileNotFoundError:
        raise UserError(f"{model.name}: it is no longer there") from None
    except OSError as error:
        raise UserError(f"{model.path}: cannot be removed: {error.strerror}", exit_code=4) from None
    return model.size


def _scan() -> Any:
    """What huggingface_hub finds in its cache; None where there is none."""
    read_dotenv()  # before the client is imported: it reads some variables only then
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
            problem = "a download did not end" if unfinished else ""
            yield CachedModel(
                name, "hub", newest.commit_hash if newest else "", size, repo.last_accessed, problem, path
            )
        elif path.is_dir():
            problem = "a download did not end" if unfinished else "damaged"
            yield CachedModel(name, "hub", "", *_size_and_use(path), problem, path)


def _remove_from_hub(model: CachedModel) -> int:
    found = _scan()
    repo = next((repo for repo in found.repos if repo.repo_path == model.path), None) if found else None
    freed = model.size
    if repo and repo.revisions:
        # Only this repository: a copy of it under another name has the same commits.
        only = dataclasses.replace(found, repos=frozenset({repo}))
        only.delete_revisions(*(revision.commit_hash for revision in repo.revisions)).execute()
    else:  # the Hub's client plans nothing for what is damaged
        shutil.rmtree(model.path)
    if model.path.exists():  # the client only warns
        raise UserError(f"{model.path}: cannot be removed", exit_code=4)
    return freed


def _converted() -> Iterator[CachedModel]:
    models = converted_dir()
    for path in models.iterdir() if models.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # a conversion has just ended
            if path.name.startswith(conversion.WORK_PREFIX):
                with held(path) as is_free:
                    problem = "its conversion was killed" if is_free else "is being converted"
                yield CachedModel(path.name, "leftover", "", *_size_and_use(path), problem, path)
            elif path == conversion.folder_of(models, builtin.FILE, builtin.SHA256):
                yield CachedModel("builtin", "builtin", *_record(path), path)
            elif path.is_dir():
                yield CachedModel(path.name, "converted", *_record(path), path)


def _record(folder: Path) -> tuple[str, int, float, str]:
    """Of a converted folder: the revision it was made from, bytes, last use, and what is wrong with it."""
    size, last_used = _size_and_use(folder)
    try:
        record = json.loads((folder / conversion.RECORD).read_text(encoding="utf-8"))
        name, revision, version = record["from"], record[conversion.REVISION], record["version"]
        is_whole = conversion.converted_folder(folder.parent, name, revision) == folder
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", size, last_used, "damaged"
    of_another = "damaged" if version == conversion.VERSION else "made by another version"
    return revision, size, last_used, "" if is_whole else of_another


def _size_and_use(folder: Path) -> tuple[int, float]:
    """Bytes of all files below the folder, and when one of them was last read."""
    files = [path.lstat() for path in folder.rglob("*") if path.is_file()] or [folder.lstat()]
    return sum(file.st_size for file in files), max(file.st_atime for file in files)
