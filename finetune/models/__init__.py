"""Where weights come from: the Hub, a folder, a GGUF file or the builtin model. All end as a model folder."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetune import artifacts
from finetune.cli import UserError, path_of
from finetune.hub import ask_hub, download_snapshot
from finetune.models import config_check
from finetune.models.fingerprint import fingerprint

DEFAULT_MODEL = "google/gemma-3-270m-it"
__all__ = ["DEFAULT_MODEL", "ModelFolder", "cache_dir", "converted_dir", "find_model", "fingerprint"]

_HUB_WEIGHTS = "*.safetensors"
HUB_FILES = ["*.json", _HUB_WEIGHTS, "*.jinja", "*.txt", "tokenizer.model"]


@dataclass(frozen=True)
class ModelFolder:
    path: Path  # holds config.json, safetensors and the tokenizer
    name: str  # as asked for: "google/gemma-3-270m-it", "builtin", "model.gguf"
    source: Literal["hub", "folder", "gguf", "builtin"]
    revision: str | None  # commit on the Hub, or SHA-256 of the GGUF


def find_model(name: str | None, say: Callable[[str], None], *, weights: bool = True) -> ModelFolder:
    """The folder of the model ``name``; None is the default, and only that falls back to the builtin model.

    ``say`` hears that a conversion takes a moment, or that the default was not to be had. Without ``weights`` the folder may
    lack them, and nothing is downloaded but configuration and tokenizer.
    Raises ``UserError`` naming the remedy.
    """
    if name is None:
        try:
            # where the weights could not be fetched, a run would fall back: so does who needs none yet
            return _from_hub(DEFAULT_MODEL, weights or ask_hub(DEFAULT_MODEL, "model") is not None)
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
        _check_folder(path, weights)
        return ModelFolder(path, name, "folder", None)
    if path.is_file() and path.suffix.lower() == ".gguf":
        from finetune.models.conversion import convert_once

        try:
            sha256 = artifacts.file_hash(path)
        except OSError as error:
            raise UserError(f"{name}: cannot be read: {error.strerror}") from None
        return ModelFolder(convert_once(path, sha256, converted_dir(), say), name, "gguf", sha256)
    if path.is_file():
        raise UserError(f"{name}: neither a model folder nor a .gguf file (give the folder with config.json)")
    if path.is_absolute() or path.suffix.lower() == ".gguf" or name.startswith((".", "~")):
        raise UserError(f"{name}: no such file or folder")
    try:
        return _from_hub(name, weights)
    except UserError as error:
        raise UserError(f"{error} (put that right, or use --model builtin, which needs no network)") from None


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


def _from_hub(repo_id: str, weights: bool) -> ModelFolder:
    path = download_snapshot(repo_id, "model", [name for name in HUB_FILES if weights or name != _HUB_WEIGHTS])
    try:
        _check_folder(path, weights)
    except UserError as error:
        raise UserError(f"{repo_id}: {error}") from None
    return ModelFolder(path, repo_id, "hub", path.name)


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
