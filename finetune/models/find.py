"""Where weights come from: the Hub, a folder, a GGUF file or the builtin model. All end as a model folder."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from finetune.errors import UserError, path_of
from finetune.models import config_check, pytorch_bin
from finetune.models.conversion import convert_once, converted_folder
from finetune.models.fingerprint import fingerprint
from finetune.models.hub import ask_hub, cached_snapshot, download_snapshot
from finetune.records import files

DEFAULT_MODEL = "google/gemma-3-270m-it"
__all__ = ["DEFAULT_MODEL", "ModelFolder", "cache_dir", "converted_dir", "find_model", "fingerprint"]

HUB_FILES = [*pytorch_bin.CONFIGURATION, "*.safetensors"]


@dataclass(frozen=True)
class ModelFolder:
    path: Path  # holds config.json, safetensors and the tokenizer; in the cache where it had to be converted
    name: str  # as asked for: "google/gemma-3-270m-it", "builtin", "model.gguf"
    source: Literal["hub", "folder", "gguf", "builtin"]
    revision: str | None  # commit on the Hub, or SHA-256 of the GGUF


def find_model(name: str | None, say: Callable[[str], None], *, weights: bool = True) -> ModelFolder:
    """The folder of the model ``name``; None is the default, and only that falls back to the builtin model.

    Weights that are no safetensors are converted once. ``say`` hears that this takes a moment, or that the default was not
    to be had. Without ``weights`` the folder may lack them, and nothing is downloaded but configuration and tokenizer.
    Raises ``UserError`` naming the remedy.
    """
    if name is None:
        try:
            # where the weights could not be fetched, a run would fall back: so does who needs none yet
            return _from_hub(DEFAULT_MODEL, weights or ask_hub(DEFAULT_MODEL, "model") is not None, say)
        except UserError as error:
            model = find_model("builtin", say)
            say(
                f"Warning: the default model is not available ({error})."
                " The builtin SmolLM2-135M-Instruct is used instead;"
                f" to have the default, put that right and give --model {DEFAULT_MODEL}."
            )
            return model
    if name == "builtin":
        from finetune.models import builtin

        return ModelFolder(builtin.builtin_folder(converted_dir(), say), name, "builtin", builtin.SHA256)
    path = path_of(name, "--model")
    if path.is_dir():
        return ModelFolder(_from_folder(path, name, weights, say), name, "folder", None)
    if path.is_file() and path.suffix.lower() == ".gguf":
        from finetune.models import gguf

        try:
            sha256 = files.file_hash(path)
        except OSError as error:
            raise UserError(f"{name}: cannot be read: {error.strerror}") from None
        folder = convert_once(path.name, sha256, converted_dir(), partial(gguf.convert, path), say)
        return ModelFolder(folder, name, "gguf", sha256)
    if path.is_file():
        raise UserError(f"{name}: neither a model folder nor a .gguf file (give the folder with config.json)")
    if path.is_absolute() or path.suffix.lower() == ".gguf" or name.startswith((".", "~")):
        raise UserError(f"{name}: no such file or folder")
    try:
        return _from_hub(name, weights, say)
    except UserError as error:
        hint = "put that right, or use --model builtin, which needs no network"
        raise UserError(f"{error} ({hint})", error.exit_code) from None


def cache_dir() -> Path:
    """Where converted models are kept: $FINETUNE_CACHE, else the platform's folder for caches."""
    if chosen := os.environ.get("FINETUNE_CACHE"):
        return path_of(chosen, "FINETUNE_CACHE")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "finetune"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finetune"


def converted_dir() -> Path:
    """Where the folders that conversions made lie."""
    return cache_dir() / "models"


def _from_hub(repo_id: str, weights: bool, say: Callable[[str], None]) -> ModelFolder:
    path = download_snapshot(repo_id, "model", HUB_FILES if weights else pytorch_bin.CONFIGURATION)
    commit = path.name
    if not _has_safetensors(path) and (weights or cached_snapshot(repo_id, "model", HUB_FILES, revision=commit)):
        path = converted_folder(converted_dir(), repo_id, commit) or _with_pickles(repo_id, path, weights)
    try:
        if weights and _is_pickled(path):
            _check_folder(path, needs_weights=False)
            path = convert_once(repo_id, commit, converted_dir(), partial(pytorch_bin.convert, path), say)
        _check_folder(path, weights)
    except UserError as error:
        raise UserError(f"{repo_id}: {error}", error.exit_code) from None
    return ModelFolder(path, repo_id, "hub", commit)


def _with_pickles(repo_id: str, path: Path, weights: bool) -> Path:
    """The copy in the Hub's cache, and with ``weights`` those of PyTorch in it, of a repository without safetensors."""
    wanted = [*HUB_FILES, *pytorch_bin.FILES]
    cached = cached_snapshot(repo_id, "model", wanted, revision=path.name)  # its client has kept the list of all files
    if cached is None or _is_pickled(cached):
        pytorch_bin.require_torch(repo_id)  # before gigabytes are fetched in vain
    if cached or not weights:
        return path
    return download_snapshot(repo_id, "model", wanted, revision=path.name)


def _from_folder(path: Path, name: str, weights: bool, say: Callable[[str], None]) -> Path:
    if not _is_pickled(path):
        _check_folder(path, weights)
        return path
    _check_folder(path, needs_weights=False)
    source, revision = path.resolve(), pytorch_bin.content_hash(path)
    if folder := converted_folder(converted_dir(), source.name, revision):
        return folder
    pytorch_bin.require_torch(name)
    if not weights:
        return path
    return convert_once(source.name, revision, converted_dir(), partial(pytorch_bin.convert, source), say)


def _is_pickled(folder: Path) -> bool:
    return not _has_safetensors(folder) and pytorch_bin.has_weights(folder)


def _has_safetensors(folder: Path) -> bool:
    return any(folder.glob("model*.safetensors"))


def _check_folder(folder: Path, needs_weights: bool) -> None:
    """Refuses what could not be loaded, naming everything that is missing or broken."""
    from safetensors import SafetensorError, safe_open

    problems = []

    def read(file: str) -> dict[str, Any] | None:
        try:
            return dict(json.loads((folder / file).read_text(encoding="utf-8")))
        except FileNotFoundError:
            problems.append(f"{file} is missing")
        except (OSError, ValueError, TypeError, RecursionError) as error:
            problems.append(f"{file} cannot be read ({error})")
        return None

    if (config := read("config.json")) is not None:
        problems += config_check.problems(config)
    weights = {file.name for file in folder.glob("model*.safetensors")}
    if needs_weights:
        weights = weights or {"model.safetensors"}
    if needs_weights and (folder / "model.safetensors.index.json").exists():
        index = read("model.safetensors.index.json") or {}
        try:
            weights |= {str(file) for file in index.get("weight_map", {}).values()}
        except AttributeError:
            problems.append("model.safetensors.index.json has no list of files")
    for file in sorted(weights):
        try:
            with safe_open(folder / file, framework="numpy"):  # reads the header, compares it with the size
                pass
        except FileNotFoundError:
            problems.append(f"{file} is missing")
        except (OSError, SafetensorError) as error:
            problems.append(f"{file} is damaged ({error})")
    if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        problems.append("tokenizer.json is missing")
    if problems:
        raise UserError(f"{folder}: not a complete model folder: {'; '.join(problems)}")
