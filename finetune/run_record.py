"""The record of a training run: written before the first step, finished after the last, opened by the later stages."""

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from finetune import artifacts
from finetune.cli import UserError
from finetune.config import TrainingConfig, describe
from finetune.encoding import ChatEncoder
from finetune.models import ModelFolder
from finetune.progress import say

_PREVIOUS = "previous"
_KEYS = ("config", "task", "model", "template_sha256", "data", "command")


def start(
    config: TrainingConfig,
    folder: ModelFolder,
    encoder: ChatEncoder,
    dataset: dict[str, Any],
    adapter_config: dict[str, Any],
    device: str,
) -> None:
    """Say what will make these adapters. Adapters of an earlier run move aside, with their record."""
    _set_aside(config.adapter_path)
    path = str(folder.path.resolve())
    artifacts.write_json(config.adapter_path / artifacts.ADAPTER_CONFIG, {**adapter_config, "model": path})
    artifacts.write_text(config.adapter_path / artifacts.TRAINING_CONFIG, describe(config) + "\n")
    record = {
        "format": 1,
        "config": {name: getattr(config, name) for name in config.origins},
        "origins": config.origins,
        "task": dataset["type"],
        "model": {"name": folder.name, "source": folder.source, "revision": folder.revision, "path": path},
        "template_sha256": artifacts.text_hash(encoder.template),
        "data": {
            "folder": str(config.data_dir.resolve()),
            "source": dataset["source"],
            "files": dataset["files"],
        },
        "command": "python " + shlex.join(sys.argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "device": device,
        "machine": artifacts.machine_and_versions(),
    }
    artifacts.write_json(config.adapter_path / artifacts.RUN_RECORD, record)


def finish(adapter_path: Path, result: dict[str, Any]) -> None:
    """Add how far the run came."""
    artifacts.write_json(adapter_path / artifacts.RUN_RECORD, {**read(adapter_path), "result": result})


def read(adapter_path: Path) -> dict[str, Any]:
    return artifacts.read_json(adapter_path / artifacts.RUN_RECORD, "python train.py", _KEYS)


def read_metrics(adapter_path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; none where the run ended before its first report."""
    path = adapter_path / artifacts.METRICS
    return [row for _, row in artifacts.read_jsonl(path)] if path.exists() else []


def _set_aside(adapter_path: Path) -> None:
    if not (adapter_path / artifacts.RUN_RECORD).exists():
        return
    previous = adapter_path / _PREVIOUS
    try:
        shutil.rmtree(previous, ignore_errors=True)
        previous.mkdir()
        for path in adapter_path.iterdir():
            if path.is_file():
                path.rename(previous / path.name)
    except OSError as error:
        raise UserError(f"{previous}: cannot be written: {error.strerror}", exit_code=4) from None
    say(f"The adapters of the run before are now in {previous}.")
