"""The record of a training run, run.json, and its lines in metrics.jsonl."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.records import files

# what older versions called the metrics that TRL has other names for
_RENAMED = {"length": "completion_length", "cut": "clipped_ratio", "clipped": "clip_fraction"}
_KEYS = ("config", "task", "model", "template_sha256", "data", "command")


def finish(adapter_path: Path, result: dict[str, Any]) -> None:
    """Add how far the run came."""
    files.write_json(adapter_path / files.RUN_RECORD, {**read(adapter_path), "result": result})


def read(adapter_path: Path) -> dict[str, Any]:
    return files.read_json(adapter_path / files.RUN_RECORD, "python train.py", _KEYS)


def keep_metrics(adapter_path: Path, step: int, validated: int) -> None:
    """Drop what was reported after ``step``, or of a validation after ``validated``: it will be reported again."""
    kept = [row for row in read_metrics(adapter_path) if row["step"] <= (validated if "best" in row else step)]
    files.write_jsonl(adapter_path / files.METRICS, kept)


def read_metrics(adapter_path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; none where the run ended before its first report."""
    path = adapter_path / files.METRICS
    return [renamed_metrics(row) for _, row in files.read_jsonl(path)] if path.exists() else []


def renamed_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics under the names of today, also those that an older version wrote: its ``signal`` was the share of groups whose
    rewards differ, ``frac_reward_zero_std`` is the share of the others."""
    found = {_RENAMED.get(name, name): value for name, value in metrics.items() if name != "signal"}
    return found | ({"frac_reward_zero_std": 1 - metrics["signal"]} if "signal" in metrics else {})
