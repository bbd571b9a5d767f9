"""Where a model comes from: the Hub, a folder, a GGUF file or the builtin one. Each becomes a folder that MLX can load."""

import json
import os
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Literal

from finetune.errors import UserError, path_of, shortened
from finetune.models import config_check, pytorch_bin
from finetune.models.conversion import convert_once, intact_folder
from finetune.models.foreign import check_safetensors, foreign
from finetune.models.hub import ask_hub, download_snapshot, listed_files
from finetune.records import files

DEFAULT_MODEL = "google/gemma-3-270m-it"

_WEIGHTS = "model*.safetensors"  # what mlx-lm loads; repositories also hold others, such as consolidated.safetensors
_INDEX = "model.safetensors.index.json"
_GENERATION = "generation_config.json"
_MOST_JSON = 64 << 20  # bytes; as objects of Python they take up to 20 times as much
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
HUB_FILES = [*pytorch_bin.CONFIGURATION, _WEIGHTS]


@dataclass(frozen=True)
class ModelFolder:
    """A model on this disk, ready to be loaded.

    ``path`` holds config.json, safetensors and the tokenizer. It is in the cache if the model had to be downloaded or
    converted. ``name`` is what the user asked for: "google/gemma-3-270m-it", "builtin" or "model.gguf". ``revision`` is the
    commit on the Hub, or the SHA-256 of the GGUF file; None for a folder.
    """

    path: Path
    name: str
    source: Literal["hub", "folder", "gguf", "builtin"]
    revision: str | None


def find_model(name: str | None, say: Callable[[str], None], *, weights: bool = True) -> ModelFolder:
    """Find the model ``name``, downloading and converting what is needed.

    ``name`` is a folder, a .gguf file, "builtin" or a repository on the Hub. None means the default model, and only the
    default falls back to the builtin model. ``say`` is told about a fallback and before a conversion, which takes a while
    and is done once. Without ``weights`` only configuration and tokenizer are downloaded, for a plan.
    UserError (exit 2) if there is no such model or it is not complete, (exit 4) if the cache cannot be written.
    """
    if name is None:
        return _default(say, weights=weights)
    if name == "builtin":
        from finetune.models import builtin

        return ModelFolder(builtin.builtin_folder(converted_dir(), say), name, "builtin", builtin.SHA256)
    path = path_of(name, "--model")
    if path.is_dir():
        return ModelFolder(_from_folder(path, name, say, weights=weights), name, "folder", None)
    if path.is_file() and path.suffix.lower() == ".gguf":
        return _from_gguf(path, name, say)
    if path.exists():
        raise UserError(f"{name}: not a model folder or a .gguf file (use the folder that contains config.json)")
    if path.is_absolute() or path.suffix.lower() == ".gguf" or name.startswith((".", "~")):
        raise UserError(f"{name}: no such file or folder")
    try:
        return _from_hub(name, say, weights=weights)
    except UserError as error:
        raise UserError(
            f"{error} (fix this, or use --model builtin, which needs no network)", error.exit_code
        ) from None


def cache_dir() -> Path:
    """The folder for everything that FineTune caches: $FINETUNE_CACHE, else in the platform's folder for caches.

    UserError if the user has no home folder either, as some containers' users.
    """
    if chosen := os.environ.get("FINETUNE_CACHE"):
        return path_of(chosen, "FINETUNE_CACHE")
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "finetune"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finetune"
    except RuntimeError:
        raise UserError("this user has no home folder (set FINETUNE_CACHE to a folder for models)") from None


def cache_to_avoid() -> dict[str, Path]:
    """The cache under its name for an error, for ``files.check_apart``; empty if there is none."""
    with suppress(UserError):
        return {"the cache": cache_dir()}
    return {}


def converted_dir() -> Path:
    """The folder in the cache that holds a folder for each converted model."""
    return cache_dir() / "models"


def _default(say: Callable[[str], None], *, weights: bool) -> ModelFolder:
    try:
        # a plan falls back if the run would: without access to the Hub the weights must be in the cache
        return _from_hub(DEFAULT_MODEL, say, weights=weights or ask_hub(DEFAULT_MODEL, "model") is not None)
    except UserError as error:
        model = find_model("builtin", say)
        say(
            f"Warning: the default model is not available ({error}). Falling back to the builtin SmolLM2-135M-Instruct."
            f" To use the default, fix this and pass --model {DEFAULT_MODEL}."
        )
        return model


def _from_gguf(path: Path, name: str, say: Callable[[str], None]) -> ModelFolder:
    from finetune.models import gguf

    try:
        sha256 = files.file_hash(path)
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from None
    folder = convert_once(path.name, sha256, converted_dir(), partial(gguf.convert, path, say=say), say)
    return ModelFolder(folder, name, "gguf", sha256)


def _from_hub(repo_id: str, say: Callable[[str], None], *, weights: bool) -> ModelFolder:
    path = download_snapshot(repo_id, "model", HUB_FILES if weights else pytorch_bin.CONFIGURATION)
    commit = path.name
    listed = listed_files(repo_id, commit)
    names = [file.name for file in path.iterdir()] if listed is None else listed
    if not any(fnmatch(name, _WEIGHTS) for name in names if "/" not in name):
        if pytorch_bin.has_weights(names):
            folder = intact_folder(converted_dir(), repo_id, commit, say)
            path = folder or _with_pickles(repo_id, path, weights=weights)
        elif listed is not None:
            raise UserError(f"{repo_id}: {_why_not_loaded(listed)}")
    try:
        if weights and _is_pickled(path):
            check_folder(path, weights=False)
            path = convert_once(repo_id, commit, converted_dir(), partial(pytorch_bin.convert, path), say)
        check_folder(path, weights=weights)
    except UserError as error:
        raise UserError(f"{repo_id}: {error}", error.exit_code) from None
    return ModelFolder(path, repo_id, "hub", commit)


def _why_not_loaded(names: Collection[str]) -> str:
    """Why a repository with these files, none of which is weights for MLX or PyTorch, is not a model that can be used."""
    if any(name.endswith(".gguf") for name in names):
        return "it holds GGUF files: download one of them and pass its path to --model"
    if "adapter_model.safetensors" in names:
        return "it holds an adapter, not a model: pass the model that the adapter was trained on"
    if others := sorted(name for name in names if name.endswith((".safetensors", ".bin", ".pth", ".h5", ".onnx"))):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        return (
            f"FineTune cannot load its weights, {others[0]}{more}: it needs model.safetensors, in one file or in shards"
        )
    return "it holds no weights: model.safetensors is missing"


def _with_pickles(repo_id: str, path: Path, *, weights: bool) -> Path:
    """The copy in the Hub's cache, completed by PyTorch's weights if ``weights`` are needed."""
    pytorch_bin.require_torch(repo_id)  # before gigabytes are downloaded in vain
    if not weights:
        return path
    return download_snapshot(repo_id, "model", [*HUB_FILES, *pytorch_bin.FILES], revision=path.name)


def _from_folder(path: Path, name: str, say: Callable[[str], None], *, weights: bool) -> Path:
    if not _is_pickled(path):
        check_folder(path, weights=weights)
        return path
    check_folder(path, weights=False)
    source, revision = path.resolve(), pytorch_bin.content_hash(path)
    if folder := intact_folder(converted_dir(), source.name, revision, say):
        return folder
    pytorch_bin.require_torch(name)
    if not weights:
        return path
    return convert_once(source.name, revision, converted_dir(), partial(pytorch_bin.convert, source), say)


def _is_pickled(folder: Path) -> bool:
    names = [file.name for file in folder.iterdir()]
    return not any(fnmatch(name, _WEIGHTS) for name in names) and pytorch_bin.has_weights(names)


def check_folder(folder: Path, *, weights: bool) -> None:
    """UserError that names everything that is missing or damaged; missing weights count if ``weights`` are needed."""
    if (folder / files.ADAPTER_CONFIG).exists() and not (folder / "config.json").exists():
        raise UserError(f"{folder}: an adapter, not a model (pass the model that the adapter was trained on)")
    if strange := sorted(path.name for path in folder.iterdir() if files.is_special(path)):
        # whoever opens a pipe waits for somebody to write into it
        raise UserError(f"{folder}: not a model folder: {shortened(strange[0])} is not a regular file (remove it)")
    problems: list[str] = []
    config = _read(folder / "config.json", problems)
    if config is not None:
        with foreign(f"{folder}: config.json cannot be read"):  # nested too deeply to be shown
            problems += config_check.problems(config)
    if (folder / _GENERATION).exists():
        _read(folder / _GENERATION, problems)
    shards = {file.name for file in folder.glob(_WEIGHTS)}
    if weights:
        shards = (shards or {"model.safetensors"}) | _shards_of_index(folder, problems)
    problems += filter(None, (_damage(folder / shard) for shard in sorted(shards)))
    if not any((folder / file).is_file() for file in _TOKENIZERS):
        problems.append("tokenizer.json is missing")
    if problems:
        raise UserError(f"{folder}: not a complete model folder: {'; '.join(problems)}")


def _read(path: Path, problems: list[str]) -> Mapping[str, object] | None:
    """The mapping in a JSON file; None, and one problem more, if it cannot be read."""
    try:
        if path.stat().st_size > _MOST_JSON:
            raise ValueError("it is larger than 64 MB")
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise TypeError("it is not a JSON object")
    except FileNotFoundError:
        problems.append(f"{path.name} is missing")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        problems.append(f"{path.name} cannot be read ({getattr(error, 'strerror', None) or error})")
    else:
        return value
    return None


def _shards_of_index(folder: Path, problems: list[str]) -> set[str]:
    if not (folder / _INDEX).exists() or (index := _read(folder / _INDEX, problems)) is None:
        return set()
    places = index.get("weight_map", {})
    if not isinstance(places, Mapping):
        problems.append(f"weight_map in {_INDEX} is not a mapping")
        return set()
    return {str(shard) for shard in places.values()}


def _damage(shard: Path) -> str | None:
    if not os.access(shard, os.R_OK):  # safetensors says of both that it is missing
        return f"{shard.name} {'cannot be read' if shard.exists() else 'is missing'}"
    try:
        with foreign(f"{shard.name} is damaged"):
            check_safetensors(shard)
    except UserError as error:
        return str(error)
    return None
