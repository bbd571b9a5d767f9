"""What the caches hold: models from the Hub, converted models, and leftovers of interrupted conversions."""

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetune.errors import UserError, shell_command
from finetune.models import builtin, conversion
from finetune.models.find import converted_dir
from finetune.records.lock import held_folder, is_held
from finetune.settings import environment

IN_PROGRESS = "conversion in progress"
DAMAGED = "damaged"
NOT_OURS = "not a conversion of ours"
UNREADABLE = "not readable for this user"


@dataclass(frozen=True)
class CachedModel:
    """A folder in one of the caches.

    Two models can have the same ``name``: see ``named``. ``revision`` is the newest commit from the Hub, or the SHA-256 of what
    was converted, "" if unknown. ``size`` is in bytes. ``last_used`` is in seconds since 1970, as far as the file system
    records reads. ``problem`` is one clause, "" if the model is usable.
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
        what, why = getattr(error, "filename", None) or "the cache", getattr(error, "strerror", None) or error
        remedy = "make it readable, or set FINETUNE_CACHE and HF_HOME to other folders"
        raise UserError(f"{what}: cannot be read: {why} ({remedy})") from None
    return sorted(models, key=lambda model: (-model.size, model.name))


def named(models: Sequence[CachedModel], name: str) -> list[CachedModel]:
    """The models that a user can mean by a name, or by a path, which only one of them has."""
    return [model for model in models if name in (model.name, str(model.path))]


def remedy(model: CachedModel, models: Sequence[CachedModel]) -> str:
    """What to do about this one of the models, which has a problem: the command that removes it, if that helps."""
    if model.problem == UNREADABLE:
        return f"make {model.path} readable, or set FINETUNE_CACHE to another folder"
    if model.problem == NOT_OURS:
        return f"look into {model.path}, and remove it yourself"
    name = model.name if len(named(models, model.name)) == 1 else str(model.path)
    return shell_command("python", "-m", "finetune", "models", "--remove", name)


def remove(model: CachedModel) -> int:
    """Remove a model from its cache; returns the bytes that were freed.

    UserError (exit 2) if it is in use, not ours or already gone, (exit 4) if it cannot be removed.
    """
    try:
        if model.path.is_symlink():
            raise UserError(f"{model.path}: a symbolic link, which is not followed (remove the link yourself)")
        if model.where == "hub":
            return _remove_from_hub(model)
        with ExitStack() as stack:
            try:
                is_free = stack.enter_context(held_folder(model.path))
            except PermissionError:
                raise
            except OSError:  # a file system without locks
                is_free = model.problem != IN_PROGRESS
            if not is_free:
                work = "a conversion is in progress" if model.where == "leftover" else "a script uses it"
                raise UserError(f"{model.name}: {work} (try again when it has ended)")
            _remove_ours(model)
    except FileNotFoundError:
        raise UserError(f"{model.name}: already removed") from None
    except OSError as error:
        raise UserError(f"{model.path}: cannot be removed: {error.strerror or error}", exit_code=4) from None
    return model.size


def _remove_ours(model: CachedModel) -> None:
    if model.where == "leftover":
        others = {path.name for path in model.path.iterdir()} - conversion.WORK_FOLDERS
        why = f"no conversion wrote the {min(others)} in it" if others else ""
    else:
        why = conversion.why_not_ours(model.path)
    if why:
        raise UserError(f"{model.path}: not removed: {why} (look into it, and remove it yourself)")
    if model.where == "leftover":
        shutil.rmtree(model.path)
        return
    # One rename first: nobody can find half of it, and a kill leaves only a leftover.
    with tempfile.TemporaryDirectory(prefix=conversion.WORK_PREFIX, dir=model.path.parent) as work:
        model.path.rename(Path(work) / conversion.REMOVED)


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
            problem = "incomplete download" if unfinished else DAMAGED
            yield CachedModel(name, "hub", "", *_size_and_use(path), problem, path)


def _remove_from_hub(model: CachedModel) -> int:
    if any(map(is_held, (model.path.parent / ".locks" / model.path.name).glob("*.lock"))):
        raise UserError(f"{model.name}: it is being downloaded (try again when the download has ended)")
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
        with suppress(FileNotFoundError):  # a conversion has just ended
            if path.name.startswith(conversion.WORK_PREFIX):
                problem = IN_PROGRESS  # so it counts as long as nobody can tell: a file system without locks
                try:
                    with held_folder(path) as is_free:
                        problem = "leftover of a killed conversion" if is_free else IN_PROGRESS
                except PermissionError:
                    problem = UNREADABLE
                except OSError:
                    pass
                yield CachedModel(path.name, "leftover", "", *_size_and_use(path), problem, path)
            elif path == conversion.folder_of(models, builtin.FILE, builtin.SHA256):
                yield CachedModel("builtin", "builtin", *_record(path), path)
            elif path.is_dir():
                yield CachedModel(path.name, "converted", *_record(path), path)


def _record(folder: Path) -> tuple[str, int, float, str]:
    """The revision that a converted folder was made from, its bytes, its last use, and what is wrong with it."""
    size, last_used = _size_and_use(folder)
    try:
        if (record := conversion.read_record(folder)) is None:
            return "", size, last_used, NOT_OURS
        if record.version != conversion.VERSION:
            return record.revision, size, last_used, "converted by another version"
        is_whole = conversion.converted_folder(folder.parent, record.name, record.revision)
    except (PermissionError, UserError):
        return "", size, last_used, UNREADABLE
    return record.revision, size, last_used, "" if is_whole else DAMAGED


def _size_and_use(folder: Path) -> tuple[int, float]:
    """The bytes of all files below the folder, and when one of them was last read."""
    files = [path.lstat() for path in folder.rglob("*") if path.is_file()] or [folder.lstat()]
    return sum(file.st_size for file in files), max(file.st_atime for file in files)
