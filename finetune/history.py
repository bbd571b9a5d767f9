"""Earlier benchmarks: kept when a new one is written, and what changed since, beyond the spread of the repeats."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune import artifacts

Record = Mapping[str, Any]
_NOT_IN_NAMES = re.compile("[^0-9A-Za-z]+")


def keep(results_dir: Path) -> None:
    """Move the benchmark that is there into the history, under the time it was made."""
    path = results_dir / artifacts.BENCHMARK
    if (record := _read(path)) is None:
        return
    folder = results_dir / artifacts.HISTORY
    artifacts.make_folder(folder)
    made = _NOT_IN_NAMES.sub("-", str(record.get("created", "earlier"))[:40])
    artifacts.write_text(folder / f"benchmark-{made}.json", path.read_text(encoding="utf-8"))


def earlier(results_dir: Path, record_format: int) -> tuple[list[Record], list[str]]:
    """The benchmarks of the history, the oldest first, and the names of files that another version wrote."""
    found: list[Record] = []
    foreign: list[str] = []
    for path in sorted((results_dir / artifacts.HISTORY).glob("*.json")):
        record = _read(path)
        try:
            if (
                record is None
                or record["format"] != record_format
                or not rows([record])
                or not same_setting(record, record)
            ):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            foreign.append(path.name)
        else:
            found.append(record)
    return found, foreign


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def same_setting(record: Record, other: Record) -> bool:
    """Whether speeds can be compared: one machine, one device, one model."""
    return all(record[name] == other[name] for name in ("machine", "device", "model"))


def changes(before: Record, now: Record) -> list[tuple[str, str, float, float]]:
    """(side, measure, then, now) of each median whose range of repeats does not touch the range of then."""
    found = []
    for side, measures in now["speed"].items():
        for measure, spread in measures.items():
            old = before["speed"].get(side, {}).get(measure)
            if old and (old["max"] < spread["min"] or spread["max"] < old["min"]):
                found.append((side, measure, old["median"], spread["median"]))
    return found


def rows(records: Sequence[Record]) -> list[tuple[str, str, float | None, float]]:
    """(when, adapter, accuracy of the tuned model, its decode rate) of each benchmark."""
    return [
        (
            str(record["created"]),
            str(record["adapter_path"]),
            record["quality"]["tuned"]["accuracy"],
            record["speed"]["tuned"]["decode_tokens_per_second"]["median"],
        )
        for record in records
    ]
